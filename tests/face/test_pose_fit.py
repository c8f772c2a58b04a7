"""Camera, poses and mesh, from points that a made-up head projects."""

import numpy as np
import pytest

from emogene_jax.face import mesh as lm
from emogene_jax.face.pose_fit import (
    fit_head,
    head_mesh,
    seen_aside,
    smooth_pose,
)
from emogene_jax.rigid import project, rotation_exp, rotation_log
from emogene_jax.signals import Camera, Pose


@pytest.fixture(scope="module")
def scene():
    """A half ellipsoid of 478 points that turns and moves in front of a camera."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-5, 5, (2, lm.MESH_POINTS))
    shape = np.stack([x, y, 6 * np.sqrt(1 - (x**2 + y**2) / 60)], -1)
    frames = np.arange(80)
    turn = np.stack(
        [
            0.1 * np.sin(frames / 9),
            0.25 * np.sin(frames / 13),
            0.05 * np.sin(frames / 7),
        ],
        -1,
    )
    place = np.stack([np.sin(frames / 11), np.cos(frames / 17), 0 * frames - 70.0], -1)
    pose = Pose(rotation_exp(turn), place)
    camera = Camera(700.0, 256.0, 256.0, 512)
    points = project(shape[None], *pose, camera)
    depth = (shape @ np.swapaxes(pose.rotation, 1, 2))[..., 2] * 700 / 70
    tracked = np.concatenate([points, -depth[..., None]], -1)
    return shape, pose, camera, tracked


def test_fit_finds_poses_under_noise_and_moving_points(scene):
    shape, pose, _, tracked = scene
    rng = np.random.default_rng(2)
    noisy = tracked + rng.normal(size=tracked.shape) * [0.3, 0.3, 2.0]
    noisy[20:40, lm.STABLE[5]] += 25  # a point that is off for a while
    fit = fit_head(noisy, shape[:468], 512, (256.0, 256.0))
    turned = rotation_log(fit.pose.rotation @ np.swapaxes(pose.rotation, 1, 2))
    change = np.degrees(np.linalg.norm(turned - turned.mean(0), axis=1))
    assert change.mean() < 0.5
    mesh = head_mesh(noisy, fit)
    again = project(mesh, *fit.pose, fit.camera)
    np.testing.assert_allclose(again, noisy[..., :2], atol=1e-6)  # on the same rays
    moved = mesh - np.median(mesh, axis=0)
    assert np.median(np.abs(moved)) < 0.1  # cm: the rigid motion is gone


def test_held_out_frames_are_followed_and_change_nothing(scene):
    shape, pose, _, tracked = scene
    rng = np.random.default_rng(2)
    noisy = tracked + rng.normal(size=tracked.shape) * [0.3, 0.3, 2.0]
    whole = fit_head(noisy, shape[:468], 512, (256.0, 256.0))
    fit = fit_head(noisy, shape[:468], 512, (256.0, 256.0), known=60)
    assert fit.error.shape == (80,) and fit.error[60:].mean() < 0.5
    turned = rotation_log(fit.pose.rotation @ np.swapaxes(pose.rotation, 1, 2))
    change = np.degrees(np.linalg.norm(turned - turned[:60].mean(0), axis=1))
    assert change[60:].mean() < 0.7 and whole.camera != fit.camera
    other = noisy.copy()
    other[60:] = 1.3 * other[60:] + rng.normal(size=other[60:].shape)
    again = fit_head(other, shape[:468], 512, (256.0, 256.0), known=60)
    assert again.camera == fit.camera and (again.shape == fit.shape).all()
    for one, two in zip(again.pose, fit.pose):
        np.testing.assert_array_equal(one[:60], two[:60])
        assert (one[60:] != two[60:]).any()


def test_size_is_metric(scene):
    shape, _, _, tracked = scene
    fit = fit_head(tracked, shape[:468], 512, (256.0, 256.0))
    stable = shape[list(lm.STABLE)]
    spread, found = np.ptp(stable, axis=0), np.ptp(fit.shape, axis=0)
    np.testing.assert_allclose(found, spread, rtol=0.1)


def test_smoothing_takes_noise_and_leaves_motion(scene):
    shape, pose, camera, _ = scene
    rng = np.random.default_rng(3)
    noise = rotation_exp(rng.normal(size=(80, 3)) * 0.005)
    middle = shape.mean(0)
    centre = pose.rotation @ middle + pose.translation
    rotation = noise @ pose.rotation
    rough = Pose(rotation, centre - rotation @ middle)
    smooth = smooth_pose(rough, middle)

    def error(some):
        off = project(shape[None], *some, camera) - project(shape[None], *pose, camera)
        return np.sqrt((off[5:-5] ** 2).mean())

    assert error(smooth) < 0.6 * error(rough)


def test_faces_seen_from_a_side_are_told(scene):
    """From any side, whichever way the head leans; and points that are no face's."""
    shape = scene[0]
    angles = np.radians([0, 20, 40, 50, 70, 90])
    for axis in ([0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.6, 0.8, 0.0]):
        turned = shape @ np.swapaxes(rotation_exp(angles[:, None] * axis), 1, 2)
        tracked = 8 * turned @ rotation_exp(np.array([0.0, 0.0, 0.4])).T * [1, -1, -1]
        found = seen_aside(tracked + [300.0, 200.0, 0.0], shape[:468])
        assert found.tolist() == [False] * 3 + [True] * 3
    scatter = np.array([0, 2, 9])[:, None, None]  # px, at 8 px a cm
    wild = tracked[:1] + scatter * np.random.default_rng(0).normal(size=(3, 478, 3))
    assert seen_aside(wild, shape[:468]).tolist() == [False, False, True]
