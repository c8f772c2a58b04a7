import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.audio.pitch import pitch


def voice(f0):
    """A pulse-like sound [samples] of f0 [samples] in Hz."""
    phase = 2 * np.pi * np.cumsum(f0) / 16_000
    return (0.1 * sum(np.cos(k * phase) / k for k in range(1, 9))).astype(np.float32)


@pytest.mark.parametrize("frequency", [70, 110, 200, 330, 480])
def test_steady_pitch(frequency):
    f0 = pitch(voice(np.full(16_000, frequency)))
    assert f0.shape == (50,)
    np.testing.assert_allclose(f0[2:-2], frequency, rtol=0.01)


def test_a_glide_is_followed_in_time():
    truth = np.linspace(100, 300, 32_000)
    f0 = pitch(voice(truth))
    np.testing.assert_allclose(f0[2:-2], truth[160::320][2:-2], rtol=0.03)


def test_noise_and_silence_are_unvoiced():
    rng = np.random.default_rng(0)
    assert (pitch(rng.normal(0, 0.1, 32_000).astype(np.float32)) == 0).mean() > 0.97
    assert not pitch(np.zeros(32_000, np.float32)).any()
    assert not pitch(np.zeros(0, np.float32)).any()


def test_loudness_does_not_matter():
    wave = voice(np.linspace(100, 200, 16_000))
    np.testing.assert_allclose(pitch(wave * 0.02), pitch(wave), rtol=1e-3)


def test_agrees_with_librosa_on_real_speech(shared):
    librosa = pytest.importorskip("librosa")
    wave = load_audio(shared / "data/portrait/german_20s.mp4")[: 16_000 * 5]
    f0 = pitch(wave)
    reference = librosa.yin(
        np.pad(wave, (96, 96)),
        fmin=65,
        fmax=500,
        sr=16_000,
        frame_length=512,
        hop_length=320,
        center=False,
    )[: len(f0)]
    voiced = f0[: len(reference)] > 0
    assert 0.3 < voiced.mean() < 0.8
    cents = 1200 * np.abs(np.log2(f0[: len(reference)][voiced] / reference[voiced]))
    assert (cents < 50).mean() > 0.9
