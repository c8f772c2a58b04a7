"""Samples go where light is stopped, and stay inside the box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video import occupancy
from emogene_jax.emotion_to_video.encoding import node_points
from emogene_jax.signals import Rays

NEAR, FAR = jnp.array([50.0, 51.0, 49.0]), jnp.array([70.0, 66.0, 49.0])
BINS, COUNT = 64, 16


def densities():
    """A wall, nothing at all, and a ray that misses the box."""
    wall = np.zeros((3, BINS), np.float32)
    wall[0, 20:24] = 5.0
    return jnp.asarray(wall.T)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_edges_rise_and_stay_between_near_and_far(seed):
    rng = np.random.default_rng(0)
    many = jnp.asarray(
        rng.exponential(1.0, (BINS, 50)) * (rng.random((BINS, 50)) > 0.8)
    )
    near, far = jnp.full(50, 40.0), jnp.full(50, 60.0)
    key = None if seed is None else jax.random.key(seed)
    for density, low, high in ((densities(), NEAR, FAR), (many, near, far)):
        edges = np.asarray(occupancy.place_edges(density, low, high, COUNT, key))
        assert edges.shape == (len(low), COUNT + 1)
        assert (np.diff(edges) >= -1e-4).all()
        assert (edges >= low[:, None] - 1e-4).all()
        assert (edges <= high[:, None] + 1e-4).all()
        if key is None:
            np.testing.assert_allclose(edges[:, 0], low, rtol=1e-5)
            np.testing.assert_allclose(edges[:, -1], high, atol=0.02)


def test_compiled_edges_stay_inside_as_well():
    """Fused with what it is made of, the first edge once lay one bin before the box."""

    @jax.jit
    def edges(level, near, far):
        density = jnp.full((BINS, *near.shape), 2.0) * level
        return occupancy.place_edges(density, near, far, COUNT)

    near = jnp.asarray(np.random.default_rng(0).uniform(50, 53, (8, 32)), jnp.float32)
    far = near + jnp.linspace(3.0, 15.0, 32)
    found = np.asarray(edges(1.0, near, far))
    np.testing.assert_allclose(found[..., 0], near, atol=1e-3)
    assert (np.diff(found) >= -1e-4).all()


def test_edges_crowd_where_light_is_stopped():
    edges = np.asarray(occupancy.place_edges(densities(), NEAR, FAR, COUNT))
    width = 20.0 / BINS
    front = 50 + 19 * width, 50 + 25 * width  # the wall and a bin on either side
    inside = (edges[0] >= front[0]) & (edges[0] <= front[1])
    assert inside.sum() >= COUNT - 2
    # Where nothing is known to be, they are spread evenly.
    np.testing.assert_allclose(np.diff(edges[1]), 15 / COUNT, rtol=1e-3)


def test_a_far_wall_behind_a_near_one_gets_few_samples():
    density = np.zeros((BINS, 1), np.float32)
    density[10:20], density[40:50] = 50.0, 50.0
    edges = occupancy.place_edges(jnp.asarray(density), NEAR[:1], FAR[:1], COUNT)
    place = (np.asarray(edges)[0] - 50) / 20 * BINS
    assert ((place > 9) & (place < 20)).sum() > 2 * ((place > 39) & (place < 51)).sum()


def test_no_gradient_goes_through_the_placing():
    def total(density):
        return occupancy.place_edges(density, NEAR, FAR, COUNT).sum()

    np.testing.assert_array_equal(jax.grad(total)(densities()), 0)


def test_rays_meet_the_box_where_they_should():
    low, high = jnp.array([-1.0, -2, -3]), jnp.array([1.0, 2, 3])
    origins = jnp.array([[0.0, 0, 10], [5, 0, 10], [0, 0, 0], [0, 0, 10]])
    directions = jnp.array([[0.0, 0, -1], [0, 0, -1], [1, 0, 0], [0, 0, 1]])
    near, far = occupancy.box_interval(Rays(origins, directions), low, high)
    np.testing.assert_allclose(near[0], 7)
    np.testing.assert_allclose(far[0], 13)
    assert near[1] == far[1]  # passes by
    assert near[2] == 0 and far[2] == 1  # begins inside
    assert near[3] == far[3]  # looks away


def test_a_grid_is_read_at_its_nodes():
    grid = jnp.arange(5 * 6 * 7.0).reshape(5, 6, 7)
    nodes = node_points(grid.shape)
    np.testing.assert_array_equal(occupancy.read_density(grid, nodes), grid.reshape(-1))


def test_bin_centres_are_the_middles():
    centres = occupancy.bin_centres(jnp.array([10.0]), jnp.array([14.0]), 4)
    np.testing.assert_allclose(centres, [[10.5, 11.5, 12.5, 13.5]])
