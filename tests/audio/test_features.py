import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.audio import frames, mel
from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.audio.load import load_audio
from emogene_jax.audio.mel import band_energies, log_mel
from emogene_jax.signals import UserError


def bands_of(wave):
    return np.concatenate(list(band_energies(wave)))


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(0, 20_000), seed=st.integers(0, 99))
def test_two_audio_steps_for_every_frame(samples, seed):
    wave = np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)
    features = audio_features(wave)
    frames = max(1, -(-samples // 640))
    assert features.speech.shape == (frames,)
    assert features.content.shape == (2 * frames, 80)
    assert features.f0.shape == (2 * frames,)
    assert features.content.dtype == features.f0.dtype == np.float32
    assert np.isfinite(features.content).all()
    assert np.isfinite(features.f0).all()


@settings(max_examples=25, deadline=None)
@given(at=st.integers(0, 15_999))
def test_an_impulse_shows_at_its_own_step(at):
    wave = np.zeros(16_000, np.float32)
    wave[at] = 0.9
    energy = bands_of(wave).sum(1)
    assert abs(int(energy.argmax()) - at // 320) <= 1
    assert set(np.flatnonzero(energy)) <= {at // 320 + i for i in (-1, 0, 1)}


def test_a_tone_starts_where_it_starts():
    wave = np.zeros(16_000, np.float32)
    start = 8_123
    wave[start:] = 0.3 * np.sin(2 * np.pi * 150 * np.arange(16_000 - start) / 16_000)
    features = audio_features(wave)
    loud = np.flatnonzero(features.content.max(1) > 0)[0]
    assert abs(loud - start // 320) <= 1
    voiced = np.flatnonzero(features.f0)[0]
    assert abs(voiced - start // 320) <= 2


def test_bands_add_up_to_the_power():
    wave = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    # Slaney's triangles of height 1 cover the spectrum once.
    assert bands_of(wave).sum(1)[2:-2].mean() == pytest.approx(0.01, rel=0.05)


def test_blocks_change_nothing(monkeypatch):
    wave = np.random.default_rng(0).normal(0, 0.1, 9_999).astype(np.float32)
    whole = log_mel(wave)
    monkeypatch.setattr(frames, "BLOCK", 7)
    np.testing.assert_allclose(log_mel(wave), whole, atol=1e-5)


def test_loudness_and_silence():
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.random(100) > 0.4, 320)
    wave = (rng.normal(0, 0.1, 32_000) * envelope).astype(np.float32)
    np.testing.assert_allclose(log_mel(wave * 0.05), log_mel(wave), atol=0.02)
    assert (log_mel(np.zeros(32_000, np.float32)) == -3).all()
    assert (log_mel(np.full(32_000, 1e-6, np.float32)) == -3).all()


def test_a_choice_of_nothing_is_told():
    with pytest.raises(UserError, match="content: found '', expected auto"):
        choose_content("")


def test_a_microphone_matters_little(shared):
    wave = load_audio(shared / "data/audio/radio_8s.wav")
    dull = np.convolve(wave, [0.5, 0.5], mode="same").astype(np.float32)
    bright = np.convolve(wave, [1, -0.7], mode="same").astype(np.float32)
    difference = log_mel(dull) - log_mel(bright)
    raw = 10 * np.log10(bands_of(dull) / bands_of(bright)) / mel.UNIT_DB
    assert np.abs(difference).mean() < 0.4 * np.abs(raw).mean()
