"""A frame's head, looked at only where it is: what talking renders with.

What depends on the frame alone is made once: the field's state, and the occupancy grid as
this frame's face has it. A lattice of a few rays then finds where there is anything to
see; only those pixels' rays are marched.
"""

from functools import partial
from typing import Any, NamedTuple

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
from emogene_jax.emotion_to_video.march import gather, look_along, read_box
from emogene_jax.signals import Rays

LATTICE = 64  # lattice rays across a picture: about as fine as the occupancy grid
SEEN = 0.01  # the optical depth from which on there is something to see
BLOCKS = 128  # across a picture: of pixels that look for the head once for all of them
RAYS = 4096  # at a time


class Baked(NamedTuple):
    """A frame, ready to be looked at."""

    state: FrameState  # of 1 frame
    planes: jax.Array  # HeadField.bake
    occupied: jax.Array  # [D, H, W] per cm, in the frame's own head space


class Prepared(NamedTuple):
    """A person's head, ready for every frame."""

    params: Any  # of the field
    fine: jax.Array  # HeadField.first_of_fine, in half precision
    density: jax.Array  # [D, H, W] per cm, of the rest face (march.seen_density)


def prepare(field: HeadField, params, density) -> Prepared:
    """density: see Prepared."""
    fine = field.apply({"params": params}, method="first_of_fine")
    return Prepared(params, fine.astype(jnp.float16), density)


def bake(field: HeadField, head: Prepared, rig, condition) -> Baked:
    """A frame with condition [C]."""
    params = {"params": head.params}
    state = field.apply(params, rig, condition[None], method="frame")
    planes = field.apply(params, state, head.fine, method="bake")
    nodes = node_points(state.warp.shape[1:4])
    nodes = (rig.warp_low + nodes * (rig.warp_high - rig.warp_low))[None]
    back = (nodes - step_back(rig, state, nodes)).reshape(state.warp.shape)
    places = (rig.low + node_points(head.density.shape) * (rig.high - rig.low))[None]
    places = places - displacement(rig, back, places, read_nearest)
    occupied = read_box(rig, head.density, places).reshape(head.density.shape)
    return Baked(state, planes, occupied)


def render_head(field, params, rig, baked, pose, camera, corner, side, samples):
    """The head in a window of the picture: [side, side, 4], premultiplied colour and
    alpha.

    Args:
        pose: (rotation [3, 3], translation [3]).
        corner: [2] row and column of the window. samples: per ray.
    """
    cells, step = first_look(rig, baked, pose, camera, corner, side)
    block = max(1, camera.size // BLOCKS)
    across = -(-side // block)
    row, column = jnp.mgrid[:across, :across].reshape(2, -1) * block
    seen = cells[row // step, column // step]
    place = jnp.cumsum(seen) - 1  # of a block among those that are seen
    turn_size = min(RAYS // block**2, across**2)
    size = -(-(across**2) // turn_size) * turn_size
    chosen = jnp.nonzero(seen, size=size, fill_value=0)[0]
    inside = jnp.mgrid[:block, :block].reshape(2, -1)

    def some(turn, made):
        number = jax.lax.dynamic_slice(chosen, (turn * turn_size,), (turn_size,))
        at = corner + jnp.stack([row[number], column[number]], -1)
        layer = look(field, params, rig, baked, at, inside, pose, camera, samples)
        return jax.lax.dynamic_update_slice(made, layer, (turn * turn_size, 0, 0))

    # As many turns as this frame needs: nothing is ever left out for want of room.
    turns = (place[-1] + turn_size) // turn_size
    made = jnp.zeros((size, block**2, 4))
    made = jax.lax.fori_loop(0, turns, some, made)
    layer = jnp.where(seen[:, None, None], made[place], 0.0)
    layer = layer.reshape(across, across, block, block, 4).swapaxes(1, 2)
    return layer.reshape(across * block, across * block, 4)[:side, :side]


def first_look(rig, baked: Baked, pose, camera, corner, side):
    """Where the head may be seen in a window: [n, n] bool of square cells of `step`
    pixels; step."""
    step = max(1, camera.size // LATTICE)
    cells = -(-side // step)
    rows, columns = jnp.mgrid[: cells + 1, : cells + 1] * step - 0.5
    rows, columns = rows.reshape(-1) + corner[0], columns.reshape(-1) + corner[1]
    view = pixel_rays(rows, columns, *pose, camera)
    near, far = occupancy.box_interval(view, rig.low, rig.high)
    met = look_along(view, near, far, partial(read_box, rig, baked.occupied))
    depth = met.mean(0) * (far - near)
    seen = (depth > SEEN).astype(jnp.float32).reshape(cells + 1, cells + 1)
    # A cell is looked at where any ray around it has met something, or its neighbour's.
    around = jax.lax.reduce_window(
        seen, 0.0, jax.lax.max, (4, 4), (1, 1), ((1, 1), (1, 1))
    )
    return around > 0, step


def look(field, params, rig, baked: Baked, at, inside, pose, camera, samples):
    """What the rays of blocks see: [N, P, 4], premultiplied colour and alpha. As
    march.march, but for the looks into the grid, which find it where this frame's face
    is, and are those of a block's middle for all of its rays.

    Args:
        at: [N, 2] row and column of the blocks. inside: [2, P] of pixels in a block.
    """
    middle = at + inside.mean(1)
    view = _one_frame(pixel_rays(middle[:, 0], middle[:, 1], *pose, camera))
    near, far = occupancy.box_interval(view, rig.low, rig.high)
    # From end to end: the grid is a union over frames, and an open mouth lies behind
    # what it takes for lips.
    seen = look_along(view, near, far, partial(read_box, rig, baked.occupied))
    edges = occupancy.place_edges(seen, near, far, samples)
    pixels = at[:, :, None] + inside
    count = pixels.shape[2]
    view = pixel_rays(*pixels.swapaxes(0, 1).reshape(2, -1), *pose, camera)
    edges, hit = (jnp.repeat(part, count, 1) for part in (edges, far > near))
    view = _one_frame(view)

    def ask(points):
        points = step_back(rig, baked.state, points)
        return field.apply(
            {"params": params}, rig, baked.planes, points, method="baked_face"
        )

    seen, alpha = gather(view, edges, ask)
    seen = (baked.state, seen, alpha, view.directions)
    colour = field.apply({"params": params}, *seen, method="colour")
    alpha = jnp.where(hit, alpha, 0.0)
    return jnp.concatenate([colour, alpha[..., None]], -1).reshape(-1, count, 4)


def _one_frame(view: Rays) -> Rays:
    return Rays(view.origins[None], view.directions[None])
