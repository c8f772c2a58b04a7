"""Motion of the synthetic world: faces that differ, mouths that talk, heads that move.

Visemes are four numbers (jaw, lip gap, width, protrusion), blended over time by
dominance functions (Cohen & Massaro, "Modeling coarticulation in synthetic visual
speech", 1993) and laid onto the 68 landmarks. Motion is in outer-eye-corner distances.
"""

import numpy as np

from emogene_jax.landmarks import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIP,
    LOWER_RIM,
    MIRROR,
    UPPER_LIDS,
    UPPER_LIP,
    UPPER_RIM,
)
from emogene_jax.motion_to_emotion.expressions import (
    BROWS,
    EMOTION_ACTIONS,
    JAW,
    MOUTH,
    canonical_rest,
    displacement,
    smoothstep,
)
from emogene_jax.signals import EMOTIONS, FPS, Pose, eye_distance
from emogene_jax.synthetic.voice import BILABIALS, PAUSE, VOWELS, Phoneme

# symbol: (jaw drop, lip gap, corners outwards, protrusion), eye distances.
VISEMES = {
    "a": (0.112, 0.150, 0.004, 0.000),
    "e": (0.066, 0.092, 0.026, -0.004),
    "i": (0.032, 0.048, 0.044, -0.008),
    "o": (0.074, 0.088, -0.046, 0.036),
    "u": (0.034, 0.034, -0.066, 0.055),
    "@": (0.048, 0.058, 0.000, 0.004),
    "p": (0.014, 0.000, -0.006, 0.006),
    "b": (0.016, 0.000, -0.004, 0.004),
    "m": (0.014, 0.000, 0.000, 0.002),
    "f": (0.018, 0.010, 0.008, -0.004),
    "s": (0.014, 0.020, 0.022, 0.000),
    "sh": (0.018, 0.028, -0.036, 0.036),
    "t": (0.022, 0.030, 0.010, 0.000),
    "k": (0.034, 0.045, 0.006, 0.000),
    "n": (0.026, 0.032, 0.006, 0.000),
    "l": (0.040, 0.050, 0.006, 0.000),
    "_": (0.000, 0.000, 0.000, 0.000),
}
# How strongly a sound insists on its (jaw, gap, width, protrusion).
_DOMINANCE = {
    **dict.fromkeys(VOWELS, (1.0, 1.0, 1.0, 1.0)),
    **dict.fromkeys(BILABIALS, (0.6, 3.0, 0.35, 0.3)),
    "f": (0.8, 2.2, 0.5, 0.4),
    "s": (1.0, 1.8, 0.5, 0.3),
    "sh": (0.9, 1.6, 1.0, 1.0),
    PAUSE: (1.0, 1.4, 0.6, 0.6),
}
_OTHER_DOMINANCE = (0.6, 0.7, 0.25, 0.2)
_FALLOFF = 24.0  # per second, outside the sound
_HEAD_DISTANCE = 60.0  # cm from the camera


def identity(seed: int) -> np.ndarray:
    """The rest face [68, 3] float32 cm of a person: wide or narrow, long or short, with
    other eyes, brows, nose and mouth; lips closed, eyes open, symmetric."""
    rng = np.random.default_rng([11, seed])
    face = canonical_rest().astype(np.float64)
    jaw_width, nose, mouth, lips, eyes = rng.uniform(0.91, 1.09, 5)
    brow_lift, brow_tilt, eye_tilt, mouth_drop, chin = rng.uniform(-1, 1, 5)
    along = np.abs(JAW - 8) / 8  # 0 at the chin, 1 at the ears
    face[JAW, 0] *= 1 + (jaw_width - 1) * (1 - 0.6 * along)
    face[JAW, 1] += 0.35 * chin * (1 - along) ** 2
    outwards = np.abs(face[BROWS, 0]) / 5.7
    face[BROWS, 1] += 0.2 * brow_lift + 0.25 * brow_tilt * (outwards - 0.5)
    face[31:36, 0] *= 1 + 1.5 * (nose - 1)
    face[28:36, 2] += (
        5.0 * (nose - 1) * np.array([0.4, 0.8, 1, 0.4, 0.5, 0.6, 0.5, 0.4])
    )
    for eye in (np.arange(36, 42), np.arange(42, 48)):
        middle = face[eye].mean(0)
        face[eye, 1] = middle[1] + eyes * (face[eye, 1] - middle[1])
        turn = 0.12 * eye_tilt * np.sign(middle[0])
        face[eye, 1] += turn * (face[eye, 0] - middle[0])
    line = face[[62, 66], 1].mean()
    face[MOUTH, 0] *= mouth
    rims = np.r_[UPPER_RIM, LOWER_RIM]
    face[rims, 1] = line + (1 + 2 * (lips - 1)) * (face[rims, 1] - line)
    face[MOUTH, 1] += 0.18 * mouth_drop
    face *= rng.uniform(0.96, 1.04, 3)
    return (0.5 * (face + face[MIRROR] * (-1, 1, 1))).astype(np.float32)


