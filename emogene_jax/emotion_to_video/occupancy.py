"""Where along a ray to look: a coarse grid of density over the head box.

The grid lies in the rest face and holds the most that any frame has shown there (it is
the union over frames that makes one grid serve a face that moves). Before the field is
asked, a ray reads the grid in a number of equal bins; its few samples then go where the
grid says that light is stopped. Shapes are static whatever the grid holds.
"""

import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video.encoding import read_nearest


def box_interval(rays, low, high):
    """Where rays [..., 3] enter and leave the box [3], [3]: near, far [...], cm. A ray
    that misses it gets near = far."""
    inverse = 1.0 / jnp.where(jnp.abs(rays.directions) < 1e-6, 1e-6, rays.directions)
    a, b = (low - rays.origins) * inverse, (high - rays.origins) * inverse
    near = jnp.minimum(a, b).max(-1)
    far = jnp.maximum(a, b).min(-1)
    near = jnp.maximum(near, 0.0)
    return near, jnp.maximum(far, near)


def place_edges(density, near, far, count, key=None):
    """Edges of `count` intervals on each ray, crowded where light is stopped.

    Args:
        density: [..., N] per cm in N equal bins between near and far.
        near, far: [...] cm.
        key: jitters the edges (training); None = deterministic.

    Returns:
        [..., count + 1] cm, ascending.
    """
    bins = density.shape[-1]
    width = (far - near) / bins
    depth = density * width[..., None]
    through = jnp.exp(-(jnp.cumsum(depth, -1) - depth))
    weight = through * -jnp.expm1(-depth)
    # A neighbour's weight guards against a surface that the grid puts one bin off.
    padded = jnp.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(1, 1)], mode="edge")
    weight = jnp.maximum(jnp.maximum(padded[..., :-2], padded[..., 2:]), weight)
    weight = jnp.where(density > 0, weight + 2e-3, 0.0) + 1e-5
    share = weight / weight.sum(-1, keepdims=True)
    share = jax.lax.stop_gradient(share)
    before = jnp.cumsum(share, -1) - share
    u = jnp.arange(count + 1) / count
    if key is not None:
        u = (
            u
            + jax.random.uniform(key, (*share.shape[:-1], 1), minval=-0.5, maxval=0.5)
            / count
        )
        u = jnp.clip(u, 0.0, 1.0)
    u = jnp.broadcast_to(u, (*share.shape[:-1], count + 1))
    # The bin that holds u: how many bins begin at or before it.
    index = (before[..., None, :] <= u[..., None]).sum(-1) - 1
    # Fused, the first `before` is not exactly 0: then u = 0 would lie before every bin.
    index = jnp.maximum(index, 0)
    start = jnp.take_along_axis(before, index, -1)
    part = (u - start) / jnp.take_along_axis(share, index, -1)
    return near[..., None] + (index + jnp.clip(part, 0, 1)) * width[..., None]


def bin_centres(near, far, bins):
    """[..., bins] cm."""
    middle = (jnp.arange(bins) + 0.5) / bins
    return near[..., None] + middle * (far - near)[..., None]


def read_density(grid, unit):
    """Density [..., P] of the grid [D, H, W] at unit-box points [..., P, 3]."""
    flat = unit.reshape(-1, 3)
    return read_nearest(grid[..., None], flat)[..., 0].reshape(unit.shape[:-1])
