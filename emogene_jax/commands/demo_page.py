"""The demo's numbers, against the truth of the synthetic world, and its page."""

from pathlib import Path

import numpy as np

from emogene_jax import pipeline
from emogene_jax.audio.features import audio_features
from emogene_jax.evaluate.reconstruction import evaluate_fields
from emogene_jax.evaluate.report import metrics_table, training_curves, write_report
from emogene_jax.landmarks import MOUTH
from emogene_jax.recipes.recipe import model_of
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.portrait import synthetic_portrait
from emogene_jax.synthetic.takes import Take
from emogene_jax.train import checkpoint

SMALLEST_OFFSET = 3  # frames
MOVING = 0.02  # eye distances: how far a true mouth moves within a window that counts


def mouth_error_ratio(avatar, take: Take, seed: int) -> float:
    """Error of the mouth made from speech, over that of a mouth at rest."""
    made = pipeline.neutral_motion(avatar, audio_features(take.waveform), seed)
    true = take.neutral_motion[:, MOUTH]
    error = np.linalg.norm(made[:, MOUTH] - true, axis=-1).mean()
    return float(error / np.linalg.norm(true, axis=-1).mean())


def emotion_accuracy(avatar, take: Take, emotional: dict[str, Take]) -> float:
    """Share of frames whose deformed true motion is nearest to the emotion asked for.

    emotional: {emotion: the true take of the same moments}."""
    truth = np.stack([emotional[name].motion for name in EMOTIONS])  # [E, T, 68, 3]
    right = []
    for index in range(len(EMOTIONS)):
        weights = np.eye(len(EMOTIONS), dtype=np.float32)[[index] * truth.shape[1]]
        ones = np.ones(len(weights), np.float32)
        made = pipeline.deform(avatar.deformation, take.neutral_motion, weights, ones)
        far = np.square(truth - np.asarray(made)).sum((-1, -2))  # [E, T]
        right.append(far.argmin(0) == index)
    return float(np.mean(right))


def sync_accuracy(expert: Path, takes: list[Take]) -> float:
    """How often the expert tells a window's true sound from that of windows at least
    SMALLEST_OFFSET frames off, over the windows in which the true mouth moves."""
    from emogene_jax.audio_to_motion.lip_sync import (
        WINDOW,
        LipSync,
        offset_accuracy,
        window_embeddings,
    )

    saved, won = checkpoint.load(expert), []
    model = LipSync(**model_of(saved, expert, "channels"))
    trained = model, saved.params, saved.aux
    for take in takes:
        sound = audio_features(take.waveform)
        pairs = window_embeddings(*trained, sound.content, take.motion)
        scores = offset_accuracy(*pairs, SMALLEST_OFFSET)
        mouth = take.motion[:, MOUTH].reshape(len(take.motion), -1)
        parts = np.lib.stride_tricks.sliding_window_view(mouth, WINDOW, axis=0)
        moves = np.ptp(parts, axis=-1).max(-1) > MOVING
        won.append(np.asarray(scores)[moves])
    return float(np.nanmean(np.concatenate(won)))


def evaluate_demo(
    avatar,
    expert: Path,
    unheard: dict[str, Take],
    others: list[Take],
    size: int,
    out: Path,
    seed: int,
):
    """metrics.json of the demo. Nothing that is measured here was learned from.

    Args:
        expert: the lip-sync expert's work directory.
        unheard: {emotion: the sentence of the videos, said so}; others: more sentences,
            for the expert. size: of the picture, px.
    """
    # Frames of the unheard sentence, as filmed in every emotion.
    shown = synthetic_portrait(seed, size, takes=list(unheard.values()))
    metrics = evaluate_fields(avatar.fields, shown, out, track=False)
    for name in ("frames", "clips"):
        metrics.pop(name)
    neutral = unheard["neutral"]
    metrics["mouth_error_ratio"] = mouth_error_ratio(avatar, neutral, seed)
    metrics["emotion_accuracy"] = emotion_accuracy(avatar, neutral, unheard)
    metrics["sync_accuracy"] = sync_accuracy(expert, others)
    return metrics


def write_page(out: Path, videos, sheet: Path, metrics: dict, work: Path) -> None:
    """index.html: videos, contact sheet, curves, numbers."""
    write_report(
        out,
        videos,
        [("frames of every video", sheet)],
        training_curves(work, metrics["train_seconds"]),
        [metrics_table(metrics, "On a sentence and frames that no stage learned from")],
        notes=[
            "One sentence, one seed, one head motion: only the emotion differs from "
            "video to video. The idle video has nothing to say.",
            f"Made on {metrics['device']} in {metrics['seconds']:.0f} s.",
        ],
        summary="A synthetic character, learned from synthetic video, says a sentence "
        "that it was never heard to say, in eight emotions.",
    )
