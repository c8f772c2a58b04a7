import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.audio.pitch import pitch
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic import voice as synthetic_voice
from emogene_jax.synthetic.takes import make_take


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


def test_the_synthetic_voice_is_followed(monkeypatch):
    """Against the pitch and the voicing that the voice was made with."""
    truth = {}

    def recorded(name):
        made = getattr(synthetic_voice, name)

        def record(*arguments):
            truth[name] = made(*arguments)
            return truth[name]

        return record

    for name in ("_pitch", "_voicing"):
        monkeypatch.setattr(synthetic_voice, name, recorded(name))
    found, f0, voicing = [], [], []
    for number, emotion in enumerate(EMOTIONS):
        wave = make_take(0, number, number, emotion).waveform
        found.append(pitch(wave))
        middles = (np.arange(len(found[-1])) * 320 + 160).clip(max=len(wave) - 1)
        f0.append(truth["_pitch"][middles])
        voicing.append(truth["_voicing"][middles])
    found, f0, voicing = map(np.concatenate, (found, f0, voicing))
    voiced, silent = voicing > 0.3, voicing < 0.02
    assert voiced.sum() > 500 and silent.sum() > 300
    assert (found[voiced] == 0).mean() < 0.04
    assert (found[silent] > 0).mean() < 0.06
    both = voiced & (found > 0)
    cents = 1200 * np.abs(np.log2(found[both] / f0[both]))
    assert (cents > 300).mean() < 0.01
    assert (cents < 50).mean() > 0.94 and np.median(cents) < 13


@pytest.mark.parametrize("frequency", [100, 400])
def test_no_voice_is_heard_late(frequency):
    rise = frequency * 2.0 ** (0.25 * np.sin(np.linspace(0, 12 * np.pi, 32_000)))
    found, truth = pitch(voice(rise))[5:-5], rise[160::320][5:-5]
    late = [
        np.abs(np.log2(found / np.roll(rise, n)[160::320][5:-5])).mean()
        for n in (-80, 0, 80)
    ]
    assert late[1] < min(late[0], late[2])
    np.testing.assert_allclose(found, truth, rtol=0.03)


@pytest.mark.parametrize(
    "name",
    [
        "audio/english_10s.wav",
        "audio/mead_M003_neutral.wav",
        "audio/mead_M030_angry.m4a",
        "audio/radio_8s.wav",
        "portrait/german_20s.mp4",
    ],
)
def test_agrees_with_librosa_on_real_speech(shared, name):
    librosa = pytest.importorskip("librosa")
    wave = load_audio(shared / "data" / name)[: 16_000 * 6]
    f0 = pitch(wave)
    padded = np.pad(wave, (96, 96 + 320))
    options = {"frame_length": 512, "hop_length": 320, "center": False}
    yin = librosa.yin(padded, fmin=65, fmax=500, sr=16_000, **options)[: len(f0)]
    pyin, _, _ = librosa.pyin(padded, fmin=65, fmax=500, sr=16_000, **options)
    pyin = np.nan_to_num(pyin[: len(f0)])
    voiced = f0 > 0
    assert 0.15 < voiced.mean() < 0.8
    for reference, part in ((yin, 0.95), (pyin, 0.94)):
        both = voiced & (reference > 0)
        assert both.sum() > 0.9 * voiced.sum()
        cents = 1200 * np.abs(np.log2(f0[both] / reference[both]))
        assert (cents < 50).mean() > part
