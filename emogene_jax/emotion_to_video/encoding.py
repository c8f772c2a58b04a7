"""Dense feature planes and grids, read by linear interpolation.

Coordinates u are in [0, 1] along each axis and reach from the first node's centre to the
last one's; what lies outside reads the border. Corners are fetched as whole feature rows
of one flat table: few, wide, coalesced reads are what XLA does fast on CPU and GPU alike
(a hash grid of the same size costs nine times as much).

An accelerator has a table for each of the first leading axis (frames, which devices share)
in place of one flat one, and adds up gradients by `_gathered`; a CPU has `made_once`.
"""

import itertools
import math

import jax
import jax.numpy as jnp

from emogene_jax.parallel import device_count, full_precision, on_accelerator

THREADS = 1 << 19  # more than a GPU has


def read_planes(planes, uv):
    """Features [..., P, F] of planes [..., H, W, F] at uv [..., P, 2] = (column, row).

    Leading axes of planes and uv must be the same; or the one plane [H, W, F] is read at
    all of them."""
    height, width = planes.shape[-3:-1]
    (x0, y0), (wx, wy) = _corners(uv, (width, height))
    tables, offsets = _tables(planes, 2)
    base = offsets + y0 * width + x0
    return _blend(
        tables,
        (base, (1 - wx) * (1 - wy)),
        (base + 1, wx * (1 - wy)),
        (base + width, (1 - wx) * wy),
        (base + width + 1, wx * wy),
    )


def sum_planes(planes, uv, then):
    """then(sum [P, F] of what N planes, each [H, W, F], hold at uv [N, P, 2])."""

    def read():
        pairs = zip(planes, uv, strict=True)
        return then(sum(read_planes(plane, place) for plane, place in pairs))

    return made_once(read, uv)


def made_once(make, of):
    """make() -> array, on a CPU as one pass over memory, whatever is made of it.

    XLA:CPU fuses reads with what comes next, and makes them again for each of its parts
    (ten times as long). Barriers don't hold it back, and what a loop makes is written by
    one thread; a branch that it can't foretell is compiled by itself.

    Args:
        of: an array [...] that `make` depends on: without NaN, or all is NaN.
    """
    if on_accelerator():  # where the branch would wait for the host
        return make()
    made = jax.eval_shape(make)
    known = jnp.ravel(of)[0] <= jnp.inf
    return jax.lax.cond(known, make, lambda: jnp.full(made.shape, jnp.nan, made.dtype))


def read_grid(grid, xyz, share=1.0):
    """Features [..., P, F] of grids [..., D, H, W, F] at xyz [..., P, 3] = (column, row,
    slice), times share [..., P] (as a factor of the weights it is free)."""
    depth, height, width = grid.shape[-4:-1]
    (x0, y0, z0), (wx, wy, wz) = _corners(xyz, (width, height, depth))
    tables, offsets = _tables(grid, 3)
    base = offsets + (z0 * height + y0) * width + x0
    corners = [
        (
            base + (dz * height + dy) * width + dx,
            (wx if dx else 1 - wx)
            * (wy if dy else 1 - wy)
            * (wz if dz else 1 - wz)
            * share,
        )
        for dz, dy, dx in itertools.product((0, 1), repeat=3)
    ]
    return _blend(tables, *corners)


def read_nearest(grid, xyz, share=1.0):
    """Features [..., P, F] of the nearest nodes of grids [..., D, H, W, F], times share
    [..., P]."""
    depth, height, width = grid.shape[-4:-1]
    size = jnp.array([width, height, depth], jnp.float32)
    x, y, z = jnp.moveaxis(
        jnp.round(jnp.clip(xyz, 0, 1) * (size - 1)).astype(jnp.int32), -1, 0
    )
    tables, offsets = _tables(grid, 3)
    found = _rows(tables, offsets + (z * height + y) * width + x, "fill")
    return jnp.expand_dims(share, -1) * found


@full_precision
def resized(grid, shape):
    """Grids [B, d, h, w, F], or planes, at other nodes, [B, *shape, F]: linear."""
    for axis, (few, many) in enumerate(zip(grid.shape[1:-1], shape, strict=True)):
        place = jnp.linspace(0, few - 1, many)[:, None]
        share = jnp.maximum(0, 1 - jnp.abs(place - jnp.arange(few)))  # [many, few]
        grid = jnp.moveaxis(jnp.tensordot(share, grid, (1, axis + 1)), 0, axis + 1)
    return grid


