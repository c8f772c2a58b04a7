"""Looking at a baked frame, as two kernels of a GPU (Pallas, through Triton).

XLA writes every sample's place, features and density to memory, and reads them again: of a
frame's rendering that is most of the bytes; and where to look along a ray it finds out in
forty launches. Here a block of rays keeps all of that in registers, and writes what comes
of it. The same numbers as volume.look_along with place_edges, and as
volume.gather of HeadField.baked_face, which are what other devices do.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from emogene_jax.emotion_to_video.encoding import cell
from emogene_jax.emotion_to_video.head import STEPS, density_of
from emogene_jax.emotion_to_video.volume import BINS, looked_at, stopped
from emogene_jax.parallel import interpreted, on_gpu

RAYS = 64  # of a block that gathers: its features are 16 registers a thread
FEW_RAYS = 32  # of a block that holds all bins of its rays
THREADS = triton.CompilerParams(num_warps=4)  # of 32, a block
ROW = 4  # numbers of a node of the warp (head.FrameState), read as one


def has_kernels(planes) -> bool:
    """Whether these kernels are for this device and baked planes: Triton's blocks have
    powers of two, and so have features."""
    return on_gpu() and planes[0].shape[-1].bit_count() == 1


def find_edges(rig, density, rays, near, far, samples: int):
    """Where rays of one frame look, and how much there is.

    Args:
        density: [D, H, W] per cm, over the head box.
        rays: Rays, [R, 3] in head space, of one origin. near, far: [R] cm.

    Returns:
        edges [R, samples + 1] cm (volume.place_edges), optical depth [R].
    """
    told = jnp.concatenate([rays.origins[0], rig.low, rig.high])
    return pl.pallas_call(
        functools.partial(_find, shape=density.shape),
        grid=(pl.cdiv(len(near), FEW_RAYS),),
        out_shape=(
            jax.ShapeDtypeStruct((len(near), samples + 1), jnp.float32),
            jax.ShapeDtypeStruct(near.shape, jnp.float32),
        ),
        compiler_params=THREADS,
        interpret=interpreted(),
        name="find_edges",
    )(told, rays.directions, near, far, density.reshape(-1))


def _find(told, directions, nears, fars, table, edges, depths, shape):
    """FEW_RAYS rays, all their bins at once; arguments are references to arrays."""
    ray = pl.program_id(0) * FEW_RAYS + jnp.arange(FEW_RAYS)
    ray = jnp.minimum(ray, edges.shape[0] - 1)
    near, width = nears[ray], (fars[ray] - nears[ray]) / BINS
    origin, low, high = _triples(told, 3)

    def depth_of(bins):
        """Optical depth of bins [1, BINS] of the rays: [FEW_RAYS, BINS]."""
        middle = near[:, None] + (bins + 0.5) * width[:, None]
        row = 0
        for axis, size in zip((2, 1, 0), shape, strict=True):
            point = origin[axis] + middle * directions[ray, axis][:, None]
            unit = (point - low[axis]) / (high[axis] - low[axis])
            unit = jnp.clip(unit, 0, 1)
            row = row * size + (unit * (size - 1) + 0.5).astype(
                jnp.int32
            )  # the nearest
        return table[row] * width[:, None]

    bins = jnp.arange(BINS)[None]
    depth = depth_of(bins)
    before = jnp.cumsum(depth, 1) - depth
    earlier = depth_of(jnp.maximum(bins - 1, 0))
    later = depth_of(jnp.minimum(bins + 1, BINS - 1))
    own, first = stopped(before, depth), before - earlier
    guards = [
        jnp.where(bins == 0, own, stopped(first, earlier)),
        jnp.where(bins == BINS - 1, own, stopped(before + depth, later)),
    ]
    weight = functools.reduce(jnp.maximum, guards, own)
    weight = looked_at(weight, depth)
    until = jnp.cumsum(weight, 1)
    total, before = weight.sum(1), until - weight

    def edge(number, _):
        aim = (number / (edges.shape[1] - 1)) * total
        bins_before = jnp.clip((aim[:, None] - before) / weight, 0.0, 1.0)
        edges[ray, number] = near + width * bins_before.sum(1)

    jax.lax.fori_loop(0, edges.shape[1], edge, None)
    depths[ray] = depth.sum(1)


def look_through(opacity, rig, warp, planes, rays, edges):
    """What rays of one frame gather between edges.

    Args:
        opacity: parameters of the field's layer of that name.
        warp: [D, H, W, ROW] cm, FrameState's.
        planes: three [fine, fine, F] (HeadField.bake).
        rays: Rays, [R, 3] in head space, of one origin. edges: [R, N + 1] cm.

    Returns:
        features [R, F] premultiplied, alpha [R].
    """
    count, features = len(edges), planes[0].shape[-1]
    boxes = rig.low, rig.high, rig.warp_low, rig.warp_high
    told = jnp.concatenate([rays.origins[0], *boxes])
    tables = warp, *planes, opacity["kernel"], opacity["bias"]
    return pl.pallas_call(
        functools.partial(_look, warp_shape=warp.shape[:3], side=len(planes[0])),
        grid=(pl.cdiv(count, RAYS),),
        out_shape=(
            jax.ShapeDtypeStruct((count, features), jnp.float32),
            jax.ShapeDtypeStruct((count,), jnp.float32),
        ),
        compiler_params=THREADS,
        interpret=interpreted(),
        name="look_through",
    )(told, rays.directions, edges, *(part.reshape(-1) for part in tables))


def _look(*told, warp_shape: tuple[int, int, int], side: int):
    """RAYS rays; `told` are references to what `look_through` hands in and gets."""
    told, directions, edges, warp, *planes, kernel, bias, seen, alpha = told
    count, features = seen.shape
    ray = pl.program_id(0) * RAYS + jnp.arange(RAYS)
    ray = jnp.minimum(ray, count - 1)  # the last block's: again and again the last ray
    origin, low, high, warp_low, warp_high = _triples(told, 5)
    direction = [directions[ray, axis] for axis in range(3)]
    column = jnp.arange(features)
    weights, shift = kernel[column], bias[0]

    def sample(number, gathered):
        depth, total, sums = gathered
        near, far = edges[ray, number], edges[ray, number + 1]
        middle = 0.5 * (near + far)
        point = [o + middle * d for o, d in zip(origin, direction)]
        point = _step_back(warp, warp_shape, warp_low, warp_high, point)
        unit = [(x - a) / (b - a) for x, a, b in zip(point, low, high)]
        hidden = sum(
            _read(plane, features, (unit[across], unit[down]), (side, side))
            for plane, (across, down) in zip(planes, PLANES, strict=True)
        )
        hidden = jnp.maximum(hidden, 0.0)
        density = density_of((hidden * weights[None]).sum(1) + shift)
        deeper = depth + density * (far - near)
        share = jnp.exp(-depth) - jnp.exp(-deeper)
        return deeper, total + share, sums + share[:, None] * hidden

    nothing = jnp.zeros(RAYS), jnp.zeros(RAYS), jnp.zeros((RAYS, features))
    _, total, sums = jax.lax.fori_loop(0, edges.shape[1] - 1, sample, nothing)
    seen[ray[:, None], column[None]] = sums
    alpha[ray] = total


def _triples(told, count: int):
    """So many points of three numbers each."""
    return [[told[3 * n + axis] for axis in range(3)] for n in range(count)]


# Which coordinates a plane's columns and rows are of (head.sides).
PLANES = ((0, 1), (1, 2), (0, 2))


def _step_back(warp, shape, low, high, points):
    """head.step_back of points, three [RAYS]."""
    at = points
    for step in STEPS:
        moved = _displacement(warp, shape, low, high, at)
        at = [a + step * (p - m - a) for a, p, m in zip(at, points, moved)]
    return at


def _displacement(warp, shape, low, high, points):
    """head.displacement of points, three [RAYS]."""
    unit = [(p - a) / (b - a) for p, a, b in zip(points, low, high)]
    inside = functools.reduce(jnp.logical_and, [(u >= 0) & (u <= 1) for u in unit])
    inside = jnp.where(inside, 1.0, 0.0)
    total = _read(warp, ROW, unit, shape[::-1], inside)
    column = jnp.arange(ROW)
    return [jnp.where(column == axis, total, 0.0).sum(1) for axis in range(3)]


def _read(table, features, unit, sizes, share=1.0):
    """encoding.read_grid and read_planes: [RAYS, features] of a grid with so many nodes
    along its axes (column, row, …) at places unit, [RAYS] along each of them."""
    cells = [cell(u, size) for u, size in zip(unit, sizes, strict=True)]
    column, total = jnp.arange(features), 0.0
    for ends in itertools.product((0, 1), repeat=len(cells)):
        row, weight, step = 0, share, 1
        for end, (low, upper), size in zip(ends, cells, sizes, strict=True):
            row += step * (low + end)
            weight *= upper if end else 1 - upper
            step *= size
        read = table[features * row[:, None] + column[None]].astype(jnp.float32)
        total += weight[:, None] * read
    return total
