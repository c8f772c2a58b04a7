"""Expressions painted onto frames: what must move moves, the rest stays."""

import numpy as np
import pytest

from emogene_jax.face import landmarks as lm
from emogene_jax.face.augment import augment, open_shape, spread, warp_frame
from emogene_jax.rigid import project
from emogene_jax.signals import Camera, Pose


@pytest.fixture(scope="module")
def face():
    """A rest mesh [478, 3] that has rows of landmarks where a face has them."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-5, 5, (2, lm.MESH_POINTS))
    angle = np.linspace(0, 2 * np.pi, len(lm.FACE_OVAL), endpoint=False)
    x[list(lm.FACE_OVAL)] = 7 * np.sin(angle)
    y[list(lm.FACE_OVAL)] = 9 * np.cos(angle)
    for ring, size in ((lm.LIPS_OUTER, (2.5, 1.0)), (lm.LIPS_INNER, (2.0, 0.05))):
        angle = np.linspace(np.pi, 3 * np.pi, len(ring), endpoint=False)
        x[list(ring)] = size[0] * np.cos(angle)
        y[list(ring)] = -4 - size[1] * np.sin(angle)
    for ring, middle in ((lm.EYE_LEFT, -3), (lm.EYE_RIGHT, 3)):
        angle = np.linspace(np.pi, 3 * np.pi, len(ring), endpoint=False)
        x[list(ring)] = middle + 1.3 * np.cos(angle)
        y[list(ring)] = 3 - 0.5 * np.sin(angle)
    return np.stack([x, y, 6 - (x**2 + y**2) / 30], -1)


def test_landmarks_get_exactly_their_displacement(face):
    wide = face.copy()
    wide[:, 1] -= 1.5 * (face[:, 1] < -4)
    moves = np.random.default_rng(1).normal(size=(3, 68, 3)) * 0.3
    all_points = spread(moves, wide)
    np.testing.assert_allclose(lm.to_68(all_points), moves, atol=1e-8)
    assert np.abs(all_points[:, list(lm.IRISES)]).max() == 0
    assert np.abs(all_points[:, [10, 338, 109]]).max() < 1e-8  # the forehead's rim


def test_lower_lip_does_not_drag_the_upper(face):
    mesh = np.stack([face, face])
    lower = (face[:, 1] < -4) & (np.hypot(face[:, 0], face[:, 1] + 4) < 4)
    mesh[1, lower, 1] -= 0.4
    wide = open_shape(mesh, face)
    moves = np.zeros((1, 68, 3))
    moves[0, [55, 56, 57, 58, 59, 65, 66, 67], 1] = -1.0
    moves[0, 5:12, 1] = -1.0
    moved = spread(moves, wide)[0, :, 1]
    assert moved[[17, 14, 87, 317]].max() < -0.8  # lower lip
    assert abs(moved[[0, 13]]).max() < 1e-8  # upper lip


def pattern(size):
    row, column = np.mgrid[:size, :size]
    waves = 127 + 100 * np.sin(row / 5) * np.sin(column / 5)
    return np.repeat(waves[..., None], 3, -1).astype(np.uint8)


def test_warp_moves_the_face_and_leaves_the_rest(face):
    size = 96
    camera = Camera(300.0, 48.0, 48.0, size)
    pose = Pose(np.eye(3)[None], np.array([[0.0, 0.0, -100.0]]))
    before = project(face[None], *pose, camera)[0]
    after = before.copy()
    mouth = np.r_[lm.LIPS_OUTER, lm.LIPS_INNER]
    after[mouth] += [2.0, 0.0]
    frame = pattern(size)
    same, _ = warp_frame(frame, [], before, before)
    np.testing.assert_allclose(same.astype(int), frame, atol=1)
    warped, (matte,) = warp_frame(frame, [frame[..., 0]], before, after)
    column, row = np.round(before[mouth].mean(0)).astype(int)
    there = warped[row - 1 : row + 2, column + 1 : column + 4].astype(int)
    came = frame[row - 1 : row + 2, column - 1 : column + 2]
    assert (
        np.abs(there - came).mean()
        < 8
        < np.abs(there - frame[row - 1 : row + 2, column + 1 : column + 4]).mean()
    )
    np.testing.assert_allclose(warped[:6].astype(int), frame[:6], atol=1)
    assert matte.shape == (size, size)


def test_augment_is_deterministic_and_projects_to_its_mesh(face):
    size, count = 64, 3
    camera = Camera(200.0, 32.0, 32.0, size)
    frames = np.stack([pattern(size)] * 4)
    mattes = (frames[..., 0], 255 - frames[..., 0])
    mesh = np.repeat(face[None], 4, 0)
    pose = Pose(np.repeat(np.eye(3)[None], 4, 0), np.tile([0.0, 0.0, -100.0], (4, 1)))

    def smile(motion, rng):
        moved = motion.copy()
        moved[:, [48, 54], 1] += 0.1 * rng.uniform(0.9, 1.1)
        return moved

    def run():
        rng = np.random.default_rng(5)
        return augment(frames, mattes, mesh, face, pose, camera, smile, rng, count)

    first, second = run(), run()
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.frames.shape == (count, size, size, 3)
    lift = first.landmarks[:, 48, 1] - lm.to_68(face)[48, 1]
    assert (lift > 0.3).all()
    assert not np.array_equal(first.frames[0], frames[0])
