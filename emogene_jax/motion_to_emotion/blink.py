"""Blinks: when a person blinks, and what it does to the lids.

A blink is a closure in 0 (open) .. 1 (lids meet) per video frame, put on any motion
after the expression, so that a wide-eyed face blinks as fully as a sleepy one.
"""

import numpy as np

from emogene_jax.landmarks import EYES, LOWER_LIDS, UPPER_LIDS
from emogene_jax.signals import FPS, eye_distance

_UPPER_SHARE = 0.88  # of the closing; the lower lid rises by the rest
INTERVAL = (2.0, 6.0)  # seconds between blinks
DURATION = (0.2, 0.35)  # seconds a blink lasts
_CLOSING = 0.35  # of the duration; opening is slower
_SHUT = 0.5  # the closure that tracked lids reach where they are shut


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


def add_blinks(
    motion: np.ndarray,
    closure: np.ndarray,
    rest: np.ndarray,
    shut: np.ndarray | None = None,
) -> np.ndarray:
    """Motion [T, 68, 3] (eye distances) with the lids shut by closure [T] in 0..1.

    The lids never cross, not even where they do in the given motion.

    Args:
        rest: [68, 3] cm, says how far the lids are apart.
        shut: [12, 3], the motion of a person's lids that are shut (shut_lids); None =
            each meets the other.
    """
    motion = np.array(motion, np.float32)
    face = (rest / eye_distance(rest)).astype(np.float32)
    upper = face[UPPER_LIDS] + motion[:, UPPER_LIDS]
    lower = face[LOWER_LIDS] + motion[:, LOWER_LIDS]
    meeting = (1 - _UPPER_SHARE) * upper + _UPPER_SHARE * lower
    crossed = upper[..., 1] < lower[..., 1]
    closure = np.asarray(closure)[:, None]
    share = np.where(crossed, 1.0, closure if shut is None else 0.0)[..., None]
    motion[:, UPPER_LIDS] += (share * (meeting - upper)).astype(np.float32)
    motion[:, LOWER_LIDS] += (share * (meeting - lower)).astype(np.float32)
    if shut is not None:
        motion[:, EYES] += closure[..., None] * (shut - motion[:, EYES])
    return motion


def shut_lids(motion: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The motion [12, 3] of a person's lids that are shut, of motion [T, 68, 3] that was
    filmed: a tracker sees shut lids apart. Where they were never shut, both meet."""
    closure = lid_closure(motion, rest)
    if closure.max() < _SHUT:
        return add_blinks(np.zeros((1, *rest.shape)), np.ones(1), rest)[0, EYES]
    return np.median(motion[closure >= 0.9 * closure.max()][:, EYES], 0)


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
        lids = motion[:, EYES].reshape(len(motion), -1)
        for column in range(lids.shape[1]):
            lids[shut, column] = np.interp(time[shut], time[~shut], lids[~shut, column])
        motion[:, EYES] = lids.reshape(-1, 12, 3)
    return motion
