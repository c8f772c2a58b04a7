"""The facial-action prior: what each emotion does to the 68 landmarks of a face.

An emotion is a set of action units (AUs) with weights; an action unit is a few pulls,
each on one landmark of the picture's right half, fading smoothly over a group of
landmarks and mirrored to the other half. Displacements are in outer-eye-corner
distances, x right in the picture, y up, z towards the viewer.

Sources: P. Ekman, W. Friesen, J. Hager, Facial Action Coding System (2002), and its
emotion dictionary EMFACS (1983); D. Matsumoto, P. Ekman, "Facial expression analysis",
Scholarpedia 3(5):4237 (2008), for the AU lists; P. Ekman, W. Friesen, "A new
pan-cultural facial expression of emotion" (1986), for one-sided contempt.
"""

import functools
from typing import NamedTuple

import numpy as np

from emogene_jax import landmarks as lm
from emogene_jax.landmarks import (
    CORNERS,
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIDS,
    LOWER_LIP,
    LOWER_RIM,
    MIRROR,
    UPPER_LIDS,
    UPPER_LIP,
    UPPER_RIM,
)
from emogene_jax.signals import EMOTIONS, UserError, eye_distance

# The picture's right half and the midline, cm, in MediaPipe's canonical metric space.
_HALF = {
    # jaw, from the ear to the chin
    16: (7.45, 2.50, -2.00),
    15: (7.42, 0.60, -2.15),
    14: (7.22, -1.35, -1.95),
    13: (6.85, -3.30, -1.40),
    12: (6.15, -5.15, -0.45),
    11: (5.05, -6.75, 0.90),
    10: (3.65, -8.00, 2.40),
    9: (1.90, -8.85, 3.75),
    8: (0.00, -9.15, 4.35),
    # brow, from its inner to its outer end
    22: (1.40, 4.55, 5.30),
    23: (2.60, 4.95, 5.10),
    24: (3.85, 5.05, 4.60),
    25: (4.95, 4.75, 3.80),
    26: (5.70, 4.10, 2.80),
    # nose: bridge, tip, wing and base
    27: (0.00, 3.05, 5.25),
    28: (0.00, 1.80, 6.10),
    29: (0.00, 0.55, 6.95),
    30: (0.00, -0.60, 7.50),
    33: (0.00, -2.05, 6.10),
    34: (0.75, -1.92, 5.85),
    35: (1.50, -1.62, 5.30),
    # eye: inner corner, upper lid, outer corner, lower lid
    42: (1.80, 2.45, 3.75),
    43: (2.72, 3.04, 3.95),
    44: (3.72, 3.02, 3.70),
    45: (4.50, 2.55, 3.10),
    46: (3.72, 2.12, 3.60),
    47: (2.75, 2.08, 3.85),
    # outer lips
    51: (0.00, -3.55, 5.95),
    52: (0.62, -3.42, 5.88),
    53: (1.45, -3.70, 5.40),
    54: (2.50, -4.28, 4.35),
    55: (1.45, -4.85, 5.25),
    56: (0.72, -5.10, 5.58),
    57: (0.00, -5.17, 5.66),
    # inner lips, closed
    62: (0.00, -4.24, 5.52),
    63: (0.75, -4.20, 5.42),
    64: (2.25, -4.28, 4.42),
    65: (0.75, -4.22, 5.40),
    66: (0.00, -4.26, 5.50),
}

JAW, BROWS, NOSE, MOUTH = (
    lm.rows(part) for part in (lm.JAW, lm.BROWS, lm.NOSE, lm.MOUTH)
)


class Pull(NamedTuple):
    """Moves a landmark, and its neighbours in the group less the further they are."""

    group: np.ndarray  # landmarks that may move
    anchor: int  # the landmark that moves most, in the picture's right half
    move: tuple[float, float, float]  # eye distances; x > 0 is away from the midline
    reach: float  # standard deviation of the fading, eye distances


