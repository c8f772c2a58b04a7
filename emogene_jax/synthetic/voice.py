"""Voices of the synthetic world: a source-filter (formant) synthesiser that babbles.

A glottal pulse train (with jitter, tilt and breath) and a noise source are filtered by
responses that change every 10 ms: resonators at the formants for the voice, bands for
fricatives and bursts. Filtering is done block by block in the frequency domain, all
blocks at once. Formants after Peterson & Barney (1952) and Klatt (1980); emotional
prosody after Murray & Arnott (1993).
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.signals import SAMPLE_RATE

# First three formants of a male adult, Hz.
VOWELS = {
    "a": (730, 1120, 2450),
    "e": (500, 1820, 2500),
    "i": (280, 2250, 2950),
    "o": (480, 860, 2400),
    "u": (310, 870, 2250),
    "@": (500, 1450, 2450),
}
BILABIALS = ("p", "b", "m")
FRICATIVES = ("f", "s", "sh")
OTHERS = ("t", "k", "n", "l")
PAUSE = "_"
# Where a consonant pulls the formants; its voice, if any, sounds through these.
_CONSONANT_FORMANTS = {
    "p": (300, 800, 2200),
    "b": (250, 800, 2200),
    "m": (260, 1000, 2200),
    "f": (350, 1100, 2300),
    "s": (320, 1600, 2600),
    "sh": (300, 1850, 2600),
    "t": (300, 1700, 2700),
    "k": (300, 2000, 2500),
    "n": (280, 1550, 2500),
    "l": (350, 1200, 2700),
}
_SECONDS = {  # mean duration
    **dict.fromkeys(VOWELS, 0.135),
    **dict.fromkeys(BILABIALS, 0.095),
    **dict.fromkeys(FRICATIVES, 0.115),
    **dict.fromkeys(OTHERS, 0.080),
    PAUSE: 0.28,
}
_VOICING = {"b": 0.25, "m": 0.55, "n": 0.55, "l": 0.7}  # vowels 1, others 0
# Noise bands: (centre Hz, width Hz, gain).
_NOISE = {
    "f": (4500, 3500, 0.12),
    "s": (5900, 1300, 0.34),
    "sh": (3000, 1100, 0.36),
    "p": (900, 900, 0.5),
    "t": (4300, 1700, 0.6),
    "k": (1900, 700, 0.6),
    "b": (700, 700, 0.2),
}
_STOPS = ("p", "b", "t", "k")  # silent closure, then a burst
_BURST = 0.62  # of the duration, where the closure ends
_HOP = 160  # samples between filter changes: 10 ms
_FFT = 1024


class Phoneme(NamedTuple):
    """One sound of a sentence."""

    symbol: str
    start: float  # seconds
    end: float  # seconds


class Speaker(NamedTuple):
    """A voice."""

    f0: float  # Hz, mean pitch
    formant_scale: float  # 1 = male adult; a shorter throat is higher
    breathiness: float  # 0..1
    rate: float  # sounds are 1 / rate as long


class Prosody(NamedTuple):
    """How an emotion changes the voice."""

    pitch: float = 1.0  # factor of the mean pitch
    span: float = 1.0  # factor of the pitch contour's size
    loudness: float = 0.0  # dB
    breath: float = 0.0  # added breathiness
    tilt: float = 0.0  # added brightness, -1..1: tense voices are bright
    jitter: float = 0.008  # irregularity of the pitch
    rise: float = -0.12  # of the pitch over the sentence, in octaves
    rate: float = 1.0  # see paced


PROSODY = {
    "angry": Prosody(1.15, 1.5, 5.0, 0.0, 0.7, 0.015, -0.15, 1.1),
    "contempt": Prosody(0.93, 0.8, -1.5, 0.05, -0.2, 0.008, -0.25, 0.92),
    "disgust": Prosody(0.90, 0.9, -1.0, 0.05, 0.1, 0.030, -0.25, 0.90),
    "fear": Prosody(1.35, 0.9, 0.0, 0.15, 0.2, 0.030, 0.05, 1.15),
    "happy": Prosody(1.20, 1.7, 3.0, 0.0, 0.4, 0.008, 0.0, 1.05),
    "neutral": Prosody(),
    "sad": Prosody(0.90, 0.5, -5.0, 0.20, -0.6, 0.010, -0.20, 0.85),
    "surprise": Prosody(1.30, 1.8, 2.5, 0.05, 0.3, 0.008, 0.30, 1.05),
}


def random_speaker(seed: int) -> Speaker:
    """The voice of a seed: low and large to high and small."""
    rng = np.random.default_rng([7, seed])
    size = rng.uniform(0.0, 1.0)
    return Speaker(
        f0=95.0 * 2.3**size * rng.uniform(0.94, 1.06),
        formant_scale=0.97 + 0.2 * size * rng.uniform(0.85, 1.15),
        breathiness=rng.uniform(0.02, 0.2),
        rate=rng.uniform(0.92, 1.08),
    )


def random_sentence(
    rng: np.random.Generator, min_phonemes: int = 12, seconds: float = 3.2
) -> list[Phoneme]:
    """Syllables with pauses, silent at both ends: at least min_phonemes sounds that are
    no pauses, about `seconds` long."""
    symbols, length, sounds = [PAUSE], 2 * _SECONDS[PAUSE], 0
    since_pause = 0
    while sounds < min_phonemes or length < seconds:
        group = (BILABIALS, FRICATIVES, OTHERS)[rng.choice(3, p=(0.38, 0.27, 0.35))]
        syllable = [str(rng.choice(group)), str(rng.choice(list(VOWELS)))]
        if rng.random() < 0.3:
            syllable.append(str(rng.choice(("n", "m", "l", "s", "t", "k"))))
        sounds += len(syllable)
        since_pause += 1
        if since_pause > 3 and rng.random() < 0.35:
            syllable.append(PAUSE)
            since_pause = 0
        symbols += syllable
        length += sum(_SECONDS[symbol] for symbol in syllable)
    if symbols[-1] != PAUSE:
        symbols.append(PAUSE)
    lengths = [_SECONDS[symbol] * rng.uniform(0.8, 1.25) for symbol in symbols]
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    return [
        Phoneme(symbol, float(start), float(end))
        for symbol, start, end in zip(symbols, edges[:-1], edges[1:], strict=True)
    ]


def paced(phonemes: list[Phoneme], rate: float) -> list[Phoneme]:
    """The same sounds spoken `rate` times as fast."""
    return [Phoneme(p.symbol, p.start / rate, p.end / rate) for p in phonemes]


def speak(
    phonemes: list[Phoneme], speaker: Speaker, emotion: str, rng: np.random.Generator
) -> np.ndarray:
    """The sentence as a waveform, float32 in [-1, 1], 16 kHz, exactly as long as the
    phonemes say; the emotion changes pitch, loudness and voice, not the timing."""
    prosody = PROSODY[emotion]
    samples = round(phonemes[-1].end * SAMPLE_RATE)
    blocks = samples // _HOP + 2
    voice = _glottal_source(phonemes, speaker, prosody, samples, rng)
    noise = rng.normal(size=samples)
    spoken = _filter(voice, _formant_response(phonemes, speaker, blocks))
    bands = _noise_response(phonemes, speaker, blocks)
    spoken += _filter(noise * _noise_envelope(phonemes, samples), bands)
    spoken *= (
        0.22
        / max(np.sqrt(np.mean(spoken**2)), 1e-9)
        * 10 ** ((prosody.loudness - 7.0) / 20)
    )
    spoken += 3e-4 * rng.normal(size=samples)  # the room
    return np.tanh(spoken).astype(np.float32)  # a loud voice saturates, it never wraps


def _glottal_source(phonemes, speaker, prosody, samples, rng) -> np.ndarray:
    """Voice before the throat: pulses and breath [samples]."""
    f0 = _pitch(phonemes, speaker, prosody, samples, rng)
    phase = np.cumsum(f0 / SAMPLE_RATE) % 1.0
    # Derivative of Rosenberg's pulse: a slow opening, then an abrupt closing.
    opened, shut = 0.42, 0.60 - 0.06 * prosody.tilt
    pulse = np.where(
        phase < opened,
        0.5 * np.sin(np.pi * phase / opened),
        -np.sin(np.pi / 2 * np.clip((phase - opened) / (shut - opened), 0, 1)),
    )
    pulse = np.where(phase < shut, pulse, 0.0)
    # Tilt: the more differencing, the brighter and tenser the voice.
    pulse = np.convolve(pulse, (1.0, -0.3 - 0.4 * prosody.tilt))[:samples]
    breath = np.clip(speaker.breathiness + prosody.breath, 0, 1)
    pulse += 0.35 * breath * rng.normal(size=samples) * (0.4 + 0.6 * (phase < shut))
    return pulse * _voicing(phonemes, samples, rng)


def _pitch(phonemes, speaker, prosody, samples, rng) -> np.ndarray:
    """f0 [samples] in Hz: declination, an accent on some vowels, jitter."""
    seconds = np.arange(0, samples, _HOP) / SAMPLE_RATE
    octaves = prosody.rise * (seconds / seconds[-1] - 0.5)
    for phoneme in phonemes:
        if phoneme.symbol in VOWELS and rng.random() < 0.5:
            centre = 0.5 * (phoneme.start + phoneme.end)
            height = prosody.span * rng.uniform(0.08, 0.28)
            octaves += height * np.exp(-(((seconds - centre) / 0.11) ** 2))
    wobble = np.convolve(rng.normal(size=len(seconds) + 4), np.ones(5) / 5, "valid")
    octaves += 0.02 * prosody.span * wobble
    octaves += prosody.jitter * rng.normal(size=len(seconds))
    f0 = speaker.f0 * prosody.pitch * 2.0**octaves
    return np.interp(np.arange(samples) / SAMPLE_RATE, seconds, f0)


def _voicing(phonemes, samples, rng) -> np.ndarray:
    """Loudness of the voice [samples]: smooth over 15 ms, syllables differ."""
    levels = [
        rng.uniform(0.75, 1.0) if p.symbol in VOWELS else _VOICING.get(p.symbol, 0.0)
        for p in phonemes
    ]
    return _smooth(_held(phonemes, levels, samples, 80), 5, samples, 80)


def _noise_envelope(phonemes, samples) -> np.ndarray:
    """Loudness of the noise [samples]: fricatives swell, bursts strike and decay."""
    seconds = np.arange(0, samples, 16) / SAMPLE_RATE
    level = np.zeros(len(seconds))
    for phoneme in phonemes:
        if phoneme.symbol not in _NOISE:
            continue
        first, last = np.searchsorted(seconds, (phoneme.start, phoneme.end))
        along = np.linspace(0, 1, last - first)
        if phoneme.symbol in _STOPS:
            since = (along - _BURST) * (phoneme.end - phoneme.start)
            level[first:last] = np.where(since >= 0, np.exp(-since / 0.012), 0.0)
        else:
            level[first:last] = np.sin(np.pi * along) ** 0.5
    return np.interp(np.arange(samples) / SAMPLE_RATE, seconds, level)


def _formant_response(phonemes, speaker, blocks) -> np.ndarray:
    """The throat, block by block: complex [blocks, _FFT // 2 + 1]."""
    table = VOWELS | _CONSONANT_FORMANTS
    # A pause takes on what stood before it: formants drift only while sounding.
    targets, last = [], table["@"]
    for phoneme in phonemes:
        last = table.get(phoneme.symbol, last)
        targets.append((*last, 3500, 4500))
    tracks = np.stack(
        [
            _smooth(_held(phonemes, column, blocks * _HOP, _HOP), 7)
            for column in np.array(targets, float).T
        ]
    )
    tracks = np.minimum(tracks * speaker.formant_scale, 0.48 * SAMPLE_RATE)
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    z = np.exp(-2j * np.pi * frequency / SAMPLE_RATE)
    response = np.ones((tracks.shape[1], len(z)), complex)
    for centre, width in zip(tracks, (70, 90, 130, 220, 300), strict=True):
        # Klatt's digital resonator, unit gain at 0 Hz.
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        b = 2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)[:, None]
        c = -(radius**2)
        response *= (1 - b - c) / (1 - b * z - c * z**2)
    nasal = _held(phonemes, [float(p.symbol in "mn") for p in phonemes], blocks * _HOP)
    damping = 1 / (1 + (frequency / 900.0) ** 2)  # the nose swallows the high end
    return response * (1 + _smooth(nasal, 5)[:, None] * (damping - 1))


