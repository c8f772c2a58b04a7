"""A sound that is moved against its picture is found out; one that fits is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.audio_to_motion import offset
from emogene_jax.audio_to_motion.offset import FURTHEST, Offset, moved, sound_offset

FRAMES = 250


@pytest.fixture
def mouth(monkeypatch):
    """Motion of a mouth, and a voice that makes just that of the sound it hears, with
    some noise; the sound is the motion itself, two steps a frame."""
    rng = np.random.default_rng(0)
    shape = np.stack([np.convolve(rng.normal(size=FRAMES), np.ones(5), "same")] * 2, 1)
    motion = np.zeros((FRAMES, 68, 3), np.float32)
    motion[:, 62, 1] = shape[:, 0]
    motion[:, 54, 0] = shape[:, 1]

    def spoken(voice, content, f0):
        noise = np.random.default_rng(1).normal(size=content[::2].shape)
        return content[::2] + 0.5 * noise

    monkeypatch.setattr(offset, "spoken_motion", spoken)
    return motion.reshape(FRAMES, -1)


@settings(max_examples=17, deadline=None)
@given(late=st.integers(-8, 8))
def test_a_sound_that_was_moved_is_found(late):
    with pytest.MonkeyPatch.context() as patch:
        motion = mouth.__wrapped__(patch)
        content = np.repeat(np.roll(motion, late, 0), 2, axis=0)
        found = sound_offset(None, content, np.zeros(2 * FRAMES), motion)
    assert found.frames == late and found.clear
    assert found.correction() == late
    assert (found.told() is not None) == (abs(late) >= 2)


def test_a_sound_that_fits_nowhere_is_named_and_left_alone(mouth):
    other = np.random.default_rng(3).normal(size=mouth.shape)
    found = sound_offset(None, np.repeat(other, 2, 0), np.zeros(2 * FRAMES), mouth)
    assert not found.clear and found.correction() == 0
    assert "fits the lips nowhere" in found.told()


def test_what_is_said():
    assert Offset(1, 0.8, True).told() is None
    assert "3 frames late: corrected" in Offset(3, 0.8, True).told()
    assert "2 frames early: corrected" in Offset(-2, 0.8, True).told()
    assert Offset(9, 0.5, False).correction() == 0


def test_too_short_to_tell(mouth):
    assert sound_offset(None, mouth[:40], np.zeros(40), mouth[:20]) is None
    found = sound_offset(None, np.repeat(mouth[:60], 2, 0), np.zeros(120), mouth[:60])
    assert abs(found.frames) <= 5 < FURTHEST


@given(late=st.integers(-3, 3))
def test_moved_forward(late):
    wave = np.arange(1, 1921, dtype=np.float32)
    found = moved(wave, late)
    assert len(found) == len(wave)
    start = np.flatnonzero(found)
    if len(start):
        assert found[start[0]] == (1 if late <= 0 else 640 * late + 1)
        assert start[0] == max(0, -640 * late)
