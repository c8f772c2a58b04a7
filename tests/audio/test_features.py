import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.audio import frames, hubert, mel, speech_embedding
from emogene_jax.audio.features import (
    LOG_MEL,
    audio_features,
    choose_content,
    contents,
    fitted,
    same_content,
)
from emogene_jax.audio.load import load_audio
from emogene_jax.audio.mel import band_energies, log_mel
from emogene_jax.signals import UserError

sys.path.insert(0, str(Path(__file__).parent))
from test_hubert import LARGE, SMALL, speech, write  # noqa: E402


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


@pytest.fixture
def two_huberts(tmp_path, monkeypatch):
    """Folders of two checkpoints of one width, which say other things."""
    monkeypatch.delenv("EMOGENE_HUBERT", raising=False)

    def other(tensors):
        tensors["encoder.layer_norm.bias"] += 1

    return write(tmp_path / "a", SMALL), write(tmp_path / "b", SMALL, other)


def test_another_hubert_of_the_same_width_is_refused(
    two_huberts, tmp_path, monkeypatch
):
    a, b = two_huberts
    content, other = choose_content(str(a)), choose_content(str(b))
    whole = hashlib.sha256((a / "model.safetensors").read_bytes()).hexdigest()
    expected = {"type": "hubert", "channels": 32, "model": str(a), "sha256": whole[:16]}
    assert content == expected
    sound = speech(1)
    heard = audio_features(sound, content).content
    monkeypatch.setenv("EMOGENE_HUBERT", str(b))
    with pytest.raises(UserError) as told:
        audio_features(sound, content)
    assert str(told.value) == (
        f"content: found hubert of 32 channels ({b}, SHA-256 {other['sha256']}), "
        f"expected hubert of 32 channels ({a}, SHA-256 {content['sha256']}): set "
        "$EMOGENE_HUBERT to the folder of the expected one"
    )
    # The same one is the same wherever it lies.
    monkeypatch.setenv("EMOGENE_HUBERT", str(shutil.move(a, tmp_path / "moved")))
    np.testing.assert_array_equal(audio_features(sound, content).content, heard)


def test_where_nobody_named_the_hubert_its_width_counts(two_huberts, monkeypatch):
    a, b = two_huberts
    monkeypatch.setenv("EMOGENE_HUBERT", str(b))
    imported = {"type": "hubert", "channels": 32}
    old = imported | {"model": str(a)}
    heard = [audio_features(speech(1), content).content for content in (imported, old)]
    assert heard[0].shape == (50, 32)
    np.testing.assert_array_equal(*heard)
    with pytest.raises(UserError, match="found hubert of 32 .*, expected hubert of 16"):
        audio_features(speech(1), imported | {"channels": 16})


@pytest.mark.usefixtures("eight_devices")
@pytest.mark.parametrize("kind", ["base", "large", "speech_embedding"])
def test_many_at_once_say_what_each_says_alone(
    kind, tmp_path, monkeypatch, on_an_accelerator
):
    """Of all lengths, cut into windows or padded, more of them than there are devices: to
    what sums in another order leave of float32, where content is about 1."""
    monkeypatch.delenv("EMOGENE_HUBERT", raising=False)
    monkeypatch.setattr(hubert, "WINDOW", 256)
    monkeypatch.setattr(hubert, "CONTEXT", 70)
    monkeypatch.setattr(hubert, "FADE", 20)
    monkeypatch.setattr(speech_embedding, "BLOCK", 100)
    layouts = {"large": SMALL | LARGE, "base": SMALL}
    content = choose_content(
        str(write(tmp_path / kind, layouts[kind])) if kind in layouts else kind
    )
    lengths = (1.3, 0.5, 6.0, 1.2, 0.04, 1.28, 1.1, 0.9, 1.24, 0.7, 0.3)
    sounds = [speech(length, seed) for seed, length in enumerate(lengths)]
    sounds.append(np.zeros(0, np.float32))
    alone = [contents([sound], content)[0] for sound in sounds]
    on_an_accelerator()
    asked = []
    run, ask = hubert._run, speech_embedding._network()
    monkeypatch.setattr(hubert, "_run", lambda *a: asked.append(len(a[3])) or run(*a))
    counted = lambda mel: asked.append(len(mel)) or ask(mel)  # noqa: E731
    monkeypatch.setattr(speech_embedding, "_network", lambda: counted)
    together = contents(sounds, content)
    assert max(asked) > 8 and len(asked) < len(sounds)
    for one, other in zip(alone, together, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=2e-4)


def test_which_content_is_the_same():
    old = {"type": "hubert", "channels": 1024}
    large = old | {"model": "facebook/large", "revision": "1" * 40, "sha256": "a" * 16}
    here = old | {"model": "/models/large", "sha256": "a" * 16}
    for found, expected in (
        (LOG_MEL, LOG_MEL),
        (large, here),
        (old, here),
        (here, old),
    ):
        assert same_content(found, dict(expected)) is None
    assert same_content(LOG_MEL, old) == (
        "found log_mel of 80 channels, expected hubert of 1024 channels"
    )
    assert same_content(large | {"sha256": "b" * 16}, here) == (
        f"found hubert of 1024 channels (facebook/large, SHA-256 {'b' * 16}), expected "
        f"hubert of 1024 channels (/models/large, SHA-256 {'a' * 16})"
    )
    assert same_content(old | {"channels": 768}, old)
    assert same_content({"type": "hubert", "channels": 80}, LOG_MEL)


def test_a_microphone_matters_little(shared):
    wave = load_audio(shared / "data/audio/radio_8s.wav")
    dull = np.convolve(wave, [0.5, 0.5], mode="same").astype(np.float32)
    bright = np.convolve(wave, [1, -0.7], mode="same").astype(np.float32)
    difference = log_mel(dull) - log_mel(bright)
    raw = 10 * np.log10(bands_of(dull) / bands_of(bright)) / mel.UNIT_DB
    assert np.abs(difference).mean() < 0.4 * np.abs(raw).mean()


def test_a_sound_is_cut_or_ends_in_silence():
    wave = np.ones(1000, np.float32)
    assert fitted(wave, 1).shape == (640,) and fitted(wave, 1).all()
    longer = fitted(wave, 2)
    assert longer.shape == (1280,) and longer[:1000].all() and not longer[1000:].any()
