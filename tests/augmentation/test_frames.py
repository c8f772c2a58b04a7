"""Expressions painted onto frames: what must move moves, the rest stays."""

import chex
import numpy as np
import pytest

from emogene_jax.augmentation.frames import (
    FELT,
    Augmented,
    Expressions,
    augment,
    augmented,
    random_expressions,
)
from emogene_jax.augmentation.warp import open_shape, spread, warp_frame
from emogene_jax.augmentation.wrinkles import FOLDS
from emogene_jax.face import mesh as lm
from emogene_jax.portrait.takes import NEUTRAL
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


def test_a_brow_that_rises_stays_as_thick_as_it_is(face):
    moves = np.zeros((1, 68, 3))
    moves[0, 17:27, 1] = np.linspace(0.5, 1, 10)
    moved = spread(moves, face)[0, list(lm.LOWER_BROWS)]
    np.testing.assert_allclose(moved, moves[0, 17:27], atol=1e-8)


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
        return Expressions(moved, np.zeros((len(moved), len(FOLDS))))

    def run():
        rng = np.random.default_rng(5)
        return augment(frames, mattes, mesh, face, pose, camera, smile, rng, count)

    first, second = run(), run()
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.frames.shape == (count, size, size, 3)
    lift = first.landmarks[:, 48, 1] - lm.to_68(face)[48, 1]
    assert (lift > 0.3).all()
    assert not np.array_equal(first.frames[0], frames[0])


def test_random_expressions_are_different_ones(person):
    motion = np.zeros((30, 68, 3), np.float32)
    made = random_expressions(
        motion, person.deformation, np.random.default_rng(0), FELT
    )
    assert made.motion.shape == motion.shape
    assert len(np.unique(made.motion.round(6).reshape(30, -1), axis=0)) == 30
    assert made.folds.shape == (30, len(FOLDS)) and made.folds.max(1).all()
    only = [
        random_expressions(motion, person.deformation, np.random.default_rng(0), [name])
        for name in ("happy", "sad")
    ]
    # One emotion alone: all frames are moved along one line.
    for made in only:
        flat = made.motion.reshape(30, -1)
        assert np.linalg.matrix_rank(flat, tol=1e-4 * np.linalg.norm(flat)) == 1
    assert np.abs(only[0].motion - only[1].motion).max() > 1e-3


@pytest.fixture
def tracked(filmed):
    """The character with a mesh as a tracker gives it, still."""
    mesh = np.random.default_rng(0).normal(size=(lm.MESH_POINTS, 3)).astype(np.float32)
    moving = np.repeat(mesh[None], len(filmed.clip), 0)
    return filmed._replace(mesh=moving, rest_mesh=mesh)


@pytest.fixture
def painted(monkeypatch):
    """What is painted, and with which emotions; in place of the warp, the frames."""
    asked = []

    def augment(frames, mattes, mesh, rest_mesh, pose, camera, express, rng, count):
        source = np.sort(rng.choice(len(frames), count))
        asked.append({"frames": len(frames), "count": count})
        express(np.zeros((count, 68, 3), np.float32), rng)
        told = frames[source], *(matte[source] for matte in mattes), mesh[source] + 1
        return Augmented(*told, lm.to_68(mesh[source] + 1), source)

    def express(motion, deformation, rng, emotions):
        asked[-1]["emotions"] = emotions
        return motion

    monkeypatch.setattr("emogene_jax.augmentation.frames.augment", augment)
    monkeypatch.setattr("emogene_jax.augmentation.frames.random_expressions", express)
    return asked


def test_only_what_was_never_filmed_is_made_up(tracked, painted, tmp_path):
    """A character filmed neutrally and happily: no other happiness is painted, and none
    of the others onto a happy face."""
    calm = int((tracked.emotion == NEUTRAL).sum())
    every = len(tracked.clip)
    assert 0 < calm < every
    for names, frames, count in (([], every, 70), (["happy", "sad"], calm, 50)):
        made = augmented(tracked, tmp_path, {}, names, 70, 0)
        others = [name for name in FELT if name not in names]
        asked = {"frames": frames, "count": count, "emotions": others}
        assert painted.pop() == asked and not painted
        assert len(made.frames) == len(made.clip) == count
        if names:
            assert (made.emotion == NEUTRAL).all()
    assert augmented(tracked, tmp_path, {}, FELT, 70, 0) is None
    no_mesh = tracked._replace(mesh=tracked.landmarks)
    assert augmented(no_mesh, tmp_path, {}, [], 70, 0) is None
    assert not painted


def test_augmented_frames_are_made_once(tracked, painted, tmp_path):
    """For each portrait, model, seed and number; and all who ask find the same."""
    models = [{"w": np.full(3, value, np.float32)} for value in (0, 1)]
    first, again = (
        augmented(tracked, tmp_path, models[0], [], 20, 0) for _ in range(2)
    )
    assert len(painted) == 1
    chex.assert_trees_all_equal(*(p._replace(info={}) for p in (first, again)))
    other = tracked._replace(landmarks=tracked.landmarks + 0.1)
    for portrait, model, count, seed in (
        (tracked, models[1], 20, 0),
        (tracked, models[0], 21, 0),
        (tracked, models[0], 20, 1),
        (other, models[0], 20, 0),
    ):
        augmented(portrait, tmp_path, model, [], count, seed)
    assert len(painted) == len(list(tmp_path.iterdir())) == 5


def test_landmarks_of_augmented_frames_move_with_the_mesh(tracked, painted, tmp_path):
    """They need not be points of it."""
    made = augmented(tracked, tmp_path, {}, [], 20, 0)
    source = np.sort(np.random.default_rng(0).choice(len(tracked.clip), 20))
    np.testing.assert_allclose(made.landmarks, tracked.landmarks[source] + 1, atol=1e-5)
    np.testing.assert_array_equal(made.source_frame, tracked.source_frame[source])
    np.testing.assert_array_equal(made.background, tracked.background)