ACTION_UNITS = {
    1: (Pull(BROWS, 22, (-0.006, 0.080, 0.004), 0.17),),  # inner brow raiser
    2: (Pull(BROWS, 25, (0.004, 0.082, 0.0), 0.22),),  # outer brow raiser
    4: (  # brow lowerer
        Pull(BROWS, 22, (-0.043, -0.064, 0.006), 0.36),
        Pull(NOSE, 27, (0.0, -0.012, 0.004), 0.10),
    ),
    5: (Pull(UPPER_LIDS, 43, (0.0, 0.036, -0.004), 0.30),),  # upper lid raiser
    6: (  # cheek raiser
        Pull(LOWER_LIDS, 46, (0.0, 0.028, 0.006), 0.20),
        Pull(UPPER_LIDS, 44, (0.0, -0.010, 0.0), 0.20),
        Pull(BROWS, 26, (0.0, -0.012, 0.0), 0.15),
        Pull(JAW, 13, (0.012, 0.012, 0.008), 0.25),
    ),
    7: (  # lid tightener
        Pull(LOWER_LIDS, 47, (0.0, 0.022, 0.0), 0.25),
        Pull(UPPER_LIDS, 43, (0.0, -0.014, 0.0), 0.25),
    ),
    9: (  # nose wrinkler
        Pull(NOSE, 35, (0.010, 0.050, -0.004), 0.14),
        Pull(NOSE, 30, (0.0, 0.018, 0.0), 0.12),
        Pull(NOSE, 27, (0.0, -0.022, 0.006), 0.10),
        Pull(BROWS, 22, (-0.016, -0.036, 0.004), 0.20),
        Pull(UPPER_LIP, 52, (0.0, 0.026, 0.0), 0.20),
    ),
    10: (  # upper lip raiser
        Pull(UPPER_LIP, 53, (0.004, 0.050, 0.004), 0.20),
        Pull(NOSE, 35, (0.006, 0.014, 0.0), 0.12),
    ),
    12: (  # lip corner puller
        Pull(MOUTH, 54, (0.062, 0.068, -0.050), 0.19),
        Pull(JAW, 13, (0.010, 0.006, 0.0), 0.30),
    ),
    14: (Pull(MOUTH, 54, (0.034, 0.012, -0.040), 0.12),),  # dimpler
    15: (Pull(MOUTH, 54, (0.004, -0.054, -0.008), 0.17),),  # lip corner depressor
    17: (  # chin raiser; it turns the corners down
        Pull(LOWER_LIP, 57, (0.0, 0.026, 0.014), 0.22),
        Pull(UPPER_LIP, 51, (0.0, 0.022, 0.010), 0.22),
        Pull(CORNERS, 54, (0.0, -0.016, 0.0), 0.10),
        Pull(JAW, 8, (0.0, 0.026, 0.010), 0.25),
    ),
    20: (  # lip stretcher
        Pull(MOUTH, 54, (0.064, -0.014, -0.044), 0.20),
        Pull(JAW, 12, (0.012, -0.006, 0.0), 0.30),
    ),
    23: (  # lip tightener
        Pull(MOUTH, 54, (-0.040, 0.0, 0.016), 0.22),
        Pull(UPPER_RIM, 52, (0.0, -0.016, -0.006), 0.25),
        Pull(LOWER_RIM, 56, (0.0, 0.018, -0.006), 0.25),
    ),
    24: (  # lip pressor
        Pull(UPPER_RIM, 52, (0.0, -0.016, -0.010), 0.25),
        Pull(LOWER_RIM, 56, (0.0, 0.018, -0.010), 0.25),
    ),
    25: (  # lips part
        Pull(UPPER_LIP, 51, (0.0, 0.012, 0.0), 0.18),
        Pull(LOWER_LIP, 57, (0.0, -0.030, 0.0), 0.18),
    ),
    26: (  # jaw drop
        Pull(LOWER_LIP, 57, (0.0, -0.070, -0.016), 0.26),
        Pull(CORNERS, 54, (-0.024, -0.028, 0.0), 0.20),
        Pull(JAW, 8, (0.0, -0.100, -0.030), 0.40),
    ),
    43: (Pull(UPPER_LIDS, 43, (0.0, -0.040, 0.0), 0.30),),  # eye closure
}

