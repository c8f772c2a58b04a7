"""The voice of an avatar: its audio-to-motion model, and what that hears."""

import jax
import jax.numpy as jnp

from emogene_jax import trees
from emogene_jax.audio.features import TYPES
from emogene_jax.audio_to_motion.vae import STRIDE, AudioToMotion
from emogene_jax.avatar.file import Avatar, typed
from emogene_jax.signals import NUM_LANDMARKS, UserError


def check_voice(avatar: Avatar) -> None:
    """Look at the person's audio-to-motion model, before anything is made with it.

    Raises:
        UserError: avatar.json does not describe one, or not that which is there.
    """
    told = misfit(avatar)
    if told:
        raise UserError(f"damaged avatar (audio_to_motion: {told}): make it again")


def misfit(avatar: Avatar) -> str | None:
    """In words, what of the audio-to-motion model is not as the avatar describes it;
    None = all is."""
    try:
        sizes, content = avatar.info["audio_to_motion"], avatar.info["content"]
        for name, kind in (("type", str), ("channels", int)):
            if type(content[name]) is not kind:
                raise TypeError(f"content {name}: found {content[name]!r}")
        if content["type"] not in TYPES:
            raise TypeError(f"content type: found {content['type']!r}")
        if content["channels"] != (TYPES[content["type"]] or content["channels"]):
            raise TypeError(f"content channels: found {content['channels']}")
        model = typed(AudioToMotion, sizes)
        return _of_model(model, content["channels"], avatar.audio_to_motion)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return str(error)


def _of_model(model: AudioToMotion, channels: int, trained: dict) -> str | None:
    """In words, what of `trained` does not fit its model; None = all fits."""
    if model.motion_channels != 3 * NUM_LANDMARKS:  # what the rest of an avatar speaks
        return f"motion_channels: found {model.motion_channels!r}"
    steps = jnp.zeros((1, 2 * STRIDE, channels)), jnp.zeros((1, 2 * STRIDE))
    frames = jnp.zeros((1, STRIDE, model.motion_channels)), jnp.ones((1, STRIDE))
    noise = jnp.zeros((1, 1, model.latent))
    made = jax.eval_shape(model.init, jax.random.key(0), *steps, *frames, noise)
    expected = {"params": made.pop("params"), "aux": made}
    return trees.difference(trained, expected)
