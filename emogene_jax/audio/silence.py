"""Which video frames hold speech: silence is found per stretch, not per file.

Energy every 20 ms in dB, smoothed over 100 ms, against two levels of the recording
itself: its noise floor and its speech. A stretch counts as speech where it stays above
a low threshold and somewhere passes a high one (hysteresis).

Where music or noise lies close under the speech, energy does not tell them apart: then
more and more of all is speech, for a mouth that stays shut is worse than one that moves
in a pause.
"""

import warnings

import numpy as np

from emogene_jax.audio.frames import HOP, blocks

SILENCE_DB = -60.0  # re full scale; a recording whose level is below is silent
FLOOR_DB = -75.0  # below is digital silence, which says nothing about the noise
SPEECH_RANGE_DB = 35.0  # speech reaches this far below its level
ABOVE_FLOOR_DB = 6.0
HYSTERESIS_DB = 5.0
# Of a level above its floor: up to here nothing is told apart, from there on all.
NOISY_DB, CLEAR_DB = 10.0, 20.0
# Steps in which whoever speaks pauses once, 6 s: of less, a floor that is high is speech
# without a pause as often as it is music.
PAUSED = 300
SHORTEST_SILENCE = 15  # steps, 0.3 s
SHORTEST_SPEECH = 7  # steps: the smoothing makes six of a click
PADDING = 3  # steps on both sides of speech


def speech_frames(waveform: np.ndarray) -> np.ndarray:
    """Speech [T] bool, T = ceil(samples / 640), at least 1, of waveform at 16 kHz."""
    frames = max(1, -(-len(waveform) // (2 * HOP)))
    # Of each step without its own mean, so that a constant offset is silence.
    steps = [block.var(axis=1) for block in blocks(waveform, HOP, 2 * frames)]
    energy = smooth_energy(np.concatenate(steps))
    floor, level = measured(energy)
    if level < SILENCE_DB:
        return np.zeros(frames, bool)
    sure = sureness(floor, level)
    if sure < 1 and len(energy) >= PAUSED:
        warnings.warn(
            "music or noise lies close under the speech: pauses are not told from it",
            stacklevel=2,
        )
    low = threshold(floor, level, sure)
    return speech_of(energy, low, sure).reshape(-1, 2).any(axis=1)


def measured(energy: np.ndarray) -> tuple[float, float]:
    """(noise floor, level of speech), dB, of smooth energy [S]."""
    noise = energy[energy > FLOOR_DB]
    floor = np.percentile(noise, 10) if noise.size else FLOOR_DB
    return float(floor), float(np.percentile(energy, 97))


def sureness(floor: float, level: float) -> float:
    """From 0 to 1, how far energy tells speech of such a level from such a noise."""
    return float(np.clip((level - floor - NOISY_DB) / (CLEAR_DB - NOISY_DB), 0, 1))


def smooth_energy(power: np.ndarray) -> np.ndarray:
    """Energy [S] in dB, smoothed over 100 ms, of the mean squares [S] of steps."""
    padded = np.pad(power, 2, mode="edge")
    return 10 * np.log10(np.convolve(padded, np.ones(5) / 5, mode="valid") + 1e-12)


def speech_of(energy: np.ndarray, low: float, sure: float) -> np.ndarray:
    """Steps [S] that are speech, of energy [S] in dB, the low threshold of it, and how sure
    that is."""
    speech = _hysteresis(energy, low, low + sure * HYSTERESIS_DB)
    speech = _without_short(speech, True, SHORTEST_SPEECH)
    wider = np.convolve(speech, np.ones(2 * PADDING + 1))
    speech = wider[PADDING : PADDING + len(energy)] > 0
    return _without_short(speech, False, SHORTEST_SILENCE)


def threshold(floor: float, level: float, sure: float) -> float:
    """The low threshold in dB, of a noise floor and a level of speech in dB: the less sure
    these tell speech, the more of all is taken for it."""
    # In a recording without pauses the "floor" is weak speech: stay well below level.
    above = min(ABOVE_FLOOR_DB, 0.4 * (level - floor))
    clear = max(level - SPEECH_RANGE_DB, floor + above)
    return floor + sure * (clear - floor)


def _hysteresis(energy: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stretches [S] above low that somewhere pass high."""
    out = np.zeros(len(energy), bool)
    for start, end in _stretches(energy > low):
        out[start:end] = energy[start:end].max() > high
    return out


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True in flags [S]; ends exclusive."""
    edges = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1)))
    return list(zip(edges[::2], edges[1::2], strict=True))


def _without_short(flags: np.ndarray, kind: bool, shortest: int) -> np.ndarray:
    """flags [S] in which runs of `kind` shorter than `shortest` are turned over; those
    of silence only between speech."""
    out = flags.copy()
    for start, end in _stretches(flags == kind):
        at_edge = start == 0 or end == len(flags)
        if end - start < shortest and (kind or not at_edge):
            out[start:end] = not kind
    return out