# (action unit, weight, side); side 0 = both, 1 = the picture's right half. As strong as
# filmed actors are tracked (brows, lids, corners of the mouth against their neutral face),
# which is less than they move: a tracker sees a third (brows down) to two thirds (mouth
# corners) of what a photograph was warped by.
EMOTION_ACTIONS = {
    "angry": (
        (4, 2.2, 0),
        (5, 0.8, 0),
        (7, 1.2, 0),
        (17, 0.8, 0),
        (23, 1.0, 0),
        (24, 0.8, 0),
    ),
    "contempt": ((12, 1.2, 1), (14, 1.4, 1)),
    "disgust": (
        (9, 1.6, 0),
        (10, 1.6, 0),
        (4, 1.0, 0),
        (6, 0.8, 0),
        (7, 1.0, 0),
        (15, 0.4, 0),
        (17, 1.4, 0),
    ),
    "fear": (
        (1, 2.5, 0),
        (2, 1.0, 0),
        (4, 1.4, 0),
        (5, 3.4, 0),
        (15, 0.4, 0),
        (20, 2.0, 0),
        (25, 1.3, 0),
        (26, 1.0, 0),
    ),
    "happy": ((6, 1.4, 0), (12, 1.5, 0), (25, 0.8, 0)),
    "neutral": (),
    "sad": ((1, 2.1, 0), (4, 0.6, 0), (15, 1.7, 0), (17, 1.0, 0), (43, 0.7, 0)),
    "surprise": ((1, 1.7, 0), (2, 1.8, 0), (5, 3.4, 0), (25, 1.0, 0), (26, 2.5, 0)),
}


def canonical_rest() -> np.ndarray:
    """A neutral generic face: landmarks [68, 3] float32 cm, lips closed, symmetric.

    The space is MediaPipe's canonical metric one: the outer eye corners are 9 cm apart.
    """
    rest = np.zeros((68, 3), np.float32)
    for landmark, (x, y, z) in _HALF.items():
        rest[MIRROR[landmark]] = (-x, y, z)
        rest[landmark] = (x, y, z)
    return rest


@functools.cache
def _action_displacement(unit: int) -> np.ndarray:
    """Of one action unit at full weight, on both sides: [68, 3] eye distances."""
    rest = canonical_rest()
    rest /= eye_distance(rest)
    half = np.zeros((68, 3))
    for pull in ACTION_UNITS[unit]:
        group = pull.group[rest[pull.group, 0] >= 0]
        squared = ((rest[group] - rest[pull.anchor]) ** 2).sum(-1)
        half[group] += np.exp(-squared / (2 * pull.reach**2))[:, None] * pull.move
    half[rest[:, 0] == 0, 0] = 0.0  # the midline never moves sideways
    mirrored = half[MIRROR] * (-1, 1, 1)
    return np.where(rest[:, :1] >= 0, half, mirrored)


def _right_side() -> np.ndarray:
    """1 in the picture's right half, 0 in the left, smooth between: [68, 1]."""
    rest = canonical_rest()
    x = rest[:, :1] / eye_distance(rest)
    return smoothstep(x, -0.08, 0.20)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, and a smooth cubic between, of x of any shape."""
    x = np.clip((x - low) / (high - low), 0.0, 1.0)
    return x * x * (3 - 2 * x)


def check_emotion(emotion: str) -> None:
    """Raises UserError where emotion is not one of signals.EMOTIONS."""
    if emotion not in EMOTIONS:
        raise UserError(f"emotion {emotion!r}: expected one of {', '.join(EMOTIONS)}")


def displacement(actions) -> np.ndarray:
    """What actions [(unit, weight, side)] (EMOTION_ACTIONS) add to a face at rest:
    [68, 3] float32, eye distances."""
    total = np.zeros((68, 3))
    for unit, weight, side in actions:
        move = weight * _action_displacement(unit)
        total += move * _right_side() if side else move
    return total.astype(np.float32)


@functools.cache
def _full_displacement(emotion: str) -> np.ndarray:
    return displacement(EMOTION_ACTIONS[emotion])


def emotion_displacement(emotion: str, intensity: float = 1.0) -> np.ndarray:
    """What an emotion adds to a face at rest: [68, 3] float32, eye distances."""
    check_emotion(emotion)
    return np.float32(intensity) * _full_displacement(emotion)


def express(
    motion: np.ndarray, emotion: str, intensity: np.ndarray | float = 1.0
) -> np.ndarray:
    """Emotional motion [T, 68, 3] of neutral motion [T, 68, 3], both in eye distances.

    The lips come first: where the neutral motion closes them they stay closed, however
    far the emotion would part them, and they never cross. So do the lids in a blink.

    Args:
        motion: [T, 68, 3] relative to a rest with closed lips and open eyes.
        emotion: one of signals.EMOTIONS.
        intensity: [T] or a scalar; 1 is the full expression.
    """
    check_emotion(emotion)
    motion = np.asarray(motion, np.float32)
    scale = np.broadcast_to(np.asarray(intensity, np.float32), motion.shape[:1])
    return add_expression(motion, scale[:, None, None] * _full_displacement(emotion))


def add_expression(motion: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Motion [T, 68, 3] with displacements added [T, 68, 3] of any origin, lips and lids
    kept as in `express`; eye distances."""
    motion, added = np.asarray(motion, np.float32), np.array(added, np.float32)
    _keep_lips(motion, added)
    _keep_lids(motion, added)
    return motion + added


