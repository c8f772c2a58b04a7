"""Log-mel content features: waveform -> [S, 80], 50 per second.

Step s looks at 40 ms around the middle of its 20 ms, so that nothing reaches further
than the neighbouring step. Values are decibels relative to the recording itself, so
that neither loudness nor the channel (microphone, room) matters much:

  - the level is the 95th percentile of the steps' energy;
  - from each band its mean over the active steps (within 40 dB of the level) is taken
    away, mixed with 2 s of an average speech spectrum at that level: a short recording
    must not lose its own vowel;
  - the rest is divided by 20 dB and clipped to [-3, 3]. Silence is -3.
"""

import functools
from collections.abc import Iterator

import numpy as np

from emogene_jax.audio.frames import HOP, blocks
from emogene_jax.signals import SAMPLE_RATE

BANDS = 80
WINDOW = 2 * HOP
FFT = 1024
SILENCE_DB = -80.0  # re full scale; a recording whose level is below is silent
ACTIVE_DB = 40.0
UNIT_DB = 20.0
LIMIT = 3.0
PRIOR_STEPS = 100
# Average speech (eight recordings of as many people), in dB per band.
AVERAGE_HZ = (150, 400, 650, 1000, 2500, 5000, 8000)
AVERAGE_DB = (-29, -33, -40, -47, -50, -54, -55)


def log_mel(waveform: np.ndarray, steps: int | None = None) -> np.ndarray:
    """Features [S, 80] float32 in [-3, 3] of waveform [samples] at 16 kHz.

    S = `steps`, by default ceil(samples / 320), at least 1.
    """
    return np.concatenate(list(log_mel_pieces(waveform, steps)))


def log_mel_pieces(waveform, steps: int | None = None) -> Iterator[np.ndarray]:
    """log_mel in pieces [n, 80], in constant memory: it goes over the waveform, which
    can be a StoredSound, three times."""
    energy = np.concatenate([x.sum(1) for x in band_energies(waveform, steps)])
    energy = 10 * np.log10(energy + 1e-12)
    level = np.percentile(energy, 95)
    active = energy > level - ACTIVE_DB
    total, done = np.zeros(BANDS), 0
    for bands in band_energies(waveform, steps):
        total += decibels(bands, level)[active[done : done + len(bands)]].sum(0)
        done += len(bands)
    prior = level + average_spectrum()
    mean = (total + PRIOR_STEPS * prior) / (active.sum() + PRIOR_STEPS)
    for bands in band_energies(waveform, steps):
        if level < SILENCE_DB:
            yield np.full(bands.shape, -LIMIT, np.float32)
        else:
            yield relative_to(decibels(bands, level), mean)


def relative_to(bands: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Features [n, 80] of bands in dB, and their mean of active steps [80]."""
    return np.clip((bands - mean) / UNIT_DB, -LIMIT, LIMIT).astype(np.float32)


def decibels(bands: np.ndarray, level: float) -> np.ndarray:
    """Mean powers in dB, at least 120 dB below the level."""
    return 10 * np.log10(bands + 10 ** (level / 10 - 12))


def band_energies(waveform, steps: int | None = None) -> Iterator[np.ndarray]:
    """Mean power of each mel band in pieces [n, 80]; a full-scale sine has -3 dB in all
    of a step."""
    for frames in blocks(waveform, WINDOW, steps):
        yield powers(frames)


def powers(frames: np.ndarray) -> np.ndarray:
    """Mean power of each mel band [n, 80] in frames [n, 640]."""
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    # By Parseval's theorem, so that the bands add up to the mean square.
    filters = mel_filters().T * np.float32(2 / (FFT * np.sum(window**2)))
    spectrum = np.fft.rfft(frames * window, FFT)
    return (spectrum.real**2 + spectrum.imag**2) @ filters


@functools.cache
def mel_filters() -> np.ndarray:
    """[80, 513]: triangles of height 1 that are evenly spaced on Slaney's mel scale."""
    import librosa.filters  # slow to import

    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT, n_mels=BANDS, norm=None)


def average_spectrum() -> np.ndarray:
    """Bands [80] of average speech in dB against the level of its loud steps."""
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    centre = mel_filters() @ bins / mel_filters().sum(1)
    return np.interp(np.log(centre), np.log(AVERAGE_HZ), AVERAGE_DB)