def _noise_response(phonemes, speaker, blocks) -> np.ndarray:
    """The hiss of fricatives and bursts, block by block: [blocks, _FFT // 2 + 1]."""
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE) / speaker.formant_scale
    shapes = []
    for phoneme in phonemes:
        centre, width, gain = _NOISE.get(phoneme.symbol, (1000, 1000, 0.0))
        shapes.append(gain * np.exp(-(((frequency - centre) / width) ** 2)))
    return np.array(shapes)[_index(phonemes, blocks * _HOP, _HOP)]


def _index(phonemes, samples, step) -> np.ndarray:
    """Which phoneme sounds, at every step-th sample."""
    edges = [p.end for p in phonemes[:-1]]
    return np.searchsorted(edges, np.arange(0, samples, step) / SAMPLE_RATE, "right")


def _held(phonemes, values, samples, step=_HOP) -> np.ndarray:
    """Each phoneme's value held while it lasts, at every step-th sample."""
    return np.asarray(values, float)[_index(phonemes, samples, step)]


def _smooth(track, width, samples=None, step=1) -> np.ndarray:
    """Track under a Hann window of width steps; spread to samples where given."""
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(track, width // 2, mode="edge")
    track = np.convolve(padded, window / window.sum(), "valid")
    if samples is None:
        return track
    return np.interp(np.arange(samples), np.arange(len(track)) * step, track)


def _filter(source: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Source [samples] through a response [blocks, _FFT // 2 + 1] that changes every
    _HOP samples: overlapping Hann blocks, filtered at once, added up."""
    blocks = len(response)
    padded = np.zeros((blocks + 1) * _HOP)
    padded[_HOP : _HOP + len(source)] = source
    window = np.hanning(2 * _HOP + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HOP)[::_HOP]
    filtered = np.fft.irfft(np.fft.rfft(frames * window, _FFT) * response, _FFT)
    out = np.zeros((blocks + 1) * _HOP + _FFT)
    parts = -(-_FFT // _HOP)
    pieces = np.zeros((blocks, parts * _HOP))
    pieces[:, :_FFT] = filtered
    for part in range(parts):  # one addition per hop of a block, not per block
        piece = pieces[:, part * _HOP : (part + 1) * _HOP].reshape(-1)
        start = part * _HOP
        end = min(start + len(piece), len(out))
        out[start:end] += piece[: end - start]
    return out[_HOP : _HOP + len(source)]
