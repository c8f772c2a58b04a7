"""Pitch by YIN (de Cheveigné and Kawahara, 2002), in NumPy: waveform -> f0 [S].

Not librosa's: that gives no voicing with yin, takes 20 times as long with pyin, and
compiles for seconds at its first call. Like there, a frame of 512 samples is what fits
speech. All of a frame is compared with itself at lags up to 1/65 s: what two parts have
in common is then centred on the step, whatever the lag (YIN's own window of fixed
length hears high voices 5 ms late).
"""

import numpy as np

from emogene_jax.audio.frames import blocks
from emogene_jax.signals import SAMPLE_RATE

FRAME = 512  # samples
LOWEST, HIGHEST = 65.0, 500.0  # Hz
TROUGH = 0.12  # aperiodicity below which the first trough is taken
VOICED = 0.3  # aperiodicity below which a step is voiced
VOICED_DB = 40.0  # and its energy, at most this far below the recording's level
NEIGHBOURS = 2  # steps on either side that tell whether one stands alone
SILENCE = 1e-8  # mean square below which nothing is voiced


def pitch(waveform: np.ndarray, steps: int | None = None) -> np.ndarray:
    """f0 [S] float32 in Hz, 0 = unvoiced, of waveform [samples] at 16 kHz.

    S = `steps`, by default ceil(samples / 320), at least 1.
    """
    parts = [yin(frames) for frames in blocks(waveform, FRAME, steps)]
    f0, aperiodicity, energy = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return voiced(f0, aperiodicity, energy, np.percentile(energy, 95))


def voiced(f0, aperiodicity, energy, level: float) -> np.ndarray:
    """f0 [S] float32, 0 where a step is unvoiced, of yin's [S] each; level: the energy of
    loud steps."""
    loud = energy > max(SILENCE, level * 10 ** (-VOICED_DB / 10))
    return _smooth(np.where(loud & (aperiodicity < VOICED), f0, 0.0)).astype(np.float32)


def yin(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(f0 in Hz, aperiodicity, mean square) of frames [N, 512]."""
    frames = frames - frames.mean(1, keepdims=True)
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    lags = np.arange(longest + 2)
    # Difference function: energy of both parts less twice their correlation.
    size = FRAME + 256  # more than the largest lag: the ends do not meet
    spectrum = np.fft.rfft(frames, size)
    power = spectrum.real**2 + spectrum.imag**2
    correlation = np.fft.irfft(power, size)[:, : longest + 2]
    square = np.cumsum(np.pad(frames.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
    energy = square[:, FRAME - lags] + square[:, -1:] - square[:, lags]
    difference = np.maximum(energy - 2 * correlation, 0) / (FRAME - lags)
    # Divided by its own running mean, it starts at 1 and dips at periods.
    total = np.cumsum(difference[:, 1:], axis=1)
    normal = np.ones_like(difference)
    normal[:, 1:] = difference[:, 1:] * lags[1:] / np.maximum(total, 1e-12)
    inner = normal[:, shortest : longest + 1]
    trough = inner <= normal[:, shortest - 1 : longest]
    trough &= inner <= normal[:, shortest + 1 : longest + 2]
    good = trough & (inner < TROUGH)
    first = np.where(good.any(1), good.argmax(1), np.where(trough, inner, 9).argmin(1))
    rows = np.arange(len(frames))
    lag = first + shortest
    before, here, after = (normal[rows, lag + i] for i in (-1, 0, 1))
    curve = before - 2 * here + after
    shift = np.where(curve > 0, (before - after) / np.maximum(2 * curve, 1e-12), 0.0)
    period = lag + np.clip(shift, -0.5, 0.5)
    return SAMPLE_RATE / period, here, square[:, -1] / FRAME


def _smooth(f0: np.ndarray) -> np.ndarray:
    """f0 [S] without single steps that stand alone or are an octave off."""
    padded = np.pad(f0, NEIGHBOURS)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1)
    voiced = around > 0
    # The median of the voiced ones, without the warnings of nanmedian.
    ordered = np.sort(np.where(voiced, around, np.inf), axis=1)
    count = voiced.sum(1)
    median = ordered[np.arange(len(f0)), np.maximum(count - 1, 0) // 2]
    keep = (f0 > 0) & (count >= 3)
    octave_off = keep & ((f0 > 1.4 * median) | (1.4 * f0 < median))
    return np.where(keep, np.where(octave_off, median, f0), 0.0)
