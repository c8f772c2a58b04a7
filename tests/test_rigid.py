"""Projection and rotations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from emogene_jax.rigid import project, rotation_exp, rotation_log
from emogene_jax.signals import Camera, Pose

angles = st.floats(-1.7, 1.7)


def test_projection_follows_signals_axes():
    camera = Camera(100.0, 10.0, 20.0, 64)
    pose = Pose(np.eye(3)[None], np.array([[0.0, 0.0, -50.0]]))
    points = project(np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]]), *pose, camera)
    np.testing.assert_allclose(points[0], [[12, 20], [10, 18], [10, 20]])


@settings(deadline=None)
@given(angles, angles, angles)
def test_exp_and_log_are_inverse(x, y, z):
    vector = np.array([[x, y, z]])
    rotation = rotation_exp(vector)
    np.testing.assert_allclose(rotation[0] @ rotation[0].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    np.testing.assert_allclose(rotation_log(rotation), vector, atol=1e-9)


def test_exp_against_scipy():
    vectors = np.random.default_rng(0).normal(0, 0.8, (20, 3))
    vectors[0] = 0
    np.testing.assert_allclose(
        rotation_exp(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12
    )
