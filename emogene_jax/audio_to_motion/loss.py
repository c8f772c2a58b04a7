"""Losses of the audio-to-motion VAE and of the lip-sync expert.

prediction, target [B, T, C] in the network's unit of motion, mask [B, T], weights [C].
Every loss is a mean over what the mask lets through.
"""

import jax
import jax.numpy as jnp

from emogene_jax.landmarks import INNER_MIDDLE, MOUTH, MOUTH_CORNERS

CLOSING = 0.02  # eye distances that lips part in which they are no longer closed
EPSILON = 1e-5  # keeps the logarithm of a confidence of 0 or 1 finite


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of x where mask, of the same shape, is 1; 0 where it is 0 throughout."""
    return jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1)


def squared_error(prediction, target, mask, weights) -> jax.Array:
    """Weighted mean squared error."""
    return masked_mean(((prediction - target) ** 2 * weights).mean(-1), mask)


def continuity(prediction, target, mask, weights) -> jax.Array:
    """Mean squared error of the velocity, per frame."""
    both = mask[:, 1:] * mask[:, :-1]
    return squared_error(
        jnp.diff(prediction, axis=1), jnp.diff(target, axis=1), both, weights
    )


def mouth_weights(weight: float) -> jax.Array:
    """[204] with mean 1, in which mouth landmarks count `weight` times the others."""
    weights = jnp.ones(68).at[MOUTH].set(weight)
    return jnp.repeat(weights / weights.mean(), 3)


def mouth_shape(motion: jax.Array) -> jax.Array:
    """How far the inner lips and the corners of the mouth have moved apart,
    [..., 2], of motion [..., 204]."""
    points = motion.reshape(*motion.shape[:-1], 68, 3)
    upper, lower = INNER_MIDDLE
    left, right = MOUTH_CORNERS
    opening = points[..., upper, 1] - points[..., lower, 1]
    width = points[..., right, 0] - points[..., left, 0]
    return jnp.stack([opening, width], axis=-1)


def closed(opening: jax.Array) -> jax.Array:
    """How closed lips are, 1 to 0, that have parted by `opening` eye distances."""
    return jnp.exp(-jax.nn.relu(opening) / CLOSING)


def sync_loss(confidence: jax.Array, label: float) -> jax.Array:
    """Binary cross-entropy of confidences in [0, 1] against one label, elementwise."""
    confidence = jnp.clip(confidence, EPSILON, 1 - EPSILON)
    return -jnp.log(confidence) if label else -jnp.log1p(-confidence)
