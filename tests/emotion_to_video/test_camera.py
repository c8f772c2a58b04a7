"""Rays go through what projects to their pixels."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.rigid import project, rotation_exp
from emogene_jax.signals import Camera

CAMERA = Camera(focal=300.0, cx=97.5, cy=88.0, size=200)


def scene(seed, frames=3, count=20):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-8, 8, (frames, count, 3)).astype(np.float32)
    rotation = rotation_exp(rng.normal(0, 0.4, (frames, 3))).astype(np.float32)
    translation = rng.normal([0, 0, -60], 3, (frames, 3)).astype(np.float32)
    return points, rotation, translation


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_ray_through_a_projected_point_passes_it(seed):
    points, rotation, translation = scene(seed)
    pixel = project(points, rotation, translation, CAMERA)
    column, row = np.moveaxis(pixel, -1, 0)
    rays = pixel_rays(row - 0.5, column - 0.5, rotation, translation, CAMERA)
    origin, direction = (np.asarray(part, np.float64) for part in rays)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-5)
    away = points - origin
    along = (away * direction).sum(-1, keepdims=True)
    assert (along > 0).all()
    off = np.linalg.norm(away - along * direction, axis=-1)
    assert off.max() < 1e-3  # cm


def test_axes_and_pixel_centres_are_the_conventions():
    straight = np.eye(3, dtype=np.float32), np.array([0, 0, -60], np.float32)
    right_and_up = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]], np.float32)
    middle, right, up = project(right_and_up, *straight, CAMERA)
    np.testing.assert_allclose(middle, [CAMERA.cx, CAMERA.cy])
    np.testing.assert_allclose(right, [CAMERA.cx + 10, CAMERA.cy], rtol=1e-6)
    np.testing.assert_allclose(up, [CAMERA.cx, CAMERA.cy - 10], rtol=1e-6)
    # Pixel 97 has its centre at 97.5 = cx: the ray that looks straight ahead.
    rays = pixel_rays(np.array([87.5]), np.array([97]), *straight, CAMERA)
    np.testing.assert_allclose(rays.directions, [[0, 0, -1]], atol=1e-7)
    np.testing.assert_allclose(rays.origins, [[0, 0, 60]], atol=1e-5)


def test_numpy_and_jax_project_alike():
    points, rotation, translation = scene(0)
    host = project(points, rotation, translation, CAMERA)
    assert isinstance(host, np.ndarray)
    device = project(*map(jnp.asarray, (points, rotation, translation)), CAMERA)
    np.testing.assert_allclose(host, device, rtol=1e-5)
