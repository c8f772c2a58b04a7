"""The benchmark of what speech makes of a mouth answers its questions."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.synthetic.voice import Phoneme

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import audio_to_motion_quality as quality  # noqa: E402


def person(frames=250):
    """A mouth whose opening is a sum of two bands, two frames late."""
    rng = np.random.default_rng(0)
    content = rng.normal(size=(2 * frames, 4))
    motion = np.zeros((frames, 68, 3))
    motion[:, 62, 1] = 0.1 * np.roll(content[::2, :2].sum(1), 2)
    rest = np.zeros((68, 3))
    rest[62, 1] = rest[54, 0] = 1.0
    motion[:, 54, 0] = 0.1 * rng.normal(size=frames)
    return quality.Person(content, motion, rest)


def test_ridge_finds_what_is_linear_and_only_that():
    filmed = person()
    parts = np.array_split(np.arange(250), quality.FOLDS)
    true = [quality.shape(filmed.motion[part], filmed.rest) for part in parts]
    found = quality.compared("", quality.ridge(filmed, parts), true)
    assert found["opening"] > 0.9 and found["opening_mean_of_folds"] > 0.9
    assert abs(found["width"]) < 0.4


def test_no_sound_of_the_tested_fold_is_learned_from(monkeypatch, filmed):
    from emogene_jax.portrait.pack import load_portrait

    seen = {}

    def remember(config, workdir):
        seen.update(config=config, portrait=load_portrait(config.data, pictures=False))
        raise StopIteration

    monkeypatch.setattr(quality, "train_from_config", remember)
    total = len(filmed.clip)
    number = np.arange(2 * total, dtype=np.float32)[:, None]
    test = np.arange(20, 30)
    with pytest.raises(StopIteration):
        quality.learn(filmed._replace(content=number), test, tiny=True)
    others = np.setdiff1d(np.arange(total), test)
    shown = seen["portrait"]
    np.testing.assert_array_equal(shown.content[:, 0], quality.steps_of(others))
    assert len(shown.waveform) == 640 * len(others)
    # Of two clips the first became two: no window crosses the gap.
    np.testing.assert_array_equal(np.flatnonzero(np.diff(shown.clip))[0], 19)
    assert len(np.unique(shown.clip)) == len(np.unique(filmed.clip)) + 1
    assert seen["config"].holdout_seconds == 0


@pytest.mark.slow
def test_tiny_answers_both_questions(capsys):
    quality.main(tiny=True)
    lines = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    portrait, synthetic = map(json.loads, lines)
    assert portrait["benchmark"] == "audio_to_motion_portrait"
    assert portrait["portrait"] == "synthetic" and portrait["steps"] == 2
    assert -1 <= portrait["opening"] <= 1 and portrait["ridge_opening"] > 0
    assert synthetic["benchmark"] == "audio_to_motion_synthetic"
    assert set(synthetic["train_s"]) == {"lip_sync", "audio_to_motion"}
    assert 0 <= synthetic["expert_accuracy"] <= 1 and synthetic["bilabials"] > 0


def test_closed_lips():
    phonemes = [Phoneme("p", 0.0, 0.2), Phoneme("a", 0.2, 0.6), Phoneme("m", 0.6, 0.8)]
    true = np.r_[np.zeros(5), np.ones(10), np.zeros(5)]
    made = np.r_[np.full(5, 0.1), np.ones(10), np.full(5, 0.2)]
    assert quality.closures(phonemes, made, true) == [True, False]
