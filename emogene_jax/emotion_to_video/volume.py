"""Volume rendering: the rendering equation (Paper: Eqs. 6-7, arXiv:2410.17262, the usual
quadrature), and marching rays wherever the head may be, which is what training
differentiates and what the shorter way of rendering (bake.py) is measured against.
"""

import jax.numpy as jnp

from emogene_jax.emotion_to_video import occupancy
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
    near, far = occupancy.box_interval(rays, rig.low, rig.high)

    def there(points):
        points = points - displacement(rig, state.warp, points, read_nearest)
        return read_box(rig, density, points)

    seen = look_along(rays, near, far, there)
    edges = occupancy.place_edges(seen, near, far, samples, key)

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
        middles = occupancy.bin_centres(near, far, BINS).swapaxes(-1, -2)
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
    return occupancy.read_density(density, (points - rig.low) / (rig.high - rig.low))


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
