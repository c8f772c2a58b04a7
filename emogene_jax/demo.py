"""`emogene demo`: the whole system on the built-in synthetic world, no downloads.

It makes the data, trains all five stages small, renders an utterance that none of them
has heard in eight emotions and an idle clip, measures, and writes a page.
"""

import importlib
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emogene_jax import parallel
from emogene_jax.avatar import Avatar, save_avatar
from emogene_jax.create import versions
from emogene_jax.data.records import World, write_synthetic
from emogene_jax.data.synthetic import Take, make_take
from emogene_jax.data.synthetic_portrait import (
    SPEAKER,
    portrait_takes,
    synthetic_portrait,
)
from emogene_jax.emotion_to_video.fit import Plan
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.headers import write_json
from emogene_jax.pipeline import Lesson, learn, perform, perform_idle
from emogene_jax.signals import EMOTIONS, FPS, SAMPLE_RATE
from emogene_jax.train import checkpoint
from emogene_jax.training import train_from_config

IDLE_SECONDS = 4.0


class Preset(NamedTuple):
    """How large a demo is."""

    size: int  # px
    world: World
    sentences: int  # neutral ones that the character is filmed saying
    steps: dict  # of each stage
    models: dict  # overrides of the configs' paper-size models
    fields: Plan


PRESETS = {
    "full": Preset(
        size=64,
        world=World(
            speakers=6, sentences=12, validation_sentences=2, intensities=(1.0,)
        ),
        sentences=6,
        steps={"lip_sync": 400, "audio_to_motion": 700, "motion_to_emotion": 3000},
        models={
            "lip_sync.model.channels": 128,
            "lip_sync.batch.batch_size": 32,
            "audio_to_motion.model.hidden": 96,
            "audio_to_motion.model.encoder_layers": 4,
            "audio_to_motion.model.decoder_layers": 3,
            "audio_to_motion.model.condition": 64,
            "audio_to_motion.model.flow_hidden": 48,
            "audio_to_motion.model.flow_layers": 2,
            "audio_to_motion.batch.batch_size": 16,
            "audio_to_motion.batch.frames": (60,),
            "motion_to_emotion.batch.batch_size": 256,
        },
        fields=Plan(HeadSize(48, 8, 2), TorsoSize(16, 64), 1000, 1500),
    ),
    "tiny": Preset(
        size=32,
        world=World(
            speakers=2,
            sentences=2,
            validation_sentences=1,
            intensities=(1.0,),
            sentence_seconds=1.4,
        ),
        sentences=1,
        steps={"lip_sync": 4, "audio_to_motion": 4, "motion_to_emotion": 8},
        models={
            "lip_sync.model.channels": 32,
            "lip_sync.batch.batch_size": 8,
            "audio_to_motion.model.hidden": 16,
            "audio_to_motion.model.encoder_layers": 2,
            "audio_to_motion.model.decoder_layers": 1,
            "audio_to_motion.model.condition": 16,
            "audio_to_motion.model.flow_hidden": 8,
            "audio_to_motion.model.flow_layers": 1,
            "audio_to_motion.model.flow_blocks": 2,
            "audio_to_motion.batch.batch_size": 8,
            "audio_to_motion.batch.frames": (20,),
            "motion_to_emotion.batch.batch_size": 16,
        },
        fields=Plan(
            HeadSize(8, 4, 2, 4, 2, 8, 16),
            TorsoSize(8, 16, 4, 4, 8),
            4,
            4,
            head_rays=32,
            torso_rays=32,
            samples=8,
            shown_samples=8,
        ),
    ),
}


