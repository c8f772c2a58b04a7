"""Mattes of a drawn person, stretch by stretch: never all frames at once, and held-out
ones change nothing."""

import contextlib
import errno

import numpy as np
import pytest

from emogene_jax.face import mesh as lm
from emogene_jax.portrait import matting, pack, pictures
from emogene_jax.portrait.pictures import FrameStore, cut_out_clips

SIZE = 64
LENGTHS, KNOWN, STRETCH = (45, 12), 42, 25


def by_colour(picture: np.ndarray) -> np.ndarray:
    """A segmenter that knows how `draw` paints."""
    return ((picture[..., 2] < 50) | (picture[..., 0] > 180)).astype(np.float32)


def draw(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T, S, S, 3] of a head that sways before a wall, and its mesh [T, 478, 2]."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    wall = np.stack([40 + column, 90 + row / 2, 150 - row / 2], -1)
    wall = wall + rng.normal(0, 6, wall.shape)
    angle = np.linspace(0, 2 * np.pi, len(lm.FACE_OVAL), endpoint=False)
    face = rng.uniform(-0.5, 0.5, (lm.MESH_POINTS, 2)) * [12, 16]
    face[list(lm.FACE_OVAL)] = np.stack([12 * np.sin(angle), -16 * np.cos(angle)], -1)
    frames, points = [], []
    for number in range(count):
        middle = np.array([32 + 4 * np.sin(number / 5), 26 + np.cos(number / 7)])
        x, y = column - middle[0], row - middle[1]
        head = (x / 13) ** 2 + (y / 17) ** 2 < 1
        body = (np.abs(column - 32) < 22) & (row > 45) | (np.abs(x) < 5) & (y > 0)
        frame = np.where(body[..., None], [30, 35, 40], wall)
        frame = np.where(head[..., None], [210, 160, 130], frame)
        frames.append(np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255))
        points.append(middle + face)
    return np.array(frames, np.uint8), np.array(points)


class Watched:
    """Frames that note how many were asked for at once."""

    def __init__(self, frames):
        self.frames, self.shape, self.asked = frames, frames.shape, []

    def __getitem__(self, which):
        found = self.frames[which]
        self.asked.append(len(found) if isinstance(which, slice) else 1)
        return found


def collect(frames, points, lengths, known, size=SIZE):
    """([frames, head, torso] of all stretches, lengths of these, what is `seen`)."""
    seen = []
    parts = list(cut_out_clips(frames, points, lengths, known, size, seen))
    layers = [np.concatenate(layer) for layer in zip(*parts, strict=True)]
    return layers, [len(part[0]) for part in parts], seen


@pytest.fixture(scope="module", autouse=True)
def short_stretches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "STRETCH", STRETCH)
        patch.setattr(
            pictures, "open_segmenter", lambda: contextlib.nullcontext(by_colour)
        )
        yield


@pytest.fixture(scope="module")
def scene():
    return draw(sum(LENGTHS))


@pytest.fixture(scope="module")
def cut(scene):
    frames = Watched(scene[0])
    return *collect(frames, scene[1], LENGTHS, KNOWN), max(frames.asked)


def test_a_person_is_cut_out_in_short_stretches(scene, cut):
    (frames, head, torso), lengths, seen, most = cut
    assert lengths == [25, 17, 3, 12] and most <= STRETCH + 2
    np.testing.assert_array_equal(frames, scene[0])
    person = by_colour(scene[0])
    assert (abs(head.astype(int) + torso - 255 * person) > 128).mean() < 0.06
    assert (head[:, 15:35, 26:38] > 250).mean() > 0.99
    assert (torso[:, 55:, 15:50] > 250).mean() > 0.99
    assert 40 <= len(seen) < 80
    background = matting.fill_background(*(np.stack(layer) for layer in zip(*seen)))
    assert abs(background[:20, :10].astype(int) - scene[0][0, :20, :10]).mean() < 3


def test_stretches_join_without_a_seam(scene):
    frames, points = scene
    whole = [next(matting.cut_out(by_colour, frames, points, [(5, 40)]))]
    cuts = [(5, 20), (20, 21), (21, 22), (22, 39), (39, 40)]
    parts = list(matting.cut_out(by_colour, frames, points, cuts))
    for one, many in zip(zip(*whole), zip(*parts)):
        np.testing.assert_array_equal(np.concatenate(many), one[0])


