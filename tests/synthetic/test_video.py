import numpy as np
import pytest
from PIL import Image, ImageDraw

from emogene_jax.motion_to_emotion.expressions import (
    canonical_rest,
    emotion_displacement,
)
from emogene_jax.signals import EMOTIONS, Pose, motion_to_landmarks
from emogene_jax.synthetic import shape as synthetic_shape
from emogene_jax.synthetic import video as synthetic_video

SIZE = 128
CAMERA = synthetic_video.camera(SIZE)
REST = canonical_rest()
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
LOWER_LIP = [55, 56, 57, 58, 59, 65, 66, 67]


def turned(yaw=0.0, pitch=0.0, shift=(0.0, 0.0, 0.0)):
    """One pose, 60 cm away: (rotation [3, 3], translation [3])."""
    y, p = np.radians([yaw, pitch])
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]]
    return np.array(about_y) @ about_x, np.add((0.0, 0.0, -60.0), shift)


def draw(faces, poses=None, **looks):
    poses = poses or [turned()] * len(faces)
    pose = Pose(*(np.stack(part) for part in zip(*poses, strict=True)))
    looks = {name: np.float32(value) for name, value in looks.items()}
    who = synthetic_video.character(2)._replace(**looks)
    return synthetic_video.render(np.stack(faces), REST, pose, CAMERA, who)


def project(points, pose):
    """Pixels [..., 2] (column, row) of head points [..., 3]."""
    x, y, z = np.moveaxis(points @ pose[0].T + pose[1], -1, 0)
    column, row = CAMERA.cx - CAMERA.focal * x / z, CAMERA.cy + CAMERA.focal * y / z
    return np.stack([column, row], -1)


def centroid(weights):
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def greenness(frame):
    red, green, blue = np.moveaxis(frame.astype(float), -1, 0)
    return np.maximum(green - np.maximum(red, blue) - 40.0, 0.0)


def open_mouth(drop=1.2):
    face = REST.copy()
    face[LOWER_LIP, 1] -= drop
    face[6:11, 1] -= 0.6 * drop
    return face


def test_same_arguments_give_the_same_pictures():
    first, second = draw([REST, open_mouth()]), draw([REST, open_mouth()])
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    looks = [np.hstack(synthetic_video.character(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(looks[0], looks[1])
    assert not np.array_equal(looks[0], looks[2])


def test_head_and_shoulders_fill_the_picture():
    drawn = draw([REST])
    head = drawn.head_matte[0].astype(int)
    torso = drawn.torso_matte[0].astype(int)
    assert (head + torso).max() == 255
    assert 0.15 < head.mean() / 255 < 0.30
    assert 0.12 < torso.mean() / 255 < 0.30
    rows = np.flatnonzero((head > 128).any(1))
    assert 0.52 < (rows[-1] + 1 - rows[0]) / SIZE < 0.66
    assert rows[0] > 0.02 * SIZE
    assert (torso[-1] > 250).mean() > 0.6  # shoulders leave at the lower edge
    assert torso[-1, 0] == 0
    empty = (head + torso) == 0
    difference = np.abs(drawn.frames[0].astype(int) - drawn.background)
    assert difference[empty].max() <= 1


def test_speaking_changes_mouth_and_chin_only():
    mouth = REST.copy()
    mouth[LOWER_LIP, 1] -= 0.8
    closed, opened = draw([REST, mouth]).frames.astype(int)
    change = np.abs(opened - closed).sum(-1)
    low, high = np.sort(project(mouth[48:68], turned()), axis=0)[[0, -1]]
    box = np.zeros_like(change, bool)
    (left, top), (right, _) = (low - 5).astype(int), (high + 5).astype(int)
    bottom = int(project(mouth[8], turned())[1])
    box[top:bottom, left:right] = True  # 1.5 cm around the lips, and down to the chin
    assert change[box].mean() > 15
    assert change[~box].sum() < 0.06 * change[box].sum()


def test_the_head_moves_before_a_still_background():
    drawn = draw([REST, REST], [turned(), turned(shift=(2.0, 0.0, 0.0))])
    head = [centroid(m.astype(float))[0] for m in drawn.head_matte]
    torso = [centroid(m.astype(float))[0] for m in drawn.torso_matte]
    expected = 2.0 * CAMERA.focal / 60.0
    assert head[1] - head[0] == pytest.approx(expected, abs=0.6)
    assert 0.0 < torso[1] - torso[0] < 0.6 * expected
    empty = (drawn.head_matte.max(0) == 0) & (drawn.torso_matte.max(0) == 0)
    np.testing.assert_array_equal(drawn.frames[0][empty], drawn.frames[1][empty])


def test_lips_lie_on_their_landmarks_from_every_side():
    poses = [
        turned(),
        turned(12),
        turned(-12),
        turned(0, 10),
        turned(8, -10, (2, 1, 3)),
    ]
    wide = REST.copy()
    wide[48:68, 0] *= 1.15
    wide[48:68, 1] += 0.4
    faces = [REST, REST, wide, wide, REST]
    drawn = draw(faces, poses, lips=(0.05, 1.0, 0.05))
    for frame, face, pose in zip(drawn.frames, faces, poses, strict=True):
        shape = Image.new("L", (SIZE * 8, SIZE * 8))
        outline = [tuple(point * 8) for point in project(face[48:60], pose)]
        ImageDraw.Draw(shape).polygon(outline, fill=1)
        expected = centroid(np.asarray(shape, float)) / 8
        assert np.linalg.norm(centroid(greenness(frame)) - expected) < 0.8


def test_closed_lids_hide_the_iris():
    shut = REST.copy()
    shut[UPPER_LIDS] = shut[LOWER_LIDS]
    drawn = draw([REST, shut], iris=(0.0, 1.0, 0.0))
    seen = [greenness(frame) for frame in drawn.frames]
    assert (seen[0] > 20).sum() >= 8
    assert seen[1].max() == 0
    left = centroid(seen[0][:, : SIZE // 2])
    eye = project(REST[36:42].mean(0), turned())
    assert np.linalg.norm(left - eye) < 1.0


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_landmarks_lie_on_the_surface(emotion):
    face = motion_to_landmarks(emotion_displacement(emotion), REST)
    shape = synthetic_shape.shape(face, REST)
    moved, correction = synthetic_shape.bend(face.T, shape)
    distance = synthetic_shape.skin_distance(face.T - moved, shape)
    away = np.abs(distance - correction)
    assert away[:60].max() < 0.32
    assert away[60:].max() < 0.5  # the seam of the lips, a groove not modelled
