"""`emogene train`: one stage, from a config, on all devices."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp

from emogene_jax import parallel
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import Optimizer


def train_from_config(config, workdir, profile: bool = False) -> TrainResult:
    """Train the stage that `config.name` says (configs/), in work directory `workdir`;
    with `profile`, a trace of some steps is left there (train.loop)."""
    parallel.connect()
    parallel.enable_compilation_cache()
    name = getattr(config, "name", None)
    if name not in _BUILDERS:
        raise UserError(f"config: found name {name!r}, expected {', '.join(_BUILDERS)}")
    stage, data, validation, frozen = _BUILDERS[name](config, Path(workdir))
    result = train(
        stage,
        workdir=Path(workdir),
        batch_source=data,
        val_batches=validation,
        frozen=frozen,
        seed=config.seed,
        optimizer=Optimizer(**config.optimizer.to_dict()),
        config=config.to_dict(),
        label=config.name,
        profile=profile,
        **config.train.to_dict(),
    )
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    if parallel.is_main_process():
        print(f"{workdir}: {config.train.steps} steps; {scores}")
    return result


def _lip_sync(config, workdir):
    from emogene_jax.audio_to_motion.lip_sync import LipSync
    from emogene_jax.audio_to_motion.stage import lip_sync_stage

    stage = lip_sync_stage(LipSync(**config.model.to_dict()), **config.stage.to_dict())
    data, validation = _clips(config, workdir)
    return stage, data, validation, None


def _audio_to_motion(config, workdir):
    from emogene_jax.audio_to_motion.lip_sync import LipSync
    from emogene_jax.audio_to_motion.stage import audio_to_motion_stage
    from emogene_jax.audio_to_motion.vae import AudioToMotion
    from emogene_jax.motion_to_emotion.expressions import canonical_rest

    model = AudioToMotion(**config.model.to_dict())
    data, validation = _clips(config, workdir)
    channels = config.content.channels
    expert, frozen = None, None
    if config.frozen.lip_sync:
        saved = checkpoint.load(config.frozen.lip_sync)
        expert = LipSync(**_model_of(saved, config.frozen.lip_sync, "channels"))
        frozen = {"params": saved.params, "aux": saved.aux}
        first = saved.params["hubert_encoder"]["layers_0"]["conv"]["kernel"]
        if first.shape[1] != channels:
            raise UserError(
                f"{config.frozen.lip_sync}: an expert that hears {first.shape[1]} "
                f"channels, the data has {channels}: expected the same"
            )
        # Imported experts have no record, and are trusted.
        loss = saved.config.get("metrics", {}).get("val_loss", 0.0)
        if loss > config.frozen.largest_sync_loss:
            warnings.warn(
                f"{config.frozen.lip_sync}: its validation loss {loss:.2f} is above "
                f"{config.frozen.largest_sync_loss:g}: trained without the sync loss",
                stacklevel=2,
            )
            frozen = None
    stage = audio_to_motion_stage(
        model, expert, **config.stage.to_dict(), face=canonical_rest()
    )
    return stage, data, validation, frozen


def _motion_to_emotion(config, workdir):
    from emogene_jax.data.batches import pair_batches
    from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage

    stage = motion_to_emotion_stage(**config.model.to_dict(), **config.stage.to_dict())
    return stage, *_records(config, workdir, pair_batches), None


def _head(config, workdir):
    from emogene_jax.emotion_to_video.fit import person_rig, resident
    from emogene_jax.emotion_to_video.head import HeadSize
    from emogene_jax.emotion_to_video.stage import head_stage
    from emogene_jax.emotion_to_video.stream import fed
    from emogene_jax.emotion_to_video.torso import fit_pose_code

    portrait = _portrait(config)
    rig = person_rig(portrait)
    size = HeadSize(**config.model.to_dict())
    stage = head_stage(portrait.camera, size, **config.stage.to_dict())
    data = resident(portrait, rig, fit_pose_code(portrait.pose))
    room = config.stage.frames, config.seed, config.resident_bytes
    return *fed(stage, [data], *room), (), {"rig": jax.tree.map(jnp.asarray, rig)}


def _torso(config, workdir):
    from emogene_jax.emotion_to_video import fit
    from emogene_jax.emotion_to_video.head import HeadSize
    from emogene_jax.emotion_to_video.stage import torso_stage
    from emogene_jax.emotion_to_video.stream import fed
    from emogene_jax.emotion_to_video.torso import (
        TorsoSize,
        fit_pose_code,
        torso_rows,
    )

    if not config.frozen.head:
        raise UserError("config torso: frozen.head must name the head's work directory")
    portrait = _portrait(config)
    rig, code = fit.person_rig(portrait), fit_pose_code(portrait.pose)
    saved = checkpoint.load(config.frozen.head)
    size = TorsoSize(**config.model.to_dict(), rows=torso_rows(portrait.torso_matte))
    fields = fit.Fields(
        rig,
        saved.params,
        saved.aux["density"],
        None,
        code,
        portrait.camera,
        portrait.background,
        HeadSize(**_model_of(saved, config.frozen.head)),
        size,
        saved.config["config"]["stage"]["samples"],
    )
    data = fit.resident(portrait, rig, code)
    data["heads"] = fit.rendered_heads(fields, portrait)
    stage = torso_stage(portrait.camera, size, **config.stage.to_dict())
    room = config.stage.frames, config.seed, config.resident_bytes
    return *fed(stage, [data], *room), (), None


_BUILDERS = {
    "lip_sync": _lip_sync,
    "audio_to_motion": _audio_to_motion,
    "motion_to_emotion": _motion_to_emotion,
    "head": _head,
    "torso": _torso,
}


def _portrait(config):
    """The prepared portrait that a config names, or one of the synthetic world."""
    from emogene_jax.data.pack import load_portrait

    if config.data != "synthetic":
        return load_portrait(config.data)
    from emogene_jax.data.synthetic_portrait import synthetic_portrait

    return synthetic_portrait(seed=config.seed, size=64, sentences=4)


def _clips(config, workdir):
    """Batches of clips; the config then says which content features they have, so that
    this is kept with what is learned from them."""
    from emogene_jax.audio.features import content_of
    from emogene_jax.data.batches import clip_batches

    data, validation = _records(config, workdir, clip_batches)
    with config.unlocked():
        config.content = content_of(validation[0]["content"].shape[-1])
    return data, validation


def _records(config, workdir, batches_of):
    """(training batches, validation batches) of the records that a config names."""
    from emogene_jax.data.records import World, write_synthetic

    records = Path(config.data)
    if config.data == "synthetic":
        world = World(**config.world.to_dict())
        records = parallel.first_host_first(
            lambda: write_synthetic(world, workdir / "data")
        )
    hosts = parallel.host()
    options = config.batch.to_dict()
    batches = batches_of(records, "train", seed=config.seed, hosts=hosts, **options)
    held = batches_of(records, "validation", seed=config.seed, **options)(0)
    return batches, [next(held) for _ in range(VALIDATION_BATCHES)]


VALIDATION_BATCHES = 4


def _model_of(saved, workdir, name: str | None = None) -> dict:
    """The model sizes that a work directory's config has; `name` is one of them."""
    sizes = saved.config.get("config", {}).get("model")
    if sizes is None or (name is not None and name not in sizes):
        raise UserError(f"{workdir}: its config names no {name or 'model sizes'}")
    return dict(sizes)
