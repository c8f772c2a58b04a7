"""Pairs of neutral and emotional motion that are made up: what a table of facial actions
does to any face, and one person's own emotions, of few frames many.
"""

import numpy as np

from emogene_jax.motion_to_emotion.deformation import LANDMARK_SIZE, deform
from emogene_jax.motion_to_emotion.expressions import (
    add_expression,
    canonical_rest,
    emotion_displacement,
    express,
)
from emogene_jax.motion_to_emotion.stage import NEUTRAL
from emogene_jax.signals import EMOTIONS

_ROWS = 2048  # pairs of each emotion


def facial_action_pairs(motion: np.ndarray, seed: int, times: int = 6) -> dict:
    """Resident pairs out of the table of facial actions, of neutral motion [T, 68, 3].

    Tracked faces move in ways that no synthetic talker does, so the motion is varied,
    `times` times: scaled, tilted, and roughened as a tracker does it.
    """
    rng = np.random.default_rng(seed)
    pairs = [prior_pairs(varied_motion(motion, rng), rng) for _ in range(times)]
    return {name: np.concatenate([p[name] for p in pairs]) for name in pairs[0]}


def own_emotion_pairs(generic: dict, shown: dict[str, np.ndarray], seed: int) -> dict:
    """Resident pairs of one person's emotions as they were filmed, and of the others as a
    generic model has them, so that they stay.

    Args:
        generic: parameters of a deformation model.
        shown: neutral [N, 68, 3], added [N, 68, 3] (eye distances), emotion [N],
            intensity [N] of the person (portrait.takes.added_by_emotion).
    """
    rng = np.random.default_rng(seed)
    own = set(np.unique(shown["emotion"]).tolist())
    parts = []
    for emotion in range(len(EMOTIONS)):
        if emotion in own:
            parts.append(_own_pairs(shown, emotion, rng))
        elif emotion != NEUTRAL:  # neutral is taught beside every batch
            parts.append(_generic_pairs(generic, shown["neutral"], emotion, rng))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _own_pairs(shown: dict, emotion: int, rng: np.random.Generator) -> dict:
    """Pairs of an emotion as it was shown, weaker and a little stronger too."""
    rows = rng.choice(np.flatnonzero(shown["emotion"] == emotion), _ROWS)
    scale = rng.uniform(0.4, 1.1, _ROWS).astype(np.float32)
    neutral = varied_motion(shown["neutral"][rows], rng)
    emotional = add_expression(neutral, scale[:, None, None] * shown["added"][rows])
    return _pairs(neutral, emotional, emotion, scale * shown["intensity"][rows])


def _generic_pairs(generic, motion, emotion: int, rng: np.random.Generator) -> dict:
    """Pairs of an emotion as the generic model has it."""
    neutral = varied_motion(motion[rng.choice(len(motion), _ROWS)], rng)
    intensity = rng.uniform(0.3, 1.2, _ROWS).astype(np.float32)
    weights = np.eye(len(EMOTIONS), dtype=np.float32)[np.full(_ROWS, emotion)]
    emotional = np.asarray(deform(generic, neutral, weights, intensity))
    return _pairs(neutral, emotional, emotion, intensity)


def _pairs(neutral, emotional, emotion: int, intensity) -> dict:
    return {
        "neutral": neutral.reshape(-1, LANDMARK_SIZE),
        "emotional": emotional.reshape(-1, LANDMARK_SIZE),
        "emotion": np.full(len(neutral), emotion, np.int32),
        "intensity": np.asarray(intensity, np.float32),
    }


def varied_motion(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Motion [T, 68, 3] as other people's trackers would report it."""
    count = len(motion)
    scale = rng.uniform(0.6, 1.4, (count, 1, 1))
    varied = motion * scale
    # A trace of another expression: nobody's neutral face is the mean of all.
    for name in EMOTIONS:
        share = rng.normal(0, 0.12, (count, 1, 1))
        varied = varied + share * emotion_displacement(name)
    # What is left of the rigid motion, and noise.
    face = canonical_rest()
    face = (face - face.mean(0)) / np.ptp(face[:, 0])
    turn = rng.normal(0, 0.02, (count, 3, 3))
    shift = rng.normal(0, 0.01, (count, 1, 3))
    noise = rng.normal(0, 0.004, varied.shape)
    return (varied + np.einsum("kj,tij->tki", face, turn) + shift + noise).astype(
        np.float32
    )


def prior_pairs(
    motion: np.ndarray, rng: np.random.Generator, intensities: tuple = (0.3, 1.2)
) -> dict[str, np.ndarray]:
    """A batch of pairs out of the facial-action prior: every frame of neutral motion
    [B, 68, 3] with a random emotion at a random intensity."""
    frames = len(motion)
    emotion = rng.integers(len(EMOTIONS), size=frames).astype(np.int32)
    intensity = rng.uniform(*intensities, size=frames).astype(np.float32)
    neutral = np.asarray(motion, np.float32)
    emotional = np.empty_like(neutral)
    for index, name in enumerate(EMOTIONS):
        mine = emotion == index
        emotional[mine] = express(neutral[mine], name, intensity[mine])
    return {
        "neutral": neutral.reshape(frames, LANDMARK_SIZE),
        "emotional": emotional.reshape(frames, LANDMARK_SIZE),
        "emotion": emotion,
        "intensity": intensity,
    }