def test_held_out_frames_change_nothing(scene, cut):
    known, (frames, points) = KNOWN, (part.copy() for part in scene)
    frames[known:] = frames[known:, ::-1, :, ::-1]
    points[known:] += 9
    (_, head, torso), _, seen = collect(frames, points, LENGTHS, known)
    np.testing.assert_array_equal(head[:known], cut[0][1][:known])
    np.testing.assert_array_equal(torso[:known], cut[0][2][:known])
    assert (head[known:] != cut[0][1][known:]).any()
    np.testing.assert_array_equal(
        np.array([s[0] for s in seen]), [s[0] for s in cut[2]]
    )
    assert all((s[1] == old[1]).all() for s, old in zip(seen, cut[2], strict=True))


def test_the_background_is_that_of_the_longest_clip(scene):
    _, _, seen = collect(*scene, (5, 20, 12, 10, 10), 30)
    assert len(seen) == 20 and (seen[0][0] == scene[0][5]).all()


def test_who_is_followed_stays_and_others_do_not(scene):
    """Neither a second person nor a hole, and a face that the network misses stays."""
    frames, points = (part[:1] for part in scene)
    other = np.s_[60:120, 4:40]  # of 256 px

    def segment(picture):
        likely = by_colour(picture)
        likely[other] = 1
        likely[230:240, 100:140] = 0.1
        return likely

    ((_, head, torso),) = matting.cut_out(segment, frames, points, [(0, 1)])
    assert head[0, 17:28, 2:9].max() == 0 and torso[0, 58:59, 27:33].min() > 250
    nobody = np.zeros((256, 256), np.float32)
    ((_, head, _),) = matting.cut_out(lambda _: nobody.copy(), frames, points, [(0, 1)])
    assert (head[0, 18:34, 26:38] > 250).mean() > 0.99


def test_shoulders_beside_the_jaw_are_no_head(scene):
    import cv2

    points = scene[1][0]
    above = matting.above_jaw(cv2, points, SIZE)
    (left, low), (right, _) = points[lm.JAW_LINE[0]], points[lm.JAW_LINE[-1]]
    assert above[int(low) - 4, int((left + right) / 2)] == 1
    assert above[: int(low) - 8, int(left) : int(right)].min() == 1
    assert above[int(low) - 4, 2] == 0 and above[2, 2] == 1


def test_shoulders_that_rise_beside_the_ears_are_no_head(scene):
    import cv2

    points = scene[1][0] * (256 / SIZE)
    (left, low), (right, ear) = points[lm.JAW_LINE[0]], points[454]
    person = np.zeros((256, 256), bool)
    person[20 : int(low), int(left) : int(right) + 30] = True  # a head, and its hair
    person[int(low) :] = True
    top = int((ear + low) / 2) + 4
    person[top:, :20] = True  # a shoulder, with a gap before the head
    own = matting.hanging(cv2, person, points)
    assert own[top + 4 : int(low), 2:16].max() < 0.01
    assert own[20 : int(low), int(left) : int(right) + 26].min() > 0.99


def test_small_pictures_keep_head_and_torso_apart(scene):
    (frames, head, torso), _, seen = collect(*(x[:12] for x in scene), (12,), 12, 24)
    assert frames.shape == (12, 24, 24, 3) and head.shape == torso.shape == (12, 24, 24)
    assert (head.astype(int) + torso).max() <= 255 and seen[0][0].shape == (64, 64, 3)


def test_frames_come_back_from_disk(scene, tmp_path):
    with FrameStore(tmp_path, SIZE) as store:
        for frame in scene[0][:9]:
            store.append(frame)
        assert store.shape == (9, SIZE, SIZE, 3) and not list(tmp_path.iterdir())
        np.testing.assert_array_equal(store[2:7], scene[0][2:7])
        np.testing.assert_array_equal(store[8], scene[0][8])
        store.append(scene[0][9])
        np.testing.assert_array_equal(store[8:], scene[0][8:10])


def test_a_full_disk_is_told_as_it_is(scene, tmp_path, monkeypatch):
    full = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(pictures.tempfile, "TemporaryFile", lambda dir: full)
    with pytest.raises(OSError) as error, FrameStore(tmp_path, SIZE) as store:
        store.append(scene[0][0])
    assert error.value.errno == errno.ENOSPC
