"""Compositing (paper: Eqs. 6-7) against a slow loop and a closed form; samples go where
light is stopped, and stay inside the box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video import volume
from emogene_jax.emotion_to_video.encoding import node_points
from emogene_jax.emotion_to_video.volume import composite
from emogene_jax.signals import Rays

RNG = np.random.default_rng(0)


def ray(count=12, lead=(2, 3)):
    density = RNG.uniform(0, 3, (*lead, count)).astype(np.float32)
    colour = RNG.uniform(0, 1, (*lead, count, 3)).astype(np.float32)
    width = RNG.uniform(0.01, 0.5, (*lead, count)).astype(np.float32)
    return density, colour, width


def test_against_a_slow_loop():
    density, colour, width = ray()
    seen, alpha, weights = composite(density, colour, width)
    for index in np.ndindex(2, 3):
        through, pixel = 1.0, np.zeros(3)
        for n in range(12):
            stopped = 1 - np.exp(-float(density[index][n]) * float(width[index][n]))
            np.testing.assert_allclose(weights[index][n], through * stopped, atol=1e-6)
            pixel += through * stopped * colour[index][n]
            through *= 1 - stopped
        np.testing.assert_allclose(seen[index], pixel, atol=1e-5)
        np.testing.assert_allclose(alpha[index], 1 - through, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_a_homogeneous_slab_has_its_closed_form(samples):
    thickness, density, colour = 2.5, 0.7, jnp.array([0.2, 0.5, 0.9])
    seen, alpha, _ = composite(
        jnp.full(samples, density),
        jnp.broadcast_to(colour, (samples, 3)),
        jnp.full(samples, thickness / samples),
    )
    expected = 1 - np.exp(-density * thickness)
    np.testing.assert_allclose(alpha, expected, rtol=1e-5)
    np.testing.assert_allclose(seen, expected * colour, rtol=1e-5)


def test_nothing_is_clear_and_a_wall_hides_what_is_behind():
    colour = jnp.eye(3)
    width = jnp.ones(3)
    seen, alpha, _ = composite(jnp.zeros(3), colour, width)
    np.testing.assert_array_equal(seen, 0)
    assert alpha == 0
    seen, alpha, _ = composite(jnp.array([0.0, 1e4, 1e4]), colour, width)
    np.testing.assert_allclose(seen, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(alpha, 1)


@pytest.mark.parametrize("density", [0.0, 1e-12, 1.0, 1e6])
def test_gradients_are_finite(density):
    _, colour, width = ray(lead=())

    def value(density, colour):
        seen, alpha, _ = composite(density, colour, width)
        return seen.sum() + alpha

    grads = jax.grad(value, (0, 1))(jnp.full(12, density), jnp.asarray(colour))
    assert all(np.isfinite(g).all() for g in grads)
    if density == 0.0:  # a clear ray is told to fill itself
        assert (grads[0] > 0).all()


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
        edges = np.asarray(volume.place_edges(density, low, high, COUNT, key))
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
        return volume.place_edges(density, near, far, COUNT)

    near = jnp.asarray(np.random.default_rng(0).uniform(50, 53, (8, 32)), jnp.float32)
    far = near + jnp.linspace(3.0, 15.0, 32)
    found = np.asarray(edges(1.0, near, far))
    np.testing.assert_allclose(found[..., 0], near, atol=1e-3)
    assert (np.diff(found) >= -1e-4).all()


def test_edges_crowd_where_light_is_stopped():
    edges = np.asarray(volume.place_edges(densities(), NEAR, FAR, COUNT))
    width = 20.0 / BINS
    front = 50 + 19 * width, 50 + 25 * width  # the wall and a bin on either side
    inside = (edges[0] >= front[0]) & (edges[0] <= front[1])
    assert inside.sum() >= COUNT - 2
    # Where nothing is known to be, they are spread evenly.
    np.testing.assert_allclose(np.diff(edges[1]), 15 / COUNT, rtol=1e-3)


def test_a_far_wall_behind_a_near_one_gets_few_samples():
    density = np.zeros((BINS, 1), np.float32)
    density[10:20], density[40:50] = 50.0, 50.0
    edges = volume.place_edges(jnp.asarray(density), NEAR[:1], FAR[:1], COUNT)
    place = (np.asarray(edges)[0] - 50) / 20 * BINS
    assert ((place > 9) & (place < 20)).sum() > 2 * ((place > 39) & (place < 51)).sum()


def test_no_gradient_goes_through_the_placing():
    def total(density):
        return volume.place_edges(density, NEAR, FAR, COUNT).sum()

    np.testing.assert_array_equal(jax.grad(total)(densities()), 0)


def test_rays_meet_the_box_where_they_should():
    low, high = jnp.array([-1.0, -2, -3]), jnp.array([1.0, 2, 3])
    origins = jnp.array([[0.0, 0, 10], [5, 0, 10], [0, 0, 0], [0, 0, 10]])
    directions = jnp.array([[0.0, 0, -1], [0, 0, -1], [1, 0, 0], [0, 0, 1]])
    near, far = volume.box_interval(Rays(origins, directions), low, high)
    np.testing.assert_allclose(near[0], 7)
    np.testing.assert_allclose(far[0], 13)
    assert near[1] == far[1]  # passes by
    assert near[2] == 0 and far[2] == 1  # begins inside
    assert near[3] == far[3]  # looks away


def test_a_grid_is_read_at_its_nodes():
    grid = jnp.arange(5 * 6 * 7.0).reshape(5, 6, 7)
    nodes = node_points(grid.shape)
    np.testing.assert_array_equal(volume.read_density(grid, nodes), grid.reshape(-1))


def test_bin_centres_are_the_middles():
    centres = volume.bin_centres(jnp.array([10.0]), jnp.array([14.0]), 4)
    np.testing.assert_allclose(centres, [[10.5, 11.5, 12.5, 13.5]])