def _keep_lips(motion: np.ndarray, added: np.ndarray) -> None:
    """Fades, in place, what added [T, 68, 3] parts the lips by, where motion has them
    closed; chin and outer contour go along."""
    gap = motion[:, INNER_UPPER, 1] - motion[:, INNER_LOWER, 1]  # [T, 3]
    parting = added[:, INNER_UPPER, 1] - added[:, INNER_LOWER, 1]
    openness = smoothstep(gap.max(-1, keepdims=True), 0.004, 0.035)
    allowed = np.maximum(openness * parting, -np.maximum(gap, 0.0))
    excess = parting - allowed  # shared by both lips
    for lip, sign in (((49, 50, 51, 52, 53), -0.5), ((59, 58, 57, 56, 55), 0.5)):
        inner = INNER_UPPER if sign < 0 else INNER_LOWER
        added[:, inner, 1] += sign * excess
        shares = np.stack(
            [0.5 * excess[:, 0], *excess.T, 0.5 * excess[:, 2]], axis=1
        )  # [T, 5]: the outer contour's ends are near the corners
        added[:, lip, 1] += sign * shares
    # A jaw may sink a little behind closed lips, hence not the whole of it.
    chin = 0.5 * np.maximum(excess[:, 1:2], 0.0)
    added[:, JAW, 1] += 0.6 * chin * np.exp(-(((JAW - 8) / 3.0) ** 2))


def _keep_lids(motion: np.ndarray, added: np.ndarray) -> None:
    """Fades, in place, what added does to the lids where motion closes the eyes."""
    rest = canonical_rest()
    open_rest = (rest[UPPER_LIDS, 1] - rest[LOWER_LIDS, 1]).mean() / eye_distance(rest)
    change = (motion[:, UPPER_LIDS, 1] - motion[:, LOWER_LIDS, 1]).mean(-1)
    openness = smoothstep(open_rest + change, 0.0, 0.6 * open_rest)[:, None, None]
    upper, lower = added[:, UPPER_LIDS], added[:, LOWER_LIDS]
    middle = 0.15 * upper + 0.85 * lower  # a blink is the upper lid's
    added[:, UPPER_LIDS] = middle + openness * (upper - middle)
    added[:, LOWER_LIDS] = middle + openness * (lower - middle)


def signature(motion: np.ndarray) -> dict[str, np.ndarray]:
    """What an expression measures, each [...], in eye distances.

    Args:
        motion: [..., 68, 3], eye distances. Every measure is a difference of
            coordinates: of a motion it is the change against rest, of landmarks
            divided by the eye distance the size itself.
    """
    x, y = motion[..., 0], motion[..., 1]
    lids = y[..., UPPER_LIDS].mean(-1) - y[..., LOWER_LIDS].mean(-1)
    (left, right), nose = lm.MOUTH_CORNERS, y[..., lm.UNDER_NOSE]

    def height(numbers):
        return y[..., list(numbers)].mean(-1)

    inner, outer = lm.INNER_BROWS, lm.OUTER_BROWS
    return {
        "brow_height": height(BROWS) - height(lm.EYE_CORNERS),
        "inner_brow_raise": height(inner) - height(outer),
        "brow_distance": x[..., inner[1]] - x[..., inner[0]],
        "mouth_corners": height(lm.MOUTH_CORNERS) - nose,
        "asymmetry": y[..., right] - y[..., left],
        "mouth_width": x[..., right] - x[..., left],
        "lid_aperture": lids,
        "nose_to_lip": nose - y[..., lm.OUTER_MIDDLE[0]],
        "jaw": nose - y[..., lm.CHIN],
    }
