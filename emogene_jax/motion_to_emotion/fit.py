"""The deformation model, learned: a generic one from the facial-action prior, once a
machine, and one person's from their own emotional takes."""

from pathlib import Path

import numpy as np

from emogene_jax.motion_to_emotion.deformation import LANDMARK_SIZE, deform
from emogene_jax.motion_to_emotion.expressions import (
    add_expression,
    canonical_rest,
    emotion_displacement,
)
from emogene_jax.motion_to_emotion.stage import (
    NEUTRAL,
    motion_to_emotion_stage,
    prior_pairs,
)
from emogene_jax.signals import EMOTIONS
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import Optimizer


def fit_prior(
    motion: np.ndarray, workdir: Path, steps: int = 2500, seed: int = 0
) -> TrainResult:
    """Train a deformation model on what the prior does to neutral motion [T, 68, 3].

    Tracked faces move in ways that no synthetic talker does, so the motion is varied:
    scaled, tilted, and roughened as a tracker does it.
    """
    rng = np.random.default_rng(seed)
    pairs = [prior_pairs(varied_motion(motion, rng), rng) for _ in range(6)]
    resident = {name: np.concatenate([p[name] for p in pairs]) for name in pairs[0]}
    return train(
        motion_to_emotion_stage(batch_size=256),
        workdir=Path(workdir),
        steps=steps,
        batch_source=resident,
        optimizer=Optimizer(learning_rate=2e-3, warmup_steps=50, final_fraction=0.02),
        ema=0.995,
        seed=seed,
        ckpt_steps=steps,
        val_steps=steps,
        log_steps=500,
        scan_steps=100,
        label="motion to emotion",
    )


def fit_style(
    prior: dict,
    shown: dict[str, np.ndarray],
    workdir: Path,
    steps: int = 1000,
    seed: int = 0,
) -> TrainResult:
    """Teach a deformation model one person's own emotions.

    Args:
        prior: parameters to start from; what it does in emotions that were not shown is
            what is taught for them, so that they stay.
        shown: neutral [N, 68, 3], added [N, 68, 3] (eye distances), emotion [N],
            intensity [N] of the person (data.pairs.added_by_emotion).
    """
    rng = np.random.default_rng(seed)
    hidden = prior["layer_0"]["kernel"].shape[1]
    own = set(np.unique(shown["emotion"]).tolist())
    parts = []
    for emotion in range(len(EMOTIONS)):
        if emotion in own:
            parts.append(_own_pairs(shown, emotion, rng))
        elif emotion != NEUTRAL:  # neutral is taught beside every batch
            parts.append(_prior_pairs(prior, shown["neutral"], emotion, rng))
    return train(
        motion_to_emotion_stage(hidden=hidden, batch_size=256),
        workdir=Path(workdir),
        steps=steps,
        batch_source={n: np.concatenate([p[n] for p in parts]) for n in parts[0]},
        initial=(prior, {}),
        optimizer=Optimizer(learning_rate=1e-3, warmup_steps=50, final_fraction=0.02),
        ema=0.99,
        seed=seed,
        ckpt_steps=steps,
        val_steps=steps,
        log_steps=500,
        scan_steps=100,
        label="own emotions",
    )


_ROWS = 2048  # pairs of each emotion


def _own_pairs(shown: dict, emotion: int, rng: np.random.Generator) -> dict:
    """Pairs of an emotion as it was shown, weaker and a little stronger too."""
    rows = rng.choice(np.flatnonzero(shown["emotion"] == emotion), _ROWS)
    scale = rng.uniform(0.4, 1.1, _ROWS).astype(np.float32)
    neutral = varied_motion(shown["neutral"][rows], rng)
    emotional = add_expression(neutral, scale[:, None, None] * shown["added"][rows])
    return _pairs(neutral, emotional, emotion, scale * shown["intensity"][rows])


def _prior_pairs(prior, motion, emotion: int, rng: np.random.Generator) -> dict:
    """Pairs of an emotion as the prior has it."""
    neutral = varied_motion(motion[rng.choice(len(motion), _ROWS)], rng)
    intensity = rng.uniform(0.3, 1.2, _ROWS).astype(np.float32)
    weights = np.eye(len(EMOTIONS), dtype=np.float32)[np.full(_ROWS, emotion)]
    emotional = np.asarray(deform(prior, neutral, weights, intensity))
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
