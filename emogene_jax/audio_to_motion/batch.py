"""What the stages of this folder do to a batch, or draw from it, as they learn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from emogene_jax.audio_to_motion.lip_sync import WINDOW
from emogene_jax.audio_to_motion.loss import mouth_shape

NEAR_OFFSETS = (2, 5)  # frames by which audio and mouth of a near negative differ
# How far mouths move in speech, eye distances: standard deviation of opening and width.
USUAL_REACH = (0.035, 0.03)
PITCH_CHANGE = 0.25  # standard deviation of the log of a random transposition


def window_sampler(batch_size: int, frames: int) -> Callable:
    """sample(resident, key, step) -> batch of windows of `frames` frames, jit-able."""

    def sample(resident, key, step):
        allowed = resident["start_ok"]
        key = jax.random.fold_in(key, step)
        starts = allowed[jax.random.randint(key, (batch_size,), 0, allowed.shape[0])]
        video = starts[:, None] + jnp.arange(frames)
        audio = 2 * starts[:, None] + jnp.arange(2 * frames)
        return {
            "content": resident["content"][audio],
            "f0": resident["f0"][audio],
            "blink": resident["blink"][video],
            "motion": resident["motion"][video],
            "mask": jnp.ones((batch_size, frames), jnp.float32),
            "speaker": jnp.zeros(batch_size, jnp.int32),
        }

    return sample


def masked(batch) -> dict:
    """The batch with 0 wherever the mask is 0, so that padding has no influence."""
    mask = batch["mask"]
    audio_mask = jnp.repeat(mask, 2, axis=1)
    return dict(
        batch,
        content=batch["content"] * audio_mask[..., None],
        f0=batch["f0"] * audio_mask,
        blink=batch["blink"] * mask.astype(jnp.int32),
        motion=batch["motion"] * mask[..., None],
    )


def disturb(
    key, batch, content_noise: float, content_dropout: float, pitch_dropout: float
) -> dict:
    """The batch with noisy content and another pitch, in some clips with none."""
    noise_key, change_key, drop_key, deaf_key = jax.random.split(key, 4)
    content, f0 = batch["content"], batch["f0"]
    if content_dropout:
        heard = content[:, :1].shape
        heard = jax.random.bernoulli(deaf_key, 1 - content_dropout, heard)
        content = content * heard / (1 - content_dropout)
    spread = PITCH_CHANGE * (pitch_dropout > 0)
    change = spread * jax.random.normal(change_key, (len(f0), 1))
    kept = jax.random.bernoulli(drop_key, 1 - pitch_dropout, (len(f0), 1))
    return dict(
        batch,
        content=content + content_noise * jax.random.normal(noise_key, content.shape),
        f0=f0 * jnp.exp(change) * kept,
    )


def in_own_reach(batch, prior: int) -> dict:
    """The batch with each clip's motion divided by how far its mouth moves beside the
    usual one: sidewards as its corners, else as its inner lips. `prior` frames of the
    usual one count with the clip's own."""
    mask = batch["mask"][..., None]
    count = jnp.sum(mask, 1)
    shape = mouth_shape(batch["motion"])
    middle = jnp.sum(shape * mask, 1) / jnp.maximum(count, 1)
    square = jnp.sum((shape - middle[:, None]) ** 2 * mask, 1)
    usual = jnp.array(USUAL_REACH)
    far = jnp.sqrt((square + prior * usual**2) / (count + prior)) / usual
    high, wide = far[:, 0], far[:, 1]
    axes = jnp.tile(
        jnp.stack([wide, high, high], -1), (1, batch["motion"].shape[-1] // 3)
    )
    return dict(batch, motion=batch["motion"] / axes[:, None])


def _room(mask: jax.Array) -> jax.Array:
    """[B, 1]: how many windows lie inside each clip's valid part; at least 1."""
    valid = jnp.sum(mask, axis=1, keepdims=True).astype(jnp.int32)
    return jnp.maximum(valid - WINDOW + 1, 1)


def draw_starts(key, mask: jax.Array, count: int) -> jax.Array:
    """First frames [B, count] of windows that lie inside each clip's valid part."""
    uniform = jax.random.uniform(key, (mask.shape[0], count))
    return (uniform * _room(mask)).astype(jnp.int32)


def draw_neighbours(key, mask: jax.Array, starts: jax.Array) -> jax.Array:
    """For each of starts [B, K] one that is NEAR_OFFSETS away, where there is room."""
    side_key, far_key = jax.random.split(key)
    nearest, furthest = NEAR_OFFSETS
    far = jax.random.randint(far_key, starts.shape, nearest, furthest + 1)
    far = jnp.where(jax.random.bernoulli(side_key, 0.5, starts.shape), far, -far)
    last = _room(mask) - 1
    inside = (starts + far >= 0) & (starts + far <= last)
    return jnp.clip(jnp.where(inside, starts + far, starts - far), 0, last)
