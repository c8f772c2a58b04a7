import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.audio.silence import speech_frames


def speech_with_pauses(pauses, seconds=4.0, noise=1e-4, gain=1.0):
    """Syllables at 4 Hz with pauses [(start, end)] in s, over noise; [samples]."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * 16_000)) / 16_000
    syllables = 0.1 + 0.9 * np.sin(np.pi * 4 * time) ** 2
    for start, end in pauses:
        syllables[(time >= start) & (time < end)] = 0
    sound = 0.2 * syllables * np.sign(np.sin(2 * np.pi * 120 * time))
    return (gain * (sound + rng.normal(0, noise, len(time)))).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_each_pause_is_found(noise, gain):
    pauses = [(0, 0.5), (1.5, 2.1), (3.2, 4)]
    speech = speech_frames(speech_with_pauses(pauses, noise=noise, gain=gain))
    time = (np.arange(100) + 0.5) / 25
    silent = np.zeros(100, bool)
    for start, end in pauses:
        silent |= (time > start) & (time < end)
    near_edge = np.zeros(100, bool)
    for edge in (0.5, 1.5, 2.1, 3.2):
        near_edge |= np.abs(time - edge) < 0.17
    np.testing.assert_array_equal(speech[~near_edge], ~silent[~near_edge])


def test_short_dips_stay_speech():
    assert speech_frames(speech_with_pauses([(1, 1.2), (2, 2.25)])).all()


def test_a_click_is_no_speech():
    wave = speech_with_pauses([(0, 2)])
    wave[16_000:16_100] = 0.9
    assert not speech_frames(wave)[20:30].any()


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_a_silent_recording_is_silent_throughout(level):
    wave = np.random.default_rng(0).normal(0, level + 1e-12, 32_000)
    speech = speech_frames(wave.astype(np.float32) + 0.1 * (level == 0))
    assert speech.shape == (50,)
    assert not speech.any()


def test_real_recordings(shared):
    english = speech_frames(load_audio(shared / "data/audio/english_10s.wav"))
    assert not english[44:76].any()  # a pause of 1.3 s
    assert 0.4 < english.mean() < 0.8
    angry = speech_frames(load_audio(shared / "data/audio/mead_M030_angry.m4a"))
    assert angry.mean() > 0.85
