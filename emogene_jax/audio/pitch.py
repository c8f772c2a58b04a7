"""Pitch by YIN (de Cheveigné and Kawahara, 2002), in NumPy: waveform -> f0 [S].

Not librosa's: that gives no voicing with yin, takes 20 times as long with pyin, and
compiles for seconds at its first call. Like there, a frame of 512 samples is what fits
speech: 256 are compared with themselves at lags up to 1/63 s.
"""

import numpy as np

from emogene_jax.signals import AUDIO_FPS, SAMPLE_RATE

HOP = SAMPLE_RATE // AUDIO_FPS  # samples
FRAME = 512
INTEGRATION = 256
LOWEST, HIGHEST = 65.0, 500.0  # Hz
TROUGH = 0.15  # aperiodicity below which the first trough is taken
VOICED = 0.3  # aperiodicity below which a step is voiced
VOICED_DB = 40.0  # and its energy, at most this far below the recording's level
SILENCE = 1e-8  # mean square below which nothing is voiced
BLOCK = 3000  # steps at once: constant memory for any length


def pitch(waveform: np.ndarray) -> np.ndarray:
    """f0 [S] float32 in Hz, 0 = unvoiced, of waveform [samples] at 16 kHz.

    S = ceil(samples / 320), at least 1.
    """
    steps = max(1, -(-len(waveform) // HOP))
    side = (FRAME - HOP) // 2
    padded = np.zeros(steps * HOP + 2 * side, np.float32)
    padded[side : side + len(waveform)] = waveform
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    parts = [_yin(frames[i : i + BLOCK]) for i in range(0, steps, BLOCK)]
    f0, aperiodicity, energy = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    level = np.percentile(energy, 95)
    loud = energy > max(SILENCE, level * 10 ** (-VOICED_DB / 10))
    return _smooth(np.where(loud & (aperiodicity < VOICED), f0, 0.0)).astype(np.float32)


def _yin(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(f0 in Hz, aperiodicity, mean square) of frames [N, 512]."""
    frames = frames - frames.mean(1, keepdims=True)
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    # Difference function: energy of both parts less twice their correlation.
    size = FRAME + INTEGRATION
    spectrum = np.fft.rfft(frames, size)
    head = np.fft.rfft(frames[:, :INTEGRATION], size)
    correlation = np.fft.irfft(spectrum * head.conj(), size)[:, : longest + 2]
    square = np.cumsum(np.pad(frames.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
    lags = np.arange(longest + 2)
    energy = square[:, lags + INTEGRATION] - square[:, lags]
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)
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
    padded = np.pad(f0, 2)
    around = np.lib.stride_tricks.sliding_window_view(padded, 5)
    voiced = around > 0
    # The median of the voiced ones, without the warnings of nanmedian.
    ordered = np.sort(np.where(voiced, around, np.inf), axis=1)
    count = voiced.sum(1)
    median = ordered[np.arange(len(f0)), np.maximum(count - 1, 0) // 2]
    keep = (f0 > 0) & (count >= 3)
    octave_off = keep & ((f0 > 1.4 * median) | (1.4 * f0 < median))
    return np.where(keep, np.where(octave_off, median, f0), 0.0)
