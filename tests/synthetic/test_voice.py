"""The voice babbles: sounds differ, silence is silent, emotion is heard."""

import numpy as np
import pytest

from emogene_jax.signals import EMOTIONS, SAMPLE_RATE
from emogene_jax.synthetic import voice as voice


def rng(seed=0):
    return np.random.default_rng(seed)


def sentence(*symbols, each=0.3):
    return [voice.Phoneme(s, i * each, (i + 1) * each) for i, s in enumerate(symbols)]


def part(waveform, phoneme, margin=0.06):
    first, last = phoneme.start + margin, phoneme.end - margin
    return waveform[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]


def spectrum(sound):
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    return np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE), power


def level(sound):
    return 10 * np.log10(np.mean(sound**2) + 1e-12)


def pitch(sound):
    """f0 in Hz, by autocorrelation."""
    similar = np.correlate(sound, sound, "full")[len(sound) - 1 :]
    shortest, longest = SAMPLE_RATE // 450, SAMPLE_RATE // 60
    return SAMPLE_RATE / (shortest + similar[shortest:longest].argmax())


def formant(sound, low, high):
    """Where the spectrum, smoothed over harmonics, is highest in low..high Hz."""
    frequency, power = spectrum(sound)
    step = frequency[1]
    smooth = np.convolve(power, np.hanning(int(300 / step)), "same")
    inside = (frequency > low) & (frequency < high)
    return frequency[inside][smooth[inside].argmax()]


def test_sentences_are_strings_of_sounds_without_holes():
    for seed in range(20):
        phonemes = voice.random_sentence(rng(seed), min_phonemes=12)
        sounds = [p.symbol for p in phonemes if p.symbol != voice.PAUSE]
        assert len(sounds) >= 12
        assert phonemes[0].symbol == phonemes[-1].symbol == voice.PAUSE
        assert set(sounds) & set(voice.VOWELS)
        assert phonemes[0].start == 0
        for one, other in zip(phonemes[:-1], phonemes[1:], strict=True):
            assert one.end == other.start and other.end - other.start > 0.05
    many = {p.symbol for s in range(20) for p in voice.random_sentence(rng(s))}
    assert {*voice.VOWELS, *voice.BILABIALS, *voice.FRICATIVES, *voice.OTHERS} <= many
    assert len(voice.VOWELS) >= 5


def test_a_short_sentence_still_has_its_sounds():
    phonemes = voice.random_sentence(rng(), min_phonemes=12, seconds=0.1)
    assert sum(p.symbol != voice.PAUSE for p in phonemes) >= 12


def test_waveform_is_as_long_as_the_sentence_and_repeats_by_seed():
    phonemes = voice.random_sentence(rng(1))
    speaker = voice.random_speaker(3)
    first, again = (voice.speak(phonemes, speaker, "sad", rng(5)) for _ in range(2))
    assert first.dtype == np.float32 and np.abs(first).max() <= 1
    assert len(first) == round(phonemes[-1].end * SAMPLE_RATE)
    np.testing.assert_array_equal(first, again)


def test_vowels_have_their_formants():
    speaker = voice.Speaker(110.0, 1.0, 0.05, 1.0)
    for vowel in ("a", "i", "u"):
        phonemes = sentence("_", vowel, "_", each=0.5)
        sound = part(voice.speak(phonemes, speaker, "neutral", rng()), phonemes[1])
        first, second, _ = voice.VOWELS[vowel]
        assert formant(sound, 150, 1000) == pytest.approx(first, abs=130), vowel
        if vowel == "i":
            assert formant(sound, 1500, 2600) == pytest.approx(second, abs=250)


def test_fricatives_hiss_high_and_nasals_hum_low():
    phonemes = sentence("_", "s", "a", "sh", "a", "m", "_")
    wave = voice.speak(phonemes, voice.random_speaker(0), "neutral", rng())
    centre = {}
    for p in phonemes:
        frequency, power = spectrum(part(wave, p))
        centre[p.symbol] = (frequency * power).sum() / power.sum()
    assert centre["s"] > centre["sh"] + 1000 > centre["a"] + 2000
    assert centre["m"] < centre["a"]


def test_pauses_and_closures_are_silent():
    phonemes = sentence("_", "a", "p", "a", "_")
    wave = voice.speak(phonemes, voice.random_speaker(1), "neutral", rng())
    loud = level(part(wave, phonemes[1]))
    assert level(part(wave, phonemes[0])) < loud - 35
    closed = phonemes[2]._replace(end=phonemes[2].start + 0.17)
    assert level(part(wave, closed)) < loud - 25
    assert np.mean(np.diff(wave[: len(wave) // 9]) ** 2) > 0  # never digital zero


def test_speakers_differ():
    speakers = [voice.random_speaker(seed) for seed in range(12)]
    assert max(s.f0 for s in speakers) > 1.4 * min(s.f0 for s in speakers)
    assert all(80 < s.f0 < 250 for s in speakers)
    phonemes = sentence("_", "a", "_", each=0.5)
    low, high = (
        pitch(part(voice.speak(phonemes, s, "neutral", rng()), phonemes[1]))
        for s in (voice.Speaker(100, 1, 0.1, 1), voice.Speaker(200, 1, 0.1, 1))
    )
    assert high == pytest.approx(2 * low, rel=0.1)


def test_emotion_changes_the_prosody_not_the_timing():
    speaker = voice.Speaker(120.0, 1.0, 0.1, 1.0)
    phonemes = voice.random_sentence(rng(2))
    vowels = [p for p in phonemes if p.symbol in voice.VOWELS]
    waves = {e: voice.speak(phonemes, speaker, e, rng(0)) for e in EMOTIONS}
    assert len({len(wave) for wave in waves.values()}) == 1

    def mean_pitch(emotion):
        return np.median([pitch(part(waves[emotion], p, 0.02)) for p in vowels])

    assert mean_pitch("surprise") > 1.15 * mean_pitch("neutral")
    assert mean_pitch("sad") < 0.97 * mean_pitch("neutral")
    assert level(waves["angry"]) > level(waves["neutral"]) + 3
    assert level(waves["sad"]) < level(waves["neutral"]) - 3


def test_paced_speech_is_faster():
    phonemes = voice.random_sentence(rng(4))
    fast = voice.paced(phonemes, 1.25)
    assert fast[-1].end == pytest.approx(phonemes[-1].end / 1.25)
    assert [p.symbol for p in fast] == [p.symbol for p in phonemes]
