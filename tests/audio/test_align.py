"""Takes of one sentence in different rhythms, whose true alignment is known."""

import numpy as np
import pytest

from emogene_jax.audio.align import LONGEST, aligned_frames, at_frames, same_words
from emogene_jax.audio.features import audio_features
from emogene_jax.synthetic import motion as synthetic_motion
from emogene_jax.synthetic import voice as synthetic_voice
from emogene_jax.synthetic.voice import Phoneme


def stretched(phonemes, rng):
    """The same sounds, each by its own factor longer or shorter."""
    lengths = [(p.end - p.start) * rng.uniform(0.65, 1.5) for p in phonemes]
    edges = np.concatenate([[0], np.cumsum(lengths)])
    return [
        Phoneme(p.symbol, *edge) for p, edge in zip(phonemes, zip(edges, edges[1:]))
    ]


def sound(phonemes, emotion, seed):
    speaker = synthetic_voice.random_speaker(3)
    rng = np.random.default_rng(seed)
    return audio_features(
        synthetic_voice.speak(phonemes, speaker, emotion, rng)
    ).content


@pytest.mark.parametrize("emotion", ["angry", "sad", "surprise"])
def test_frames_of_the_same_sound_meet(emotion):
    rng = np.random.default_rng(1)
    calm = synthetic_voice.random_sentence(rng, seconds=4)
    moved = stretched(calm, rng)
    neutral, emotional = sound(calm, "neutral", 5), sound(moved, emotion, 6)
    found = aligned_frames(neutral, emotional)
    assert len(found) == len(emotional) // 2
    assert (np.diff(found) >= 0).all()
    assert 0 <= found.min() and found.max() <= len(neutral) // 2 - 1
    seconds = (np.arange(len(found)) + 0.5) / 25
    there = [p.start for p in moved] + [moved[-1].end]
    here = [p.start for p in calm] + [calm[-1].end]
    true = np.interp(seconds, there, here) * 25 - 0.5
    error = np.abs(found - true)
    unaligned = np.abs(np.arange(len(found)) - true)
    assert np.median(error) < 1 and np.mean(error) < 2
    assert np.mean(error) < 0.3 * np.mean(unaligned)


def test_a_take_meets_itself():
    content = sound(
        synthetic_voice.random_sentence(np.random.default_rng(2)), "neutral", 1
    )
    found = aligned_frames(content, content)
    np.testing.assert_allclose(found, np.arange(len(content) // 2), atol=0.3)


def test_lips_of_aligned_takes_close_together():
    rng = np.random.default_rng(3)
    calm = synthetic_voice.random_sentence(rng, seconds=4)
    moved = stretched(calm, rng)
    found = aligned_frames(sound(calm, "neutral", 5), sound(moved, "happy", 6))
    rest = synthetic_motion.identity(3)
    talk = [
        synthetic_motion.talk(words, frames, rest, np.random.default_rng(0))
        for words, frames in ((calm, round(calm[-1].end * 25)), (moved, len(found)))
    ]
    opening = [np.linalg.norm(x[:, 66] - x[:, 62], axis=-1) for x in talk]
    brought = at_frames(opening[0], np.minimum(found, len(opening[0]) - 1))
    assert np.corrcoef(brought, opening[1])[0, 1] > 0.85


def test_fractional_frames_are_between():
    motion = np.arange(6.0).reshape(3, 2)
    np.testing.assert_allclose(
        at_frames(motion, np.array([0.5, 2.0])), [[1, 2], [4, 5]]
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_same_words_are_heard_whatever_the_emotion(seed):
    rng = np.random.default_rng(seed)
    calm, other = (synthetic_voice.random_sentence(rng, seconds=3) for _ in range(2))
    neutral = sound(calm, "neutral", 5)
    emotion = ("angry", "sad", "happy", "fear")[seed]
    assert same_words(neutral, sound(stretched(calm, rng), emotion, 6))
    assert not same_words(neutral, sound(other, emotion, 6))
    assert not same_words(neutral, sound(other, "neutral", 7))


def test_silence_and_other_lengths_are_no_match():
    content = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    silent = np.zeros((60, 8), np.float32)
    assert same_words(content, content)
    assert not same_words(silent, silent) and not same_words(content, silent)
    assert not same_words(content, np.tile(content, (3, 1)))
    long = np.zeros((LONGEST + 2, 8), np.float32)
    assert not same_words(long, long)
