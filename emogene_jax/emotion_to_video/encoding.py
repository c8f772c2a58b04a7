"""Dense feature planes and grids, read by linear interpolation.

Coordinates u are in [0, 1] along each axis and reach from the first node's centre to the
last one's; what lies outside reads the border. Corners are fetched as whole feature rows
of one flat table: few, wide, coalesced reads are what XLA does fast on CPU and GPU alike
(a hash grid of the same size costs nine times as much).
"""

import itertools

import jax
import jax.numpy as jnp


def read_planes(planes, uv):
    """Features [..., P, F] of planes [..., H, W, F] at uv [..., P, 2] = (column, row).

    Leading axes of planes and uv must be the same."""
    height, width, features = planes.shape[-3:]
    offsets = _offsets(planes.shape[:-3], height * width)
    return _read_plane(planes.reshape(-1, features), offsets, (width, height), uv)


def sum_planes(planes, uv, then):
    """then(sum [P, F] of what N planes, each [H, W, F], hold at uv [N, P, 2])."""

    def read():
        pairs = zip(planes, uv, strict=True)
        return then(sum(read_planes(plane, place) for plane, place in pairs))

    return made_once(read, uv)


def made_once(make, of):
    """make() -> array, as one pass over memory, whatever is made of it.

    XLA:CPU fuses reads with what comes next, and makes them again for each of its parts
    (ten times as long). Barriers don't hold it back, and what a loop makes is written by
    one thread; a branch that it can't foretell is compiled by itself.

    Args:
        of: an array [...] that `make` depends on: without NaN, or all is NaN.
    """
    made = jax.eval_shape(make)
    known = jnp.ravel(of)[0] <= jnp.inf
    return jax.lax.cond(known, make, lambda: jnp.full(made.shape, jnp.nan, made.dtype))


def read_grid(grid, xyz, share=1.0):
    """Features [..., P, F] of grids [..., D, H, W, F] at xyz [..., P, 3] = (column, row,
    slice), times share [..., P] (as a factor of the weights it is free)."""
    depth, height, width, features = grid.shape[-4:]
    (x0, y0, z0), (wx, wy, wz) = _corners(xyz, (width, height, depth))
    base = _offsets(grid.shape[:-4], depth * height * width)
    base = base + (z0 * height + y0) * width + x0
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
    return _blend(grid.reshape(-1, features), *corners)


def read_nearest(grid, xyz, share=1.0):
    """Features [..., P, F] of the nearest nodes of grids [..., D, H, W, F], times share
    [..., P]."""
    depth, height, width, features = grid.shape[-4:]
    size = jnp.array([width, height, depth], jnp.float32)
    x, y, z = jnp.moveaxis(
        jnp.round(jnp.clip(xyz, 0, 1) * (size - 1)).astype(jnp.int32), -1, 0
    )
    base = _offsets(grid.shape[:-4], depth * height * width)
    row = base + (z * height + y) * width + x
    found = jnp.take(grid.reshape(-1, features), row, axis=0)
    return jnp.expand_dims(share, -1) * found


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
    corners, weights = [], []
    for axis, size in enumerate(sizes):
        place = jnp.clip(u[..., axis], 0, 1) * (size - 1)
        low = jnp.clip(jnp.floor(place), 0, size - 2)
        corners.append(low.astype(jnp.int32))
        weights.append(place - low)
    return corners, weights


def _read_plane(table, offset, sizes, uv):
    """Features [..., P, F] at uv [..., P, 2] of a plane that lies in a table [N, F] of
    them from a row on."""
    (x0, y0), (wx, wy) = _corners(uv, sizes)
    width = sizes[0]
    base = offset + y0 * width + x0
    return _blend(
        table,
        (base, (1 - wx) * (1 - wy)),
        (base + 1, wx * (1 - wy)),
        (base + width, (1 - wx) * wy),
        (base + width + 1, wx * wy),
    )


def _offsets(lead, size):
    """Where each of the leading tables begins in the flat one, [*lead, 1]."""
    count = 1
    for n in lead:
        count *= n
    return (jnp.arange(count, dtype=jnp.int32) * size).reshape(*lead, 1)


def _blend(table, *corners):
    """Rows of a table, each corner's by its weight.

    One gather and one product a corner, which XLA:CPU fuses into one pass; stacked
    corners and an einsum or a sum over them take ten times as long."""
    return sum(
        weight[..., None] * table.at[row].get(mode="promise_in_bounds")
        for row, weight in corners
    )
