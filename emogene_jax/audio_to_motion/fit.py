"""A person's own way of moving the mouth: the VAE, learned from one portrait's sound."""

from pathlib import Path

import numpy as np

from emogene_jax.audio_to_motion.stage import audio_to_motion_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import Optimizer

# A few minutes of one person don't fill the paper's width, and a laptop can't pay for it.
PERSON_SIZE = {
    "hidden": 96,
    "encoder_layers": 4,
    "decoder_layers": 3,
    "condition": 64,
    "flow_hidden": 48,
    "flow_layers": 2,
    "motion_scale": 20.0,
    "downsample": "stack",
}


def fit_person(
    content: np.ndarray,
    f0: np.ndarray,
    motion: np.ndarray,
    clip: np.ndarray,
    workdir: Path,
    steps: int,
    frames: int = 50,
    seed: int = 0,
) -> tuple[dict, TrainResult]:
    """Train a small VAE on one person.

    Args:
        content: [2T, F]; f0: [2T] Hz; motion: [T, 68, 3] eye distances, without blinks.
        clip: [T]; windows of `frames` frames never cross from clip to clip.

    Returns:
        the model's sizes, and the training's result.
    """
    frames = min(frames, int(np.bincount(clip).max()))
    start = np.arange(len(clip) - frames + 1)
    resident = {
        "content": content.astype(np.float32),
        "f0": f0.astype(np.float32),
        "motion": motion.reshape(len(motion), -1).astype(np.float32),
        "blink": np.zeros(len(motion), np.int32),
        "start_ok": start[clip[start] == clip[start + frames - 1]].astype(np.int32),
    }
    result = train(
        audio_to_motion_stage(
            AudioToMotion(**PERSON_SIZE),
            batch_size=16,
            frames=frames,
            mouth_weight=3.0,
            kl_weight=0.002,
            shape_weight=0.3,
            spoken_share=0.5,
            content_noise=0.3,
            pitch_dropout=0.5,
        ),
        workdir=Path(workdir),
        steps=steps,
        batch_source=resident,
        optimizer=Optimizer(
            learning_rate=2e-3, warmup_steps=40, final_fraction=0.02, b2=0.99
        ),
        ema=0.995,
        seed=seed,
        ckpt_steps=500,
        val_steps=steps,
        scan_steps=25,
        label="audio to motion",
    )
    return PERSON_SIZE, result
