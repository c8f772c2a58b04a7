"""Marching rays wherever the head may be: what training differentiates, and what the
shorter way of rendering (bake.py) is measured against.
"""

import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video import occupancy
from emogene_jax.emotion_to_video.encoding import read_nearest
from emogene_jax.emotion_to_video.head import displacement
from emogene_jax.emotion_to_video.volume import composite

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
        colour [B, R, 3] premultiplied, alpha [B, R].
    """
    near, far = occupancy.box_interval(rays, rig.low, rig.high)
    places = along(rays, occupancy.bin_centres(near, far, BINS))
    flat = places.reshape(len(places), -1, 3)
    flat = flat - displacement(rig, state.warp, flat, read_nearest)
    seen = read_box(rig, density, flat).reshape(places.shape[:-1])
    edges = occupancy.place_edges(seen, near, far, samples, key)
    edges = jax.lax.stop_gradient(edges)

    def ask(points):
        return field.apply({"params": params}, rig, state, points, rays.directions)

    colour, alpha = shade(rays, edges, ask)
    return colour, jnp.where(far > near, alpha, 0.0)


def shade(rays, edges, ask):
    """What rays [B, R, 3] see in the intervals between edges [B, R, N + 1] cm.

    Args:
        ask: points [B, R * N, 3] of the frames' head space -> density [B, R * N] per cm,
            colour [B, R * N, 3].

    Returns:
        colour [B, R, 3] premultiplied, alpha [B, R].
    """
    points = along(rays, 0.5 * (edges[..., 1:] + edges[..., :-1]))
    density, colour = ask(points.reshape(len(points), -1, 3))
    shape = points.shape[:-1]
    width = jnp.diff(edges)
    return composite(density.reshape(shape), colour.reshape(*shape, 3), width)[:2]


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
