"""The benchmark of what speech makes of a mouth answers its questions."""

import sys
from pathlib import Path

import numpy as np

from emogene_jax.data.synthetic_voice import Phoneme

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
    return quality.Person(content, np.zeros(2 * frames), motion, rest)


def test_ridge_finds_what_is_linear_and_only_that():
    filmed = person()
    parts = np.array_split(np.arange(250), quality.FOLDS)
    true = [quality.shape(filmed.motion[part], filmed.rest) for part in parts]
    found = quality.compared("", quality.ridge(filmed, parts), true)
    assert found["opening"] > 0.9 and found["opening_mean_of_folds"] > 0.9
    assert abs(found["width"]) < 0.4


def test_no_sound_of_the_tested_fold_is_learned_from(monkeypatch):
    seen = {}

    def remember(content, f0, motion, clip, folder, steps):
        seen.update(content=content, clip=clip)
        raise StopIteration

    monkeypatch.setattr(quality, "fit_person", remember)
    filmed = person()
    filmed.content[:] = np.arange(500)[:, None]
    parts = np.array_split(np.arange(250), quality.FOLDS)
    try:
        quality.learn(filmed, parts, 2, 1)
    except StopIteration:
        pass
    kept = np.concatenate([np.arange(200), np.arange(300, 500)])
    np.testing.assert_array_equal(seen["content"][:, 0], kept)
    np.testing.assert_array_equal(seen["clip"], np.repeat([0, 1], 100))


def test_closed_lips():
    phonemes = [Phoneme("p", 0.0, 0.2), Phoneme("a", 0.2, 0.6), Phoneme("m", 0.6, 0.8)]
    true = np.r_[np.zeros(5), np.ones(10), np.zeros(5)]
    made = np.r_[np.full(5, 0.1), np.ones(10), np.full(5, 0.2)]
    assert quality.closures(phonemes, made, true) == [True, False]
