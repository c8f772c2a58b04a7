"""The model file and the tracker, on a real clip where the shared data is."""

import urllib.error

import numpy as np
import pytest

from emogene_jax.face import tracking
from emogene_jax.face.tracking import Track, canonical_mesh, find_model, track_video
from emogene_jax.media.video import iter_frames
from emogene_jax.signals import UserError


@pytest.fixture
def no_model(monkeypatch, tmp_path):
    monkeypatch.delenv("EMOGENE_FACE_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_no_network_says_what_to_do(no_model, monkeypatch):
    def unreachable(url, timeout):
        assert timeout <= 10
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(tracking.urllib.request, "urlopen", unreachable)
    with pytest.raises(UserError, match="no route to host.*--face-model FILE"):
        find_model()


def test_a_download_with_another_checksum_is_refused(no_model, monkeypatch, tmp_path):
    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def read(self):
            return b"something else"

    monkeypatch.setattr(tracking.urllib.request, "urlopen", lambda *a, **k: Answer())
    with pytest.raises(UserError, match="sha256"):
        find_model()
    assert not (tmp_path / "cache").exists()


def test_a_wrong_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.task").write_text("no model")
    with pytest.raises(UserError, match="x.task.*--face-model"):
        find_model(tmp_path / "x.task")
    monkeypatch.setenv("EMOGENE_FACE_MODEL", str(tmp_path / "gone.task"))
    with pytest.raises(UserError, match="gone.task.*EMOGENE_FACE_MODEL"):
        find_model()


def test_the_shared_model_is_the_official_one(shared, no_model, tmp_path):
    model = shared / "models" / "face_landmarker.task"
    model = model if model.exists() else shared / "data/models/face_landmarker.task"
    cached = tmp_path / "cache" / "emogene_jax" / "face_landmarker.task"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(model.read_bytes())
    assert find_model() == cached  # its checksum fits: nothing is downloaded
    points, triangles = canonical_mesh(cached)
    assert points.shape == (468, 3) and triangles.shape == (898, 3)
    assert np.linalg.norm(points[33] - points[263]) == pytest.approx(8.89, abs=0.01)


def test_gaps_are_interpolated_and_marked(shared):
    model = shared / "data/models/face_landmarker.task"
    frames = []
    for frame in iter_frames(shared / "data/portrait/may_5s.mp4"):
        frames.append(frame[::2, ::2])
        if len(frames) == 6:
            break
    frames[2] = np.zeros_like(frames[2])
    track = track_video(frames, model)
    assert isinstance(track, Track) and track.points.shape == (6, 478, 3)
    assert track.found.tolist() == [True, True, False, True, True, True]
    np.testing.assert_allclose(track.points[2], (track.points[1] + track.points[3]) / 2)
    assert 60 < tracking.face_height(track.points[0]) < 256
    with pytest.raises(UserError, match="clip.mp4: a face in 0 of 3"):
        track_video([np.zeros((128, 128, 3), np.uint8)] * 3, model, "clip.mp4")


def test_the_face_that_is_expected_is_taken():
    small, large = np.zeros((2, 478, 3))
    small[1, :2], large[:, 0], large[1, 1] = 10, 100, 40
    choose = tracking._chosen
    assert choose([], None) is None and choose([], np.array([5, 5])) is None
    assert choose([small, large], None) == 1
    assert choose([small, large], np.array([6, 5])) == 0
    assert choose([small, large], np.array([110, 20])) == 1
    assert choose([small], np.array([30, 5])) is None


def test_two_faces_the_larger_is_taken(shared):
    frame = next(iter_frames(shared / "data/portrait/may_5s.mp4"))
    both = np.zeros((512, 768, 3), np.uint8)
    both[:, :512] = frame
    both[100:356, 512:] = frame[::2, ::2]
    with pytest.warns(UserWarning, match="2 faces in 3 of 3"):
        track = track_video([both] * 3, shared / "data/models/face_landmarker.task")
    assert track.points[..., 0].max() < 512
