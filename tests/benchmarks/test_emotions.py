"""The tables and the contact sheet of the benchmark of emotions."""

import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.evaluate import emotion as judge
from emogene_jax.evaluate import geometry


@pytest.fixture
def emotions(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import emotions

    yield emotions
    del sys.modules["emotions"], sys.modules["timing"]


def verdict(name, size, named=None):
    measure, _ = judge.PRIMARY[name]
    nobody = geometry.measures(np.full((1, 68, 2), np.nan))
    effects = {m: (0.0, 0.01) for m in nobody}
    effects[measure] = (size, 0.01)
    fits = dict.fromkeys(judge.SIGNATURES, 0.1) | {named or name: 0.8}
    votes = dict.fromkeys(judge.EMOTIONS, 0.0) | {name: 1.0}
    score = (0.3, 0.1) if name in judge.SCORES else None
    return judge.Verdict(
        effects, (size, 0.01), fits, named or name, votes, score, 0.9, 0.01
    )


def test_tables_count_what_is_clear(emotions):
    verdicts = {name: verdict(name, 0.05) for name in emotions.FELT}
    verdicts["sad"] = verdict("sad", 0.03, named="fear")
    verdicts["fear"] = verdict("fear", 0.005)
    halves = {name: verdict(name, 0.02) for name in emotions.FELT}
    text = emotions.table(verdicts, halves)
    for line in (
        "primary >= .02: 6 of 7",
        "primary >= .04: 5 of 7",
        "interval above 0: 6 of 7",
        "own signature best: 6 of 7",
        ".5 between 0 and 1: 6 of 7",
        "lips >= .8: 7 of 7",
    ):
        assert line in text.splitlines()
    assert "browInnerUp +0.30" in text
    assert "lid_aperture" in emotions.confusion(verdicts)


def test_the_sheet_shows_faces(emotions):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:40, 20:40] = 200
    corners = np.array([[20.0, 20.0], [40.0, 40.0], [np.nan, np.nan]])
    landmarks = corners[None].repeat(3, axis=0)
    sheet = emotions.contact_sheet({"happy": [picture] * 4, "sad": []}, landmarks)
    assert sheet.size == (4 * emotions.TILE, 2 * emotions.TILE)
    tile = np.asarray(sheet)[: emotions.TILE, -emotions.TILE :]
    assert 0.5 < (tile > 100).mean() < 0.8  # cut out with a margin
