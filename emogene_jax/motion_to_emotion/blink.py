"""Blinks: when a person blinks, and what it does to the lids.

A blink is a closure in 0 (open) .. 1 (lids meet) per video frame, put on any motion
after the expression, so that a wide-eyed face blinks as fully as a sleepy one.
"""

import numpy as np

from emogene_jax.motion_to_emotion.expressions import LOWER_LIDS, UPPER_LIDS
from emogene_jax.signals import FPS, eye_distance

_UPPER_SHARE = 0.88  # of the closing; the lower lid rises by the rest
INTERVAL = (2.0, 6.0)  # seconds between blinks
DURATION = (0.2, 0.35)  # seconds a blink lasts
_CLOSING = 0.35  # of the duration; opening is slower


def natural_blinks(frames: int, rng: np.random.Generator) -> np.ndarray:
    """The closure [T] float32 in 0..1 of T = frames video frames."""
    closure = np.zeros(frames)
    # The first blink may come at once: a clip starts at any moment between two.
    shut = rng.uniform(0.3, np.mean(INTERVAL))
    while shut * FPS < frames + FPS:
        shut = round(shut * FPS) / FPS  # so that some frame shows the eyes shut
        duration = rng.uniform(*DURATION)
        # Of the frames that this blink reaches alone: an hour has 900 of them.
        near = slice(
            max(0, int((shut - duration) * FPS)), int((shut + duration) * FPS) + 2
        )
        since = np.arange(frames)[near] / FPS - shut
        span = np.where(since < 0, _CLOSING, 1 - _CLOSING) * duration
        phase = np.clip(np.abs(since) / span, 0.0, 1.0)
        closure[near] = np.maximum(closure[near], 0.5 + 0.5 * np.cos(np.pi * phase))
        shut += rng.uniform(*INTERVAL)
    return closure.astype(np.float32)


def add_blinks(motion: np.ndarray, closure: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Motion [T, 68, 3] (eye distances) with the lids shut by closure [T] in 0..1.

    rest [68, 3] in cm says how far the lids are apart. The lids never cross, not even
    where they do in the given motion.
    """
    motion = np.array(motion, np.float32)
    face = (rest / eye_distance(rest)).astype(np.float32)
    upper = face[UPPER_LIDS] + motion[:, UPPER_LIDS]
    lower = face[LOWER_LIDS] + motion[:, LOWER_LIDS]
    meeting = (1 - _UPPER_SHARE) * upper + _UPPER_SHARE * lower
    crossed = upper[..., 1] < lower[..., 1]
    shut = np.where(crossed, 1.0, np.asarray(closure)[:, None])[..., None]
    motion[:, UPPER_LIDS] += (shut * (meeting - upper)).astype(np.float32)
    motion[:, LOWER_LIDS] += (shut * (meeting - lower)).astype(np.float32)
    return motion


def lid_closure(motion: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """How far the lids are shut [T] in 0..1, of motion [T, 68, 3]: 0 = as far apart as
    they usually are, 1 = they meet."""
    face = rest / eye_distance(rest)
    gap = (face + motion)[:, UPPER_LIDS, 1] - (face + motion)[:, LOWER_LIDS, 1]
    gap = gap.mean(-1)
    return np.clip(1 - gap / max(np.median(gap), 1e-6), 0, 1).astype(np.float32)


def open_lids(motion: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Motion [T, 68, 3] with the blinks taken out: what the voice can't know of.

    Where the lids are nearer than two thirds of their usual distance, they move as they
    did before and after.
    """
    motion = np.array(motion, np.float32)
    shut = lid_closure(motion, rest) > 0.33
    # Lids begin to move before they are that near.
    shut = np.convolve(shut, np.ones(5))[2:-2] > 0
    if shut.any() and not shut.all():
        time = np.arange(len(motion))
        lids = motion[:, 36:48].reshape(len(motion), -1)
        for column in range(lids.shape[1]):
            lids[shut, column] = np.interp(time[shut], time[~shut], lids[~shut, column])
        motion[:, 36:48] = lids.reshape(-1, 12, 3)
    return motion
