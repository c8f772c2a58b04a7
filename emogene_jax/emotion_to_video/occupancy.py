"""Where along a ray to look: a coarse grid of density over the head box.

The grid lies in the rest face and holds the most that any frame has shown there (it is
the union over frames that makes one grid serve a face that moves). Before the field is
asked, a ray reads the grid in a number of equal bins; its few samples then go where the
grid says that light is stopped. Shapes are static whatever the grid holds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.encoding import made_once, read_nearest
from emogene_jax.parallel import full_precision


def box_interval(rays, low, high):
    """Where rays [..., 3] enter and leave the box [3], [3]: near, far [...], cm. A ray
    that misses it gets near = far."""
    inverse = 1.0 / jnp.where(jnp.abs(rays.directions) < 1e-6, 1e-6, rays.directions)
    a, b = (low - rays.origins) * inverse, (high - rays.origins) * inverse
    near = jnp.minimum(a, b).max(-1)
    far = jnp.maximum(a, b).min(-1)
    near = jnp.maximum(near, 0.0)
    return near, jnp.maximum(far, near)


@full_precision
def place_edges(density, near, far, count, key=None):
    """Edges of `count` intervals on each ray, crowded where light is stopped.

    Args:
        density: [N, ...] per cm in N equal bins between near and far.
        near, far: [...] cm.
        key: jitters the edges (training); None = deterministic.

    Returns:
        [..., count + 1] cm, ascending.
    """
    density = jax.lax.stop_gradient(density)
    bins = len(density)
    width = (far - near) / bins
    depth = density * width
    weight = stopped(_sum_before(depth), depth)
    # A neighbour's weight guards against a surface that the grid puts one bin off.
    padded = jnp.pad(weight, [(1, 1)] + [(0, 0)] * (weight.ndim - 1), mode="edge")
    weight = jnp.maximum(jnp.maximum(padded[:-2], padded[2:]), weight)
    weight = looked_at(weight, density)
    before = _sum_before(weight)
    total = before[-1] + weight[-1]
    shift = 0.0
    if key is not None:
        shift = jax.random.uniform(key, near.shape, minval=-0.5, maxval=0.5) / count

    def edge(part):
        # As far as it takes for the weights to add up to that part of all of them.
        aim = jnp.clip(part + shift, 0.0, 1.0) * total
        return near + width * jnp.clip((aim - before) / weight, 0.0, 1.0).sum(0)

    def edges():
        return jnp.stack([edge(part) for part in np.arange(count + 1) / count], -1)

    return made_once(edges, near)


def stopped(before, depth):
    """Which share of a ray's light is stopped by optical depth `depth` behind `before`."""
    return jnp.exp(-before) * -jnp.expm1(-depth)


def looked_at(weight, density):
    """Weights of bins that stop so much of the light: wherever there is anything, it is
    looked at a little."""
    return jnp.where(density > 0, weight + 2e-3, 0.0) + 1e-5


def _sum_before(values):
    """[N, ...]: the sums of all that is before each of [N, ...]; a product, which is
    faster than cumsum."""
    earlier = jnp.tril(jnp.ones((len(values),) * 2), -1)
    return (earlier @ values.reshape(len(values), -1)).reshape(values.shape)


def bin_centres(near, far, bins):
    """[..., bins] cm."""
    middle = (jnp.arange(bins) + 0.5) / bins
    return near[..., None] + middle * (far - near)[..., None]


def read_density(grid, unit):
    """Density [..., P] of the grid [D, H, W] at unit-box points [..., P, 3]."""
    flat = unit.reshape(-1, 3)
    return read_nearest(grid[..., None], flat)[..., 0].reshape(unit.shape[:-1])
