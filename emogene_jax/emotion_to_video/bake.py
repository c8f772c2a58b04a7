"""A frame's head, looked at only where it is: what talking renders with.

What depends on the frame alone is made once: the field's state, and the occupancy grid as
this frame's face has it. A lattice of a few rays then finds where there is anything to
see; only those pixels' rays are marched.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video import occupancy
from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.encoding import node_points, read_nearest
from emogene_jax.emotion_to_video.head import (
    FrameState,
    HeadField,
    displacement,
    step_back,
)
from emogene_jax.emotion_to_video.march import BINS, along, read_box, shade
from emogene_jax.signals import Rays

LATTICE = 64  # lattice rays across a picture: about as fine as the occupancy grid
SEEN = 0.01  # the optical depth from which on there is something to see
RAYS = 4096  # at a time


class Baked(NamedTuple):
    """A frame, ready to be looked at."""

    state: FrameState  # of 1 frame
    occupied: jax.Array  # [D, H, W] per cm, in the frame's own head space


def bake(field: HeadField, params, rig, density, condition) -> Baked:
    """A frame with condition [C]; density: [D, H, W] per cm, of the rest face."""
    state = field.apply({"params": params}, rig, condition[None], method="frame")
    nodes = node_points(state.warp.shape[1:4])
    nodes = (rig.warp_low + nodes * (rig.warp_high - rig.warp_low))[None]
    back = (nodes - step_back(rig, state, nodes)).reshape(state.warp.shape)
    places = (rig.low + node_points(density.shape) * (rig.high - rig.low))[None]
    places = places - displacement(rig, back, places, read_nearest)
    return Baked(state, read_box(rig, density, places).reshape(density.shape))


def render_head(field, params, rig, baked, pose, camera, corner, side, samples):
    """The head in a window of the picture: [side, side, 4], premultiplied colour and
    alpha.

    Args:
        pose: (rotation [3, 3], translation [3]).
        corner: [2] row and column of the window. samples: per ray.
    """
    cells, step = first_look(rig, baked, pose, camera, corner, side)
    count = side * side
    number = jnp.arange(count)
    seen = cells[number // side // step, number % side // step]
    place = jnp.cumsum(seen) - 1  # of a pixel among those that are seen
    rays = min(RAYS, count)
    size = -(-count // rays) * rays
    chosen = jnp.nonzero(seen, size=size, fill_value=0)[0]

    def some(turn, made):
        pixel = jax.lax.dynamic_slice(chosen, (turn * rays,), (rays,))
        rows, columns = corner[0] + pixel // side, corner[1] + pixel % side
        view = pixel_rays(rows, columns, *pose, camera)
        layer = look(field, params, rig, baked, view, samples)
        return jax.lax.dynamic_update_slice(made, layer, (turn * rays, 0))

    # As many turns as this frame needs: nothing is ever left out for want of room.
    turns = (place[-1] + rays) // rays
    made = jax.lax.fori_loop(0, turns, some, jnp.zeros((size, 4)))
    layer = jnp.where(seen[:, None], made[place], 0.0)
    return layer.reshape(side, side, 4)


def first_look(rig, baked: Baked, pose, camera, corner, side):
    """Where the head may be seen in a window: [n, n] bool of square cells of `step`
    pixels; step."""
    step = max(1, camera.size // LATTICE)
    cells = -(-side // step)
    rows, columns = jnp.mgrid[: cells + 1, : cells + 1] * step - 0.5
    rows, columns = rows.reshape(-1) + corner[0], columns.reshape(-1) + corner[1]
    view = pixel_rays(rows, columns, *pose, camera)
    near, far = occupancy.box_interval(view, rig.low, rig.high)
    places = along(view, occupancy.bin_centres(near, far, BINS))
    depth = read_box(rig, baked.occupied, places).sum(-1) * (far - near) / BINS
    seen = (depth > SEEN).astype(jnp.float32).reshape(cells + 1, cells + 1)
    # A cell is looked at where any ray around it has met something, or its neighbour's.
    around = jax.lax.reduce_window(
        seen, 0.0, jax.lax.max, (4, 4), (1, 1), ((1, 1), (1, 1))
    )
    return around > 0, step


def look(field, params, rig, baked: Baked, view: Rays, samples):
    """What rays [R, 3] see: [R, 4], premultiplied colour and alpha. As march.march, but
    for the looks into the grid, which find it where this frame's face is."""
    view = Rays(view.origins[None], view.directions[None])
    near, far = occupancy.box_interval(view, rig.low, rig.high)
    # From end to end: the grid is a union over frames, and an open mouth lies behind
    # what it takes for lips.
    places = along(view, occupancy.bin_centres(near, far, BINS))
    seen = read_box(rig, baked.occupied, places)
    edges = occupancy.place_edges(seen, near, far, samples)

    def ask(points):
        return field.apply(
            {"params": params}, rig, baked.state, points, view.directions
        )

    colour, alpha = shade(view, edges, ask)
    alpha = jnp.where(far > near, alpha, 0.0)
    return jnp.concatenate([colour, alpha[..., None]], -1)[0]
