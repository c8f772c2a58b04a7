"""The generic deformation model: learned from the facial-action prior, once a machine."""

from pathlib import Path

import numpy as np

from emogene_jax.motion_to_emotion.expressions import (
    canonical_rest,
    emotion_displacement,
)
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage, prior_pairs
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
