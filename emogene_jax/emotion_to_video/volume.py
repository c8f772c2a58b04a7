"""Volume rendering: the rendering equation (Paper: Eqs. 6-7, arXiv:2410.17262, the usual
quadrature), and marching rays wherever the head may be, which is what training
differentiates and what the shorter way of rendering (bake.py) is measured against.

Where to look along a ray a coarse grid of density over the head box says, the occupancy
grid. It lies in the rest face and holds the most that any frame has shown there (it is the
union over frames that makes one grid serve a face that moves). Before the field is asked, a
ray reads the grid in a number of equal bins; its few samples then go where the grid says
that light is stopped. Shapes are static whatever the grid holds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.encoding import made_once, read_nearest
from emogene_jax.emotion_to_video.head import displacement
from emogene_jax.parallel import full_precision

BINS = 64  # looks into the occupancy grid per ray


def march(field, params, rig, density, state, rays, samples, key=None):
    """Render head rays.

    Args:
        field: HeadField. params: its parameters.
        density: [D, H, W] per cm, the occupancy grid (see seen_density).
        state: FrameState of B frames.
        rays: Rays, [B, R, 3] in head space.
        samples: per ray.
        key: jitter, for training.

    Returns:
        colour [B, R, 3] premultiplied, alpha [B, R], and where on the ray that is,
        [B, R] cm from its origin (means nothing where alpha is small).
    """
    near, far = box_interval(rays, rig.low, rig.high)

    def there(points):
        points = points - displacement(rig, state.warp, points, read_nearest)
        return read_box(rig, density, points)

    seen = look_along(rays, near, far, there)
    edges = place_edges(seen, near, far, samples, key)

    def ask(points):
        return field.apply({"params": params}, rig, state, points)

    seen, alpha, distance = gather(rays, edges, ask)
    view = (seen, alpha, rays.directions)
    colour = field.apply({"params": params}, *view, method="colour")
    return colour, jnp.where(far > near, alpha, 0.0), distance


def look_along(rays, near, far, there):
    """Densities [BINS, ..., R] per cm in the middles of equal bins of rays [..., R, 3].

    Args:
        near, far: [..., R] cm. there: density [..., P] at points [..., P, 3].
    """

    def look():
        middles = bin_centres(near, far, BINS).swapaxes(-1, -2)
        origins, directions = (part[..., None, :, :] for part in rays)
        points = origins + middles[..., None] * directions
        flat = points.reshape(*points.shape[:-3], -1, 3)
        return jnp.moveaxis(there(flat).reshape(middles.shape), -2, 0)

    return made_once(look, near)


def gather(rays, edges, ask):
    """What rays [B, R, 3] meet in the intervals between edges [B, R, N + 1] cm.

    Args:
        ask: points [B, R * N, 3] of the frames' head space -> density [B, R * N] per cm,
            features [B, R * N, F].

    Returns:
        features [B, R, F] premultiplied, alpha [B, R], mean distance [B, R] cm.
    """
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])
    points = along(rays, middle)
    shape = points.shape[:-1]
    density, features = ask(points.reshape(len(points), -1, 3))
    features = features.reshape(*shape, -1)
    seen, alpha, weights = composite(density.reshape(shape), features, jnp.diff(edges))
    return seen, alpha, (weights * middle).sum(-1) / (alpha + 1e-6)


def along(rays, distance):
    """Points [..., N, 3] at distances [..., N] cm on rays [..., 3]."""
    return (
        rays.origins[..., None, :] + distance[..., None] * rays.directions[..., None, :]
    )


def read_box(rig, density, points):
    """Density [..., P] of a grid [D, H, W] over the head box at points [..., P, 3]."""
    return read_density(density, (points - rig.low) / (rig.high - rig.low))


def seen_density(rig, density):
    """The occupancy grid as rays read it: inside the hull only. Not grown: place_edges
    guards its neighbours, and samples before a surface are lost to it."""
    return density * rig.hull


@full_precision
def composite(density, features, width):
    """What rays see of their own samples, front to back.

    Args:
        density: [..., N] per cm, >= 0.
        features: [..., N, F] of the samples, such as their colour.
        width: [..., N] cm, the length of ray that each sample stands for.

    Returns:
        features [..., F] premultiplied by alpha, alpha [...], weights [..., N]. Of
        colours, the pixel is that + (1 - alpha) * what is behind.
    """
    depth = density * width
    # Transmittance in front of a sample: the integral of density up to it.
    through = jnp.exp(-(jnp.cumsum(depth, -1) - depth))
    weights = through * -jnp.expm1(-depth)
    return (
        jnp.einsum("...n,...nc->...c", weights, features),
        weights.sum(-1),
        weights,
    )


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
