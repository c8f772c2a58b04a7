"""Compositing (paper: Eqs. 6-7) against a slow loop and a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video.volume import composite

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
