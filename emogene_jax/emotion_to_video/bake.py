"""A frame's head, looked at only where it is: what talking renders with.

What depends on the frame alone is made once: the field's state, and the occupancy grid as
this frame's face has it. One ray a block of pixels then finds where there is anything to
see; only those blocks' rays are marched.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.encoding import node_points, read_nearest
from emogene_jax.emotion_to_video.fused import find_edges, has_kernels, look_through
from emogene_jax.emotion_to_video.head import (
    FrameState,
    HeadField,
    Still,
    displacement,
    step_back,
)
from emogene_jax.emotion_to_video.volume import (
    box_interval,
    gather,
    look_along,
    place_edges,
    read_box,
)
from emogene_jax.parallel import on_accelerator
from emogene_jax.signals import Rays

BLOCKS = 128  # across a picture: of pixels that look for the head once for all of them
SEEN = 0.01  # the optical depth from which on there is something to see
MARGIN = 2  # px around blocks that meet something, that are marched as well
SAMPLES = 1 << 15, 1 << 20  # at a time, on a CPU (as its cache is) and on a GPU


class Baked(NamedTuple):
    """A frame, ready to be looked at."""

    state: FrameState  # of 1 frame
    planes: Any  # HeadField.bake
    occupied: jax.Array  # [D, H, W] per cm, in the frame's own head space


class ReadyHead(NamedTuple):
    """A person's head, ready for every frame."""

    params: Any  # of the field
    still: Still
    density: jax.Array  # [D, H, W] per cm, of the rest face (volume.seen_density)


def ready_head(field: HeadField, params, rig, density) -> ReadyHead:
    """density: see ReadyHead."""
    still = field.apply({"params": params}, rig, method="still")
    return ReadyHead(params, still, density)


def bake(field: HeadField, head: ReadyHead, rig, condition) -> Baked:
    """A frame with condition [C]."""
    params = {"params": head.params}
    state = field.apply(params, rig, condition[None], head.still, method="frame")
    planes = field.apply(params, state, head.still, method="bake")
    nodes = node_points(state.warp.shape[1:4])
    nodes = (rig.warp_low + nodes * (rig.warp_high - rig.warp_low))[None]
    back = nodes - step_back(rig, state, nodes)
    back = back.reshape(*state.warp.shape[:4], 3)
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
    block = max(1, camera.size // BLOCKS)
    across = -(-side // block)
    inside = jnp.mgrid[:block, :block].reshape(2, -1)
    at = corner + jnp.mgrid[:across, :across].reshape(2, -1).T * block
    middle = (at + (block - 1) / 2).T
    depth, edges_of = first_look(
        rig, baked, pixel_rays(*middle, *pose, camera), samples
    )
    seen = (depth > SEEN).reshape(across, across)
    seen = maximum_around(seen, -(-MARGIN // block)).reshape(-1)
    place = jnp.cumsum(seen) - 1  # of a block among those that are seen
    rays = SAMPLES[on_accelerator()] // samples
    count = min(max(1, rays // block**2), len(seen))  # of blocks in a turn
    size = -(-len(seen) // count) * count
    # nonzero, which would make sums of its own.
    chosen = jnp.zeros(size, jnp.int32).at[jnp.where(seen, place, size)]
    chosen = chosen.set(jnp.arange(len(seen)), mode="drop")

    def some(turn, made):
        number = jax.lax.dynamic_slice(chosen, (turn * count,), (count,))
        rows, columns = at[number].T[:, :, None] + inside[:, None]
        view = pixel_rays(rows.reshape(-1), columns.reshape(-1), *pose, camera)
        edges = edges_of(number).repeat(block**2, 0)
        layer = look(field, params, rig, baked, view, edges)
        layer = layer.reshape(count, block**2, 4)
        return jax.lax.dynamic_update_slice(made, layer, (turn * count, 0, 0))

    # As many turns as this frame needs: nothing is ever left out for want of room.
    made = jnp.zeros((size, block**2, 4))
    if size == count:
        made = some(0, made)  # a loop would wait for the host to read its length
    else:
        turns = (place[-1] + count) // count
        made = jax.lax.fori_loop(0, turns, some, made)
    layer = jnp.where(seen[:, None, None], made[place], 0.0)
    layer = layer.reshape(across, across, block, block, 4).swapaxes(1, 2)
    return layer.reshape(across * block, across * block, 4)[:side, :side]


def first_look(rig, baked: Baked, view: Rays, samples: int):
    """What the grid holds along rays [N, 3]: its optical depth [N], and a function:
    numbers [n] of rays -> their edges [n, samples + 1] cm.

    As in volume.march, but for the grid: this one is where this frame's face is. From end
    to end of the box: it is a union over frames, and an open mouth lies behind what it
    takes for lips."""
    near, far = box_interval(view, rig.low, rig.high)
    if has_kernels(baked.planes):
        edges, depth = find_edges(rig, baked.occupied, view, near, far, samples)
        return depth, lambda number: edges[number]
    met = look_along(view, near, far, partial(read_box, rig, baked.occupied))

    def edges_of(number):
        ends = near[number], far[number]
        return place_edges(met[:, number], *ends, samples)

    return met.mean(0) * (far - near), edges_of


def maximum_around(seen, reach):
    """[H, W] bool of [H, W]: whether any is, within `reach` rows and columns."""
    window = (2 * reach + 1,) * 2
    return jax.lax.reduce_window(
        seen, False, jax.lax.bitwise_or, window, (1, 1), "SAME"
    )


def look(field, params, rig, baked: Baked, view: Rays, edges):
    """What rays [R, 3] see between edges [R, N + 1] cm: [R, 4], premultiplied colour and
    alpha."""
    if has_kernels(baked.planes):
        opacity, warp = params["opacity"], baked.state.warp[0]
        seen, alpha = look_through(opacity, rig, warp, baked.planes, view, edges)
        seen, alpha = seen[None], alpha[None]
    else:

        def ask(points):
            points = step_back(rig, baked.state, points)
            return field.apply(
                {"params": params}, rig, baked.planes, points, method="baked_face"
            )

        rays = Rays(view.origins[None], view.directions[None])
        seen, alpha, _ = gather(rays, edges[None], ask)
    seen = (seen, alpha, view.directions[None])
    colour = field.apply({"params": params}, *seen, method="colour")
    return jnp.concatenate([colour, alpha[..., None]], -1)[0]
