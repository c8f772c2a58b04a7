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

import numpy as np

from emogene_jax.audio.frames import HOP, blocks, step_count
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
    bands = band_energies(waveform, steps)
    energy = 10 * np.log10(bands.sum(1) + 1e-12)
    level = np.percentile(energy, 95)
    if level < SILENCE_DB:
        return np.full(bands.shape, -LIMIT, np.float32)
    # In place: for an hour this is the one large array.
    bands += 10 ** (level / 10 - 12)
    decibels = np.log10(bands, out=bands)
    decibels *= 10
    active = (energy > level - ACTIVE_DB)[:, None]
    total = np.sum(decibels, 0, dtype=np.float64, where=active)
    prior = level + average_spectrum()
    mean = (total + PRIOR_STEPS * prior) / (active.sum() + PRIOR_STEPS)
    decibels -= mean.astype(np.float32)
    decibels /= UNIT_DB
    return np.clip(decibels, -LIMIT, LIMIT, out=decibels)


def band_energies(waveform: np.ndarray, steps: int | None = None) -> np.ndarray:
    """Mean power [S, 80] of each mel band; a full-scale sine has -3 dB in all."""
    steps = step_count(waveform) if steps is None else steps
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    # By Parseval's theorem, so that the bands add up to the mean square.
    filters = mel_filters().T * np.float32(2 / (FFT * np.sum(window**2)))
    out, done = np.empty((steps, BANDS), np.float32), 0
    for frames in blocks(waveform, WINDOW, steps):
        spectrum = np.fft.rfft(frames * window, FFT)
        power = spectrum.real**2 + spectrum.imag**2
        out[done : done + len(frames)] = power @ filters
        done += len(frames)
    return out


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