def run_demo(out, preset="full", seed=0):
    """Everything; `out` gets index.html, videos/, metrics.json, avatar/."""
    began = time.perf_counter()
    out, plan = Path(out), PRESETS[preset]
    work = out / "work"
    parallel.enable_compilation_cache()
    records = write_synthetic(plan.world._replace(seed=seed), work / "world")
    results = {
        name: train_from_config(_config(name, plan, records, work), work / name)
        for name in ("lip_sync", "audio_to_motion", "motion_to_emotion")
    }
    takes = portrait_takes(seed, plan.sentences, plan.world.sentence_seconds)
    filmed = synthetic_portrait(seed, plan.size, takes=takes)
    sizes = checkpoint.load(work / "audio_to_motion").config["config"]["model"]
    spoken = results["audio_to_motion"]
    avatar, more = learn(
        filmed,
        Lesson(plan.fields, 0),
        work,
        results["motion_to_emotion"].ema_params,
        (sizes, {"params": spoken.ema_params, "aux": spoken.aux}),
        seed=seed,
    )
    results |= more
    save_avatar(avatar, out / "avatar")
    unheard = {name: unheard_take(plan, seed, 0, name) for name in EMOTIONS}
    videos = make_videos(avatar, unheard["neutral"], out / "videos", seed)
    from emogene_jax.evaluate import demo as evaluation

    expert_size = checkpoint.load(work / "lip_sync").config["config"]["model"]
    others = [unheard_take(plan, seed, number) for number in range(3)]
    expert = (expert_size, results["lip_sync"])
    metrics = evaluation.evaluate_demo(
        avatar, expert, unheard, others, plan.size, out, seed
    )
    metrics["train_seconds"] = {n: round(r.seconds, 1) for n, r in results.items()}
    metrics["seconds"] = round(time.perf_counter() - began, 1)
    metrics |= {"device": parallel.describe(), "versions": versions()}
    write_json(out / "metrics.json", metrics)
    sheet = contact_sheet(videos, out / "contact_sheet.png")
    evaluation.write_page(out, videos, sheet, metrics, work)
    shutil.rmtree(work)
    print(f"{out / 'index.html'}: done in {metrics['seconds']:.0f} s")


def unheard_take(plan: Preset, seed: int, number: int, emotion="neutral") -> Take:
    """A sentence that no stage has learned from, by the character."""
    world = plan.world
    heard = world.sentences + world.validation_sentences + plan.sentences
    sentence, seconds = heard + len(EMOTIONS) + number, world.sentence_seconds
    return make_take(seed, SPEAKER, sentence, emotion, sentence_seconds=seconds)


def make_videos(avatar: Avatar, unheard: Take, folder: Path, seed: int):
    """[(label, path)] of the eight emotional videos and the idle one. All emotions have
    the same speech, seed and head poses, so that only the face differs."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.video import write_video

    renderer, features = Renderer(avatar.fields), audio_features(unheard.waveform)
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for name in EMOTIONS:
        performance = perform(avatar, features, [(0.0, name, 1.0)], seed)
        path = folder / f"{name}.mp4"
        frames = renderer.frames(*performance)
        write_video(path, frames, unheard.waveform, SAMPLE_RATE)
        videos.append((name, path))
    performance = perform_idle(avatar, round(IDLE_SECONDS * FPS), seed)
    write_video(folder / "idle.mp4", renderer.frames(*performance))
    return [*videos, ("idle", folder / "idle.mp4")]


def contact_sheet(videos, path: Path, columns: int = 8) -> Path:
    """Frames of every video side by side: a row per video, the same moments in each."""
    from emogene_jax.video import read_video

    rows = []
    for _, video in videos:
        frames, _ = read_video(video)
        some = np.linspace(0, len(frames) - 1, columns + 2).astype(int)[1:-1]
        rows.append(np.concatenate(list(frames[some]), 1))
    picture = Image.fromarray(np.concatenate(rows))
    zoom = max(1, 128 // (picture.width // columns))
    picture.resize((picture.width * zoom, picture.height * zoom), 3).save(path)
    return path


def _config(name: str, plan: Preset, records: Path, work: Path):
    """The stage's own config, made as small as the preset says."""
    config = importlib.import_module(f"emogene_jax.configs.{name}").get_config()
    small = {
        key.removeprefix(f"{name}."): value
        for key, value in plan.models.items()
        if key.startswith(f"{name}.")
    }
    steps = plan.steps[name]
    small |= {
        "data": str(records),
        "optimizer.warmup_steps": min(50, steps // 2),
        "optimizer.learning_rate": 1e-3,
        "train.steps": steps,
        "train.log_steps": max(1, steps // 20),
        "train.val_steps": steps,
        "train.ckpt_steps": steps,
        "train.ema": 0.99,
    }
    if name == "audio_to_motion":
        small |= {
            "frozen.lip_sync": str(work / "lip_sync"),
            "stage.mouth_weight": 3.0,
        }
    config.update_from_flattened_dict(small)
    return config