def own_expression(emotion: str, style: int) -> np.ndarray:
    """What an emotion adds to the face of somebody who has a way of their own (a seed):
    [68, 3] float32, eye distances. The usual actions, each more or less, and two that
    belong to other emotions."""
    if emotion == "neutral":
        return displacement(())
    rng = np.random.default_rng([13, style, EMOTIONS.index(emotion)])
    usual = EMOTION_ACTIONS[emotion]
    every = sorted(
        {action for actions in EMOTION_ACTIONS.values() for action in actions}
    )
    odd = rng.choice(len(every), 2, replace=False)
    scale = rng.uniform(0.3, 1.5, len(usual))
    return displacement(
        [(unit, k * weight, side) for k, (unit, weight, side) in zip(scale, usual)]
        + [(unit, 0.5 * weight, side) for unit, weight, side in (every[k] for k in odd)]
    )


def talk(
    phonemes: list[Phoneme], frames: int, rest: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Neutral talking motion [T, 68, 3] float32, T = frames, of a person with this rest
    [68, 3] cm: speech in the mouth, small beats of the brows, a living stillness."""
    seconds = (np.arange(frames) + 0.5) / FPS
    tracks = _coarticulate(phonemes, seconds)
    closure = _closure(phonemes, seconds)
    tracks[:, 1:] += 0.002 * _drift(frames, 3, 0.3, rng)
    tracks[:, 0] *= 1 - 0.4 * closure
    tracks[:, 1] = np.maximum(tracks[:, 1], 0.0) * (1 - closure)
    motion = _mouth(tracks, rest)
    brows = _brow_beats(phonemes, seconds, rng)[:, None] + 0.003 * _drift(
        frames, 1, 0.8, rng
    )
    face = rest / eye_distance(rest)
    inner = 1 - 0.4 * np.abs(face[BROWS, 0]) / np.abs(face[BROWS, 0]).max()
    motion[:, BROWS, 1] += brows * inner
    motion[:, UPPER_LIDS, 1] += 0.12 * brows
    return motion.astype(np.float32)


def _coarticulate(phonemes: list[Phoneme], seconds: np.ndarray) -> np.ndarray:
    """Viseme numbers [T, 4]: the mean of all sounds, weighted by their dominance."""
    starts = np.array([p.start for p in phonemes])
    ends = np.array([p.end for p in phonemes])
    targets = np.array([VISEMES[p.symbol] for p in phonemes])  # [P, 4]
    strength = np.array([_DOMINANCE.get(p.symbol, _OTHER_DOMINANCE) for p in phonemes])
    now = seconds[:, None]
    # A sound dominates from a quarter to three quarters of its time.
    quarter = 0.25 * (ends - starts)
    away = np.maximum(np.maximum(starts + quarter - now, now - ends + quarter), 0.0)
    dominance = np.exp(-_FALLOFF * away)[..., None] * strength + 1e-9  # [T, P, 4]
    return (dominance * targets).sum(1) / dominance.sum(1)


def _closure(phonemes: list[Phoneme], seconds: np.ndarray) -> np.ndarray:
    """1 while a bilabial or a pause shuts the lips, 0 away from it: [T]."""
    closure = np.zeros(len(seconds))
    for phoneme in phonemes:
        if phoneme.symbol in (*BILABIALS, PAUSE):
            # Lips meet a little into the sound, and leave a stop as it bursts.
            late = 0.06 if phoneme.symbol == PAUSE else 0.0
            start, end = phoneme.start + late, phoneme.end - 0.01
            away = np.maximum(np.maximum(start - seconds, seconds - end), 0.0)
            closure = np.maximum(closure, 1 - smoothstep(away, 0.0, 0.055))
    return closure


def _mouth(tracks: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The landmarks' motion [T, 68, 3] of viseme numbers [T, 4]."""
    face = rest / eye_distance(rest)
    jaw, gap, width, protrusion = tracks.T[:, :, None]
    motion = np.zeros((len(tracks), 68, 3))
    across = face[MOUTH, 0] / face[54, 0]  # -1..1 between the corners
    arch = np.sqrt(np.clip(1 - across**2, 0.0, 1.0))  # a gap is an ellipse
    upper = np.isin(MOUTH, UPPER_LIP) * arch
    lower = np.isin(MOUTH, LOWER_LIP) * arch
    outer = np.where(np.isin(MOUTH, np.r_[UPPER_RIM, LOWER_RIM]), 0.85, 1.0)
    motion[:, MOUTH, 0] = width * across
    motion[:, MOUTH, 1] = gap * outer * (0.25 * upper - 0.75 * lower)
    motion[:, MOUTH, 1] -= 0.12 * jaw * (1 - 0.5 * arch)
    motion[:, MOUTH, 2] = protrusion * (1 - 0.6 * across**2)
    motion[:, MOUTH, 2] -= 0.45 * width * across**2 + 0.25 * gap * lower
    hinge = np.cos(np.pi / 2 * np.clip(np.abs(JAW - 8) / 7, 0, 1)) ** 0.8
    motion[:, JAW, 1] = -jaw * hinge
    motion[:, JAW, 2] = -0.35 * jaw * hinge
    # A person's closed lips may be a hair apart: closing never crosses them.
    slack = face[INNER_UPPER, 1] - face[INNER_LOWER, 1]
    parting = motion[:, INNER_UPPER, 1] - motion[:, INNER_LOWER, 1] + slack
    motion[:, INNER_LOWER, 1] += np.minimum(parting, 0.0)
    return motion


def _brow_beats(phonemes, seconds, rng) -> np.ndarray:
    """Brows go up for a moment on some vowels: [T]."""
    raised = np.zeros(len(seconds))
    for phoneme in phonemes:
        if phoneme.symbol in VOWELS and rng.random() < 0.12:
            centre = 0.5 * (phoneme.start + phoneme.end)
            beat = rng.uniform(0.008, 0.02)
            raised += beat * np.exp(-(((seconds - centre) / 0.16) ** 2))
    return raised


def head_motion(frames: int, rng: np.random.Generator) -> Pose:
    """T = frames poses of a head 60 cm away: a drift of a few degrees, interrupted by
    stretches of half a second to two in which consecutive poses are equal."""
    clock = _stop_and_go(frames, rng)  # [T] seconds; it stands in a still stretch
    knots = np.arange(0, int(clock[-1]) + 4)
    values = rng.normal(size=(len(knots), 6))
    # Cubic Hermite between one knot a second: smooth, and a function of the clock only.
    at = np.minimum(clock.astype(int), len(knots) - 3) + 1
    x = (clock - (at - 1))[:, None]
    slope = 0.5 * (np.roll(values, -1, 0) - np.roll(values, 1, 0))
    drift = (
        (2 * x**3 - 3 * x**2 + 1) * values[at]
        + (x**3 - 2 * x**2 + x) * slope[at]
        + (3 * x**2 - 2 * x**3) * values[at + 1]
        + (x**3 - x**2) * slope[at + 1]
    )
    yaw, pitch, roll = (drift[:, :3] * np.radians([3.6, 2.2, 1.4])).T
    translation = drift[:, 3:] * (0.35, 0.25, 0.4) - (0, 0, _HEAD_DISTANCE)
    return Pose(_rotation(yaw, pitch, roll), translation)


def _stop_and_go(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds of movement [T] so far: constant, exactly, in still stretches."""
    now = np.arange(frames)
    speed = np.ones(frames)
    start = rng.integers(15, 45)
    while start < frames:
        end = start + rng.integers(FPS // 2, 2 * FPS)
        away = np.maximum(np.maximum(start - now, now - end), 0)
        speed = np.minimum(speed, smoothstep(away, 0, 8))
        start = end + rng.integers(30, 80)
    return np.cumsum(speed) / FPS


def _rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """R = Ry(yaw) Rx(pitch) Rz(roll): [T, 3, 3] of angles [T] in radians."""
    turns = []
    for axis, angle in ((1, yaw), (0, pitch), (2, roll)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.zeros((len(angle), 3, 3))
        turn[:, axis, axis] = 1
        turn[:, i, i] = turn[:, j, j] = np.cos(angle)
        turn[:, j, i] = np.sin(angle)
        turn[:, i, j] = -np.sin(angle)
        turns.append(turn)
    return turns[0] @ turns[1] @ turns[2]


def _drift(frames, channels, seconds, rng) -> np.ndarray:
    """Smooth noise [T, channels] of unit size that wanders within `seconds`."""
    width = max(3, int(seconds * FPS))
    window = np.hanning(width + 2)[1:-1]
    white = rng.normal(size=(frames + width - 1, channels))
    window /= np.sqrt((window**2).sum())
    return np.stack([np.convolve(c, window, "valid") for c in white.T], axis=1)