def node_points(shape):
    """Unit-box points [D * H * W, 3] of the nodes of a grid (D, H, W)."""
    axes = [jnp.linspace(0.0, 1.0, n) for n in shape]
    z, y, x = jnp.meshgrid(*axes, indexing="ij")
    return jnp.stack([x, y, z], -1).reshape(-1, 3)


def _corners(u, sizes):
    """The lower corner's index and the upper one's weight, along each axis."""
    return zip(*(cell(u[..., axis], size) for axis, size in enumerate(sizes)))


def cell(u, size):
    """Between which of `size` nodes places u [...] lie: the lower one's index and the upper
    one's weight."""
    place = jnp.clip(u, 0, 1) * (size - 1)
    low = jnp.clip(jnp.floor(place), 0, size - 2)
    return low.astype(jnp.int32), place - low


def _tables(grid, axes):
    """(tables [N, F], or [A, N, F] of each of the first leading axis, of grids [*lead,
    …, F] with so many `axes`; the first row of each grid in its table [*lead, 1])."""
    lead, size = grid.shape[: -axes - 1], math.prod(grid.shape[-axes - 1 : -1])
    apart = lead[:1] if on_accelerator() else ()
    rest = lead[len(apart) :]
    first = jnp.arange(math.prod(rest), dtype=jnp.int32) * size
    flat = jnp.asarray(grid).reshape(*apart, -1, grid.shape[-1])
    return flat, first.reshape(*rest, 1)


def _rows(tables, row, mode="promise_in_bounds"):
    """Rows [..., F] of a table [N, F], or [A, ..., F] of tables [A, N, F] each."""
    if tables.ndim == 3:
        return jax.vmap(lambda one, row: _rows(one, row, mode))(tables, row)
    return tables.at[row].get(mode=mode)


def _blend(tables, *corners):
    """Rows of tables, each corner's by its weight."""
    rows, weights = zip(*corners)
    return (_gathered if on_accelerator() else _sum_rows)(tables, rows, weights)


def _sum_rows(tables, rows, weights):
    """One gather and one product a corner, which XLA fuses into one pass; on a CPU stacked
    corners and an einsum or a sum over them take ten times as long."""
    pairs = zip(rows, weights)
    return sum(weight[..., None] * _rows(tables, row) for row, weight in pairs)


@jax.custom_vjp
def _gathered(tables, rows, weights):
    """_sum_rows, whose gradient is one scatter-add that a GPU does by itself (_added)."""
    return _sum_rows(tables, rows, weights)


def _forwards(*told):
    return _gathered(*told), told


def _backwards(told, gradient):
    tables, rows, weights = told
    of_weights = tuple((gradient * _rows(tables, row)).sum(-1) for row in rows)
    added = jnp.concatenate([w[..., None] * gradient for w in weights], -2)
    return _added(tables, jnp.concatenate(rows, -1), added), None, of_weights


_gathered.defvjp(_forwards, _backwards)


def _added(tables, row, added):
    """Tables like `tables`, zero but for what is added to rows [..., P]: [..., P, F].

    A GPU's compiler adds numbers one by one, by a loop of compare-and-swap, where a row is
    not of 4, 8, … numbers, where there are fewer of them than the card has threads, and
    where they are made on the way. So rows are widened, zeros are added here and there,
    and a barrier stands before.
    """
    count, features = tables.shape[-2:]
    width = features + -features % 4
    others = math.prod(row.shape[:-1])
    fewest = -(-THREADS * device_count() // (others * width))
    more = max(0, fewest - row.shape[-1])
    spread = jnp.arange(more, dtype=row.dtype) % count
    spread = jnp.broadcast_to(spread, (*row.shape[:-1], more))
    wide = [(0, 0)] * (row.ndim - 1) + [(0, more), (0, width - features)]
    told = jnp.concatenate([row, spread], -1), jnp.pad(added, wide)

    def add(row, added):
        empty = jnp.zeros((count, width), added.dtype)
        return empty.at[row].add(added, mode="promise_in_bounds")

    add = jax.vmap(add) if tables.ndim == 3 else add
    return add(*jax.lax.optimization_barrier(told))[..., :features]
