"""Reads of planes and grids against slow loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.encoding import (
    made_once,
    read_grid,
    read_nearest,
    read_planes,
    sum_planes,
)

RNG = np.random.default_rng(0)


def slow_read(table, u):
    """Multilinear interpolation of table [..axes.., F] at u [n] in reversed axis order."""
    sizes = table.shape[:-1]
    place = [np.clip(x, 0, 1) * (n - 1) for x, n in zip(u[::-1], sizes, strict=True)]
    low = [min(int(np.floor(p)), n - 2) for p, n in zip(place, sizes, strict=True)]
    total = np.zeros(table.shape[-1])
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        weight = 1.0
        for p, base, step in zip(place, low, corner, strict=True):
            weight *= (p - base) if step else 1 - (p - base)
        total += weight * table[tuple(np.add(low, corner))]
    return total


def slow(tables, u):
    lead = tables.shape[: u.ndim - 2]
    out = np.zeros((*u.shape[:-1], tables.shape[-1]))
    for index in np.ndindex(*lead):
        for p in range(u.shape[-2]):
            out[(*index, p)] = slow_read(tables[index], u[(*index, p)])
    return out


def test_planes_are_read_as_by_a_slow_loop():
    planes = RNG.normal(size=(2, 3, 5, 7, 4)).astype(np.float32)
    uv = RNG.uniform(-0.2, 1.2, (2, 3, 30, 2)).astype(np.float32)
    uv[0, 0, :4] = [[0, 0], [1, 1], [0, 1], [0.5, 0.25]]
    read = read_planes(jnp.asarray(planes), uv)
    np.testing.assert_allclose(read, slow(planes, uv), atol=1e-5)


def test_grids_are_read_as_by_a_slow_loop():
    grids = RNG.normal(size=(2, 4, 5, 6, 3)).astype(np.float32)
    xyz = RNG.uniform(-0.2, 1.2, (2, 30, 3)).astype(np.float32)
    xyz[0, :2] = [[0, 0, 0], [1, 1, 1]]
    read = read_grid(jnp.asarray(grids), xyz)
    np.testing.assert_allclose(read, slow(grids, xyz), atol=1e-5)
    np.testing.assert_allclose(read_grid(jnp.asarray(grids[1]), xyz[1]), read[1])


def test_a_linear_function_is_read_exactly():
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in (4, 5, 6)], indexing="ij")
    grid = jnp.asarray((2 * x - 3 * y + z)[..., None], jnp.float32)
    at = RNG.uniform(0, 1, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        read_grid(grid, at)[:, 0], at @ [2, -3, 1], rtol=1e-4, atol=1e-5
    )


def test_nearest_takes_the_nearest_node():
    grid = RNG.normal(size=(4, 5, 6, 2)).astype(np.float32)
    xyz = RNG.uniform(-0.2, 1.2, (40, 3)).astype(np.float32)
    x, y, z = np.round(xyz.clip(0, 1) * [5, 4, 3]).astype(int).T
    np.testing.assert_array_equal(read_nearest(grid, xyz), grid[z, y, x])


def test_gradients_reach_the_tables_and_the_places():
    planes = jnp.asarray(RNG.normal(size=(2, 5, 5, 3)), jnp.float32)
    uv = jnp.asarray(RNG.uniform(0, 1, (2, 9, 2)), jnp.float32)

    def value(planes, uv):
        return (read_planes(planes, uv) ** 2).sum()

    table, place = jax.grad(value, (0, 1))(planes, uv)
    assert np.isfinite(table).all() and np.abs(table).sum() > 0
    step = 1e-3
    for axis in (0, 1):
        more, less = (value(planes, uv.at[1, 4, axis].add(s)) for s in (step, -step))
        assert abs((more - less) / (2 * step) - place[1, 4, axis]) < 0.02
    # What a read weighs in, it hands back: the weights of one read sum to 1.
    once = jax.grad(lambda planes: read_planes(planes, uv)[0, 0, 0])(planes)
    np.testing.assert_allclose(once.sum(), 1, rtol=1e-5)


def test_a_share_is_a_factor_of_what_is_read():
    grid = jnp.asarray(RNG.normal(size=(3, 4, 5, 2)), jnp.float32)
    at = jnp.asarray(RNG.uniform(0, 1, (7, 3)), jnp.float32)
    share = jnp.asarray(RNG.integers(0, 2, 7), jnp.float32)
    for read in (read_grid, read_nearest):
        expected = share[:, None] * read(grid, at)
        np.testing.assert_allclose(read(grid, at, share), expected, atol=1e-6)


def test_sums_are_of_every_plane_and_gradients_get_through():
    planes = [jnp.asarray(RNG.normal(size=(4, 5, 3)), jnp.float32) for _ in range(3)]
    uv = jnp.asarray(RNG.uniform(0, 1, (3, 7, 2)), jnp.float32)

    def plainly(planes):
        return jnp.tanh(sum(map(read_planes, planes, uv)))

    def once(planes):
        return sum_planes(planes, uv, jnp.tanh)

    np.testing.assert_allclose(once(planes), plainly(planes), atol=1e-6)
    mine, its = (
        jax.grad(lambda p, f=f: jnp.sum(f(p) ** 2))(planes) for f in (once, plainly)
    )
    for one, other in zip(mine, its, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_made_once_hides_no_nan():
    def double(x):
        return made_once(lambda: 2 * x, x)

    x = jnp.array([[1.0, -2.0], [3.0, jnp.inf]])
    np.testing.assert_array_equal(jax.jit(double)(x), 2 * x)
    assert jnp.isnan(double(x.at[0, 0].set(jnp.nan))).all()
    assert jnp.isnan(double(x.at[1, 0].set(jnp.nan))[1, 0])


def test_an_accelerator_reads_and_learns_what_a_cpu_does(on_an_accelerator):
    """Values, and the gradients of tables, of places and of shares."""
    grids = jnp.asarray(RNG.normal(size=(2, 3, 4, 5, 3)), jnp.float32)
    xyz = jnp.asarray(RNG.uniform(-0.2, 1.2, (2, 9, 3)), jnp.float32)
    share = jnp.asarray(RNG.uniform(0, 1, (2, 9)), jnp.float32)
    planes = jnp.asarray(RNG.normal(size=(2, 3, 4, 5, 8)), jnp.float32)
    uv = jnp.asarray(RNG.uniform(-0.2, 1.2, (2, 3, 9, 2)), jnp.float32)
    calls = {
        read_grid: (grids, xyz, share),
        read_nearest: (grids, xyz, share),
        read_planes: (planes, uv),
        lambda *told: sum_planes(told[:2], told[2], jnp.tanh): (
            *planes[0, :2],
            uv[0, :2],
        ),
    }

    def learned(read, told):
        def value(*told):
            return jnp.sum(jnp.sin(read(*told)))

        places = tuple(range(len(told)))
        return read(*told), jax.grad(value, places)(*told)

    before = [learned(*call) for call in calls.items()]
    on_an_accelerator()
    after = [learned(*call) for call in calls.items()]
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5),
        *(before, after),
    )
