"""Two takes of one sentence, brought to the same time by what is heard.

A neutral and an emotional take have their own rhythm. To learn what an emotion does to a
face (Paper: Eq. 4), every emotional frame needs the neutral frame of the same sound.
"""

import numpy as np

# How far one take may run ahead of the other, as a part of the sentence.
BAND = 0.3
# Takes are of one sentence where they are this much nearer to each other than to each
# other's reverse, which has the same sounds in no order that was spoken. Synthetic
# talkers in other emotions and rhythms: .36 to .56; other sentences: .84 to 1.13.
SAME_WORDS = 0.7
# Steps of the longest take that is aligned: a table of a minute's square is 150 MB.
LONGEST = 3000
_STRETCH = 2.9  # times as long; the steps of the warp allow no more than three


def aligned_frames(neutral: np.ndarray, emotional: np.ndarray) -> np.ndarray:
    """The place in a neutral take, in video frames, of each frame of an emotional one.

    Dynamic time warping (librosa's) on audio content, averaged over the steps of a frame.

    Args:
      neutral: [2T, F] content features at 50 Hz of one sentence.
      emotional: [2U, F] of the same sentence.

    Returns:
      [U] float, in 0..T - 1, never falling.
    """
    path, _ = _warp(neutral, emotional)
    steps, places = path[:, 1], path[:, 0]
    filled = np.interp(np.arange(len(emotional)), steps, places)
    # A frame's middle lies between its two steps.
    frames = filled.reshape(-1, 2).mean(1) / 2 - 0.25
    return np.clip(frames, 0, len(neutral) // 2 - 1)


def same_words(neutral: np.ndarray, emotional: np.ndarray) -> bool:
    """Whether two takes, content features [2T, F] and [2U, F], are heard to be of one
    sentence. False as well where one is three times as long, or longer than a minute."""
    lengths = sorted((len(neutral), len(emotional)))
    if lengths[0] < 2 or lengths[1] > min(_STRETCH * lengths[0], LONGEST):
        return False
    _, forwards = _warp(neutral, emotional)
    _, backwards = _warp(neutral[::-1], emotional)
    return forwards < SAME_WORDS * backwards


def _warp(neutral: np.ndarray, emotional: np.ndarray) -> tuple[np.ndarray, float]:
    """(path [steps, 2] in order of time, mean distance along it)."""
    import librosa.sequence  # slow to import

    # Each channel counts the same, and a take's own colour of voice does not.
    both = [(x - x.mean(0)) / (x.std(0) + 1e-6) for x in (neutral, emotional)]
    _, path = librosa.sequence.dtw(
        *(x.T for x in both),
        # Both go on at once, or one waits: no more than a third as fast as the other.
        step_sizes_sigma=np.array([[1, 1], [1, 2], [2, 1], [1, 3], [3, 1]]),
        weights_mul=np.array([1.0, 1.5, 1.5, 2.0, 2.0]),
        global_constraints=_fits_band(len(neutral), len(emotional)),
        band_rad=BAND,
    )
    path = path[::-1]
    apart = both[0][path[:, 0]] - both[1][path[:, 1]]
    return path, float(np.linalg.norm(apart, axis=1).mean())


def _fits_band(first: int, second: int) -> bool:
    """Whether the band leaves a way from corner to corner."""
    return abs(first - second) < BAND * min(first, second)


def at_frames(motion: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Motion [U, …] of motion [T, …] at fractional frames [U] (aligned_frames)."""
    low = np.floor(frames).astype(int)
    high = np.minimum(low + 1, len(motion) - 1)
    share = (frames - low).reshape(-1, *[1] * (motion.ndim - 1))
    return ((1 - share) * motion[low] + share * motion[high]).astype(motion.dtype)
