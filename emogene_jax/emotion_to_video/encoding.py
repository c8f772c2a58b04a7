"""Dense feature planes and grids, read by linear interpolation.

Coordinates u are in [0, 1] along each axis and reach from the first node's centre to the
last one's; what lies outside reads the border. All corners of all points are fetched by
one flat gather of whole feature rows: few, wide, coalesced reads are what XLA does fast
on CPU and GPU alike (a hash grid of the same size costs nine times as much).
"""

import jax.numpy as jnp


def read_planes(planes, uv):
    """Features [..., P, F] of planes [..., H, W, F] at uv [..., P, 2] = (column, row).

    Leading axes of planes and uv must be the same."""
    height, width, features = planes.shape[-3:]
    corner, weight = _corners(uv, (width, height))
    (x0, y0), (wx, wy) = corner, weight
    base = _offsets(planes.shape[:-3], height * width) + y0 * width + x0
    table = planes.reshape(-1, features)
    rows = jnp.stack([base, base + 1, base + width, base + width + 1], -1)
    weights = jnp.stack(
        [(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy], -1
    )
    return _blend(table, rows, weights)


def read_grid(grid, xyz):
    """Features [..., P, F] of grids [..., D, H, W, F] at xyz [..., P, 3] = (column, row,
    slice)."""
    depth, height, width, features = grid.shape[-4:]
    (x0, y0, z0), (wx, wy, wz) = _corners(xyz, (width, height, depth))
    base = _offsets(grid.shape[:-4], depth * height * width)
    base = base + (z0 * height + y0) * width + x0
    rows, weights = [], []
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                rows.append(base + (dz * height + dy) * width + dx)
                weights.append(
                    (wx if dx else 1 - wx)
                    * (wy if dy else 1 - wy)
                    * (wz if dz else 1 - wz)
                )
    table = grid.reshape(-1, features)
    return _blend(table, jnp.stack(rows, -1), jnp.stack(weights, -1))


def read_nearest(grid, xyz):
    """Features [..., P, F] of the nearest nodes of grids [..., D, H, W, F]."""
    depth, height, width, features = grid.shape[-4:]
    size = jnp.array([width, height, depth], jnp.float32)
    x, y, z = jnp.moveaxis(
        jnp.round(jnp.clip(xyz, 0, 1) * (size - 1)).astype(jnp.int32), -1, 0
    )
    base = _offsets(grid.shape[:-4], depth * height * width)
    return jnp.take(
        grid.reshape(-1, features), base + (z * height + y) * width + x, axis=0
    )


def _corners(u, sizes):
    """The lower corner's index and the upper one's weight, along each axis."""
    corners, weights = [], []
    for axis, size in enumerate(sizes):
        place = jnp.clip(u[..., axis], 0, 1) * (size - 1)
        low = jnp.clip(jnp.floor(place), 0, size - 2)
        corners.append(low.astype(jnp.int32))
        weights.append(place - low)
    return corners, weights


def _offsets(lead, size):
    """Where each of the leading tables begins in the flat one, [*lead, 1]."""
    count = 1
    for n in lead:
        count *= n
    return (jnp.arange(count, dtype=jnp.int32) * size).reshape(*lead, 1)


def _blend(table, rows, weights):
    taken = table.at[rows].get(mode="promise_in_bounds")
    # Not an einsum: XLA:CPU makes tiny batched products of that, five times slower.
    return (weights[..., None] * taken).sum(-2)
