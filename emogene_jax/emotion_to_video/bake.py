"""A frame's head, looked at only where it is: what talking renders with.

Everything that depends on the frame alone is made once: the way back from the frame to
the rest face, and the occupancy grid as this frame's face has it. A lattice of a few rays
then finds between which depths light is stopped; the pixels' own rays look there alone,
and those that meet nothing are left out.
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
from emogene_jax.emotion_to_video.march import along, read_box, shade
from emogene_jax.signals import Rays

LATTICE = 64  # lattice rays across a picture: about as fine as the occupancy grid
LATTICE_BINS = 64  # looks of a lattice ray, across the head box
BINS = 32  # looks of a pixel's ray
AROUND = 2.0  # cm before and behind what the lattice found: bins as wide as in training
RAYS = 4096  # at a time


class Baked(NamedTuple):
    """A frame, ready to be looked at."""

    state: FrameState  # of 1 frame
    back: (
        jax.Array
    )  # [1, D, H, W, 3] cm: how far the warp grid's nodes are to step back
    occupied: jax.Array  # [D, H, W] per cm, in the frame's own head space


def bake(field: HeadField, params, rig, density, condition) -> Baked:
    """A frame with condition [C]; density: [D, H, W] per cm, of the rest face."""
    state = field.apply({"params": params}, rig, condition[None], method="frame")
    nodes = node_points(state.warp.shape[1:4])
    nodes = (rig.warp_low + nodes * (rig.warp_high - rig.warp_low))[None]
    back = (nodes - step_back(rig, state, nodes)).reshape(state.warp.shape)
    places = (rig.low + node_points(density.shape) * (rig.high - rig.low))[None]
    places = places - displacement(rig, back, places, read_nearest)
    return Baked(state, back, read_box(rig, density, places).reshape(density.shape))


def render_head(field, params, rig, baked, pose, camera, corner, side, samples):
    """The head in a window of the picture: [side, side, 4], premultiplied colour and
    alpha.

    Args:
        pose: (rotation [3, 3], translation [3]).
        corner: [2] row and column of the window. samples: per ray.
    """
    near, far, step = first_look(rig, baked, pose, camera, corner, side)
    count = side * side
    number = jnp.arange(count)
    cell = (number // side // step) * near.shape[1] + number % side // step
    near, far = near.reshape(-1), far.reshape(-1)
    seen = (far > near)[cell]
    place = jnp.cumsum(seen) - 1  # of a pixel among those that are seen
    size = -(-count // RAYS) * RAYS
    chosen = jnp.nonzero(seen, size=size, fill_value=0)[0]

    def some(turn, made):
        pixel = jax.lax.dynamic_slice(chosen, (turn * RAYS,), (RAYS,))
        rows, columns = corner[0] + pixel // side, corner[1] + pixel % side
        view = pixel_rays(rows, columns, *pose, camera)
        here = cell[pixel]
        layer = look(field, params, rig, baked, view, near[here], far[here], samples)
        return jax.lax.dynamic_update_slice(made, layer, (turn * RAYS, 0))

    # As many turns as this frame needs: nothing is ever left out for want of room.
    turns = (place[-1] + RAYS) // RAYS
    made = jax.lax.fori_loop(0, turns, some, jnp.zeros((size, 4)))
    layer = jnp.where(seen[:, None], made[place], 0.0)
    return layer.reshape(side, side, 4)


def first_look(rig, baked: Baked, pose, camera, corner, side):
    """Between which depths the rays of a window's cells may meet the head.

    Returns:
        near, far [n, n] cm of square cells of `step` pixels, near = far where there is
        nothing; step.
    """
    step = max(1, camera.size // LATTICE)
    cells = -(-side // step)
    rows, columns = jnp.mgrid[: cells + 1, : cells + 1] * step - 0.5
    rows, columns = rows.reshape(-1) + corner[0], columns.reshape(-1) + corner[1]
    view = pixel_rays(rows, columns, *pose, camera)
    near, far = occupancy.box_interval(view, rig.low, rig.high)
    places = along(view, occupancy.bin_centres(near, far, LATTICE_BINS))
    low, high = occupancy.narrowed(read_box(rig, baked.occupied, places), near, far)
    hit, shape = high > low, (cells + 1, cells + 1)
    low, high = jnp.maximum(low - AROUND, near), jnp.minimum(high + AROUND, far)
    low = jnp.where(hit, low, jnp.inf).reshape(shape)
    high = jnp.where(hit, high, -jnp.inf).reshape(shape)
    # A cell looks where any ray around it has met something, and its neighbours'.
    low, high = -_most_around(-low), _most_around(high)
    return jnp.where(high > low, low, 0.0), jnp.where(high > low, high, 0.0), step


def _most_around(corners):
    """[n, n]: the most of a cell's corners [n + 1, n + 1] and of those next to them."""
    return jax.lax.reduce_window(
        corners, -jnp.inf, jax.lax.max, (4, 4), (1, 1), ((1, 1), (1, 1))
    )


def look(field, params, rig, baked: Baked, view: Rays, near, far, samples):
    """What rays [R, 3] see between near and far [R] cm: [R, 4], premultiplied colour and
    alpha."""
    view = Rays(view.origins[None], view.directions[None])
    low, high = occupancy.box_interval(view, rig.low, rig.high)
    near = jnp.clip(near, low, high)  # a cell's depths; the box may end before them
    far = jnp.clip(far, near, high)
    places = along(view, occupancy.bin_centres(near, far, BINS))
    seen = read_box(rig, baked.occupied, places)
    edges = occupancy.place_edges(seen, near, far, samples)

    def ask(points):
        # The nodes' way back is a good beginning: one round less than without.
        at = points - displacement(rig, baked.back, points)
        at = step_back(rig, baked.state, points, at, rounds=2)
        each = rig, baked.state, at, view.directions
        return field.apply({"params": params}, *each, method="rest_face")

    colour, alpha = shade(view, edges, ask)
    return jnp.concatenate([colour, alpha[..., None]], -1)[0]
