"""Official PyTorch state dicts -> our models, parameters and batch statistics.

A state dict is {name: NumPy array} under the official names. The sizes of the model
are read from the shapes, then every name of our tree is looked up: the trees differ
only by the rules below and in the axis order of kernels ([width, in, out] here).
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from emogene_jax.audio_to_motion.lip_sync import WINDOW, LipSync
from emogene_jax.audio_to_motion.vae import AudioToMotion, latent_steps
from emogene_jax.signals import UserError, listed

# Our path, joined with dots -> the official name; applied in this order.
RULES = (
    (r"(in_layers|res_skip_layers|flows)_(\d+)", r"\1.\2"),
    (r"layers_(\d+)\.conv\.", r"\1.conv_block.0."),
    (r"layers_(\d+)\.norm\.", r"\1.conv_block.1."),
    (r"encoder\.conv_in\.", "encoder.0."),
    (r"encoder\.norm\.", "encoder.1."),
    (r"encoder\.conv_out\.", "encoder.3."),
    (r"pre_net\.", "pre_net.0."),
    (r"\.(kernel|scale|embedding)$", ".weight"),
    (r"\.([vg])$", r".weight_\1"),
    (r"\.(mean|var)$", r".running_\1"),
)
State = Mapping[str, np.ndarray]


def official_name(path: tuple[str, ...]) -> str:
    """The official name of our variable at path."""
    name = ".".join(path)
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def _ours(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    """An official array in our axis order."""
    value = np.asarray(value, np.float32)
    if path[-1] == "g":
        return value.reshape(-1)
    if path[-1] == "kernel" and path[-3:-1] == ("decoder", "pre_net"):
        return value.transpose(2, 0, 1)  # a transposed convolution: [in, out, width]
    if path[-1] in ("kernel", "v"):
        return value.T
    return value


def _fill(variables: Any, state: State, what: str) -> tuple[Any, dict]:
    """(params, aux) of the shapes in variables, with the values of state."""
    shapes = traverse_util.flatten_dict(variables)
    names = {path: official_name(path[1:]) for path in shapes}
    # A step counter of PyTorch's batch norm, which nothing reads.
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    missing = sorted(set(names.values()) - given)
    unexpected = sorted(given - set(names.values()))
    if missing or unexpected:
        raise UserError(
            f"{what}: the checkpoint does not fit; missing: {listed(missing)}; "
            f"unexpected: {listed(unexpected)}"
        )
    filled = {}
    for path, expected in shapes.items():
        value = _ours(path, state[names[path]])
        if value.shape != expected.shape:
            raise UserError(
                f"{what}: {names[path]} has shape {tuple(state[names[path]].shape)}, "
                f"which does not fit {expected.shape}"
            )
        filled[path] = jnp.asarray(value)
    tree = traverse_util.unflatten_dict(filled)
    return tree.pop("params"), tree


def _shape(state: State, name: str, what: str) -> tuple[int, ...]:
    """The shape of one array that the sizes are read from."""
    if name not in state:
        raise UserError(f"{what}: {name} is missing from the checkpoint")
    return tuple(state[name].shape)


def _count(state: State, pattern: str) -> int:
    """How many different layers match pattern."""
    return len({m.group(0) for name in state if (m := re.match(pattern, name))})


def import_audio_to_motion(
    state: State, motion_scale: float = 1.0
) -> tuple[AudioToMotion, Any, dict]:
    """(model, params, aux) of an official audio-to-motion VAE with pitch.

    motion_scale: the checkpoint's unit of motion per eye distance.
    """
    what = "audio-to-motion VAE"
    hidden, motion_channels, _ = _shape(state, "vae.encoder.pre_net.0.weight", what)
    condition, content, _ = _shape(state, "mel_encoder.0.weight", what)
    model = AudioToMotion(
        hidden=hidden,
        latent=_shape(state, "vae.decoder.pre_net.0.weight", what)[0],
        width=_shape(state, "vae.encoder.wn.in_layers.0.weight_v", what)[2],
        encoder_layers=_count(state, r"vae\.encoder\.wn\.in_layers\.\d+\."),
        decoder_layers=_count(state, r"vae\.decoder\.wn\.in_layers\.\d+\."),
        condition=condition,
        flow_hidden=_shape(state, "vae.prior_flow.flows.0.pre.weight", what)[0],
        flow_layers=_count(state, r"vae\.prior_flow\.flows\.0\.enc\.in_layers\.\d+\."),
        flow_blocks=_count(state, r"vae\.prior_flow\.flows\.\d+\."),
        motion_channels=motion_channels,
        motion_scale=motion_scale,
    )
    frames = 8
    variables = jax.eval_shape(
        model.init,
        jax.random.key(0),
        jnp.zeros((1, 2 * frames, content)),
        jnp.zeros((1, 2 * frames)),
        jnp.zeros((1, frames, motion_channels)),
        jnp.ones((1, frames)),
        jnp.zeros((1, latent_steps(frames), model.latent)),
    )
    return model, *_fill(variables, state, what)


def import_lip_sync(
    state: State, motion_scale: float = 1.0
) -> tuple[LipSync, Any, dict]:
    """(model, params, aux) of an official lip-sync expert; see
    import_audio_to_motion."""
    what = "lip-sync expert"
    content = _shape(state, "hubert_encoder.0.conv_block.0.weight", what)[1]
    channels = _shape(state, "hubert_encoder.12.conv_block.0.weight", what)[0]
    model = LipSync(channels=channels, motion_scale=motion_scale)
    variables = jax.eval_shape(
        model.init,
        jax.random.key(0),
        jnp.zeros((1, 2 * WINDOW, content)),
        jnp.zeros((1, WINDOW, 60)),
    )
    return model, *_fill(variables, state, what)
