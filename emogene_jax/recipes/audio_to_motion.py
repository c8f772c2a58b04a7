"""The audio-to-motion VAE, of a corpus or of one person, from nothing or from a generic
one: configs/audio_to_motion.py -> what is trained on what."""

import warnings
from pathlib import Path

import numpy as np

from emogene_jax.audio.features import same_content
from emogene_jax.audio_to_motion.generic import (
    BUILT_IN,
    Expert,
    Voice,
    as_far,
    between,
    built_in,
    built_in_expert,
)
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import audio_to_motion_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.motion_to_emotion.expressions import canonical_rest
from emogene_jax.portrait.pack import is_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import Takes, takes_of
from emogene_jax.recipes.recipe import (
    Recipe,
    model_of,
    of_same_content,
    portrait_parts,
    records,
)
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint


def build(config, workdir: Path) -> Recipe:
    """The recipe of a config (recipe.Recipe).

    Raises:
        UserError: the expert has learned from other content than the data has.
    """
    options, start, sizes = config.stage.to_dict(), None, config.model.to_dict()
    if config.frozen.generic:
        start = voice_of(config.frozen.generic)
        sizes = dict(start.sizes)
    if is_portrait(config.data):
        data, held, frames, content = _person(config, workdir)
        options |= {"batch_size": config.batch.batch_size, "frames": frames}
    else:
        from emogene_jax.input.batches import clip_batches, records_content

        data, held, folder = records(config, workdir, clip_batches)
        content = records_content(folder)
    expert, frozen = _expert(config, content)
    if start:
        of_same_content(config, content, start.content, config.frozen.generic)
        if is_portrait(config.data):
            sizes = as_far(start, data["content"], data["f0"], data["motion"]).sizes
        with config.unlocked():
            config.model = sizes
    model = AudioToMotion(**sizes)
    stage = audio_to_motion_stage(model, expert, **options, face=canonical_rest())
    initial = start and (start.trained["params"], start.trained["aux"])
    # Kept beside what is learned, of which it becomes a part (saved_voice).
    fixed = start.trained if start and config.generic_share else None
    return Recipe(stage, data, held, frozen, initial=initial, fixed=fixed)


def arg_of(training: Portrait) -> str:
    """The config's argument by which a portrait's person is learned: adapted from the
    built-in model, or from nothing where that hears other content."""
    if same_content(training.info["content"], built_in().content) is None:
        return "adapted"
    return f"person,frames={len(training.clip)}"


def voice_of(place) -> Voice:
    """The generic model that a config names: the built-in one, or a work directory's.

    Raises:
        UserError: that is of another stage, or does not say what it hears.
    """
    return (
        built_in() if place == BUILT_IN else saved_voice(checkpoint.load(place), place)
    )


def saved_voice(saved: checkpoint.Saved, place) -> Voice:
    """The voice that a work directory, `place`, holds.

    Raises:
        UserError: it is of another stage, or does not say what it hears.
    """
    config = saved.config.get("config", {})
    if "encoder_layers" not in config.get("model", {}) or "content" not in config:
        raise UserError(f"{place}: expected a work directory of audio_to_motion")
    trained = {"params": saved.params, "aux": saved.aux}
    if saved.fixed is not None:
        trained = between(saved.fixed, trained, config["generic_share"])
    return Voice(dict(config["model"]), trained, config["content"])


def of_person(voice: Voice, training: Portrait) -> Voice:
    """A voice that moves a portrait's person as far as they do, if that can be told."""
    if not len(training.waveform) or same_content(
        training.info["content"], voice.content
    ):
        return voice
    heard = _heard(training, takes_of(training))
    return as_far(voice, heard["content"], heard["f0"], heard["motion"])


def expert_of(place) -> Expert:
    """The lip-sync expert that a work directory holds.

    Raises:
        UserError: it is of another stage.
    """
    saved = checkpoint.load(place)
    sizes = model_of(saved, place, "channels")
    trained = {"params": saved.params, "aux": saved.aux}
    return Expert(sizes, trained, saved.config["config"]["content"])


def _expert(config, content: dict):
    """(module, {"params", "aux"}) of the lip-sync expert that a config names; None for
    none, for one that knows too little, and for the built-in one if that hears others."""
    place = config.frozen.lip_sync
    built = place == BUILT_IN
    saved = place and not built and checkpoint.load(place)
    heard = saved.config.get("config", {}).get("content") if saved else None
    of_same_content(config, content, heard, place)
    if saved:
        return _trusted(config, saved)
    if not built or same_content(content, built_in_expert().content):
        return None, None
    return LipSync(**built_in_expert().sizes), built_in_expert().trained


def _trusted(config, saved: checkpoint.Saved):
    """(the expert's module, {"params", "aux"}); None for one that knows too little."""
    place = config.frozen.lip_sync
    expert = LipSync(**model_of(saved, place, "channels"))
    first = saved.params["hubert_encoder"]["layers_0"]["conv"]["kernel"]
    if first.shape[1] != config.content.channels:
        raise UserError(
            f"{place}: an expert that hears {first.shape[1]} channels, the data has "
            f"{config.content.channels}: expected the same"
        )
    # Of held-out clips, in evaluation mode. Imported experts have no record, and are
    # trusted.
    loss = saved.config.get("metrics", {}).get("val_loss", 0.0)
    if loss <= config.frozen.largest_sync_loss:
        return expert, {"params": saved.params, "aux": saved.aux}
    warnings.warn(
        f"{place}: its validation loss {loss:.2f} is above "
        f"{config.frozen.largest_sync_loss:g}: trained without the sync loss",
        stacklevel=2,
    )
    return expert, None


def _person(config, workdir: Path):
    """(resident data, held-out batches, frames of a window, content) of a portrait."""
    training, held, folder = portrait_parts(config, workdir, pictures=False)
    if not len(training.waveform):
        raise UserError(f"{folder}: no sound track, expected speech")
    # Of an emotional take the neutral motion behind it, or nothing.
    takes = takes_of(training)
    clip = training.clip[takes.known]
    frames = min(config.batch.frames[0], int(np.bincount(clip).max()))
    start = np.arange(len(clip) - frames + 1)
    resident = _heard(training, takes) | {
        "start_ok": start[clip[start] == clip[start + frames - 1]].astype(np.int32)
    }
    return resident, _windows(held, frames), frames, training.info["content"]


def _heard(portrait: Portrait, takes: Takes) -> dict:
    """Sound [2T, …] and neutral motion [T, …] of the frames of which that is known."""
    steps, count = np.repeat(takes.known, 2), int(takes.known.sum())
    return {
        "content": portrait.content[steps].astype(np.float32),
        "f0": portrait.f0[steps].astype(np.float32),
        "motion": takes.neutral[takes.known].reshape(count, -1).astype(np.float32),
        "blink": np.zeros(count, np.int32),  # lids are open (portrait.takes)
    }


def _windows(held: Portrait | None, frames: int) -> list[dict]:
    """The held-out end as one batch of windows in a row; shorter ones, where it is."""
    if held is None:
        return []
    takes = takes_of(held)
    length = min(frames, int(takes.known.sum()))
    if length < 2:
        return []
    count = int(takes.known.sum()) // length

    def rows(array: np.ndarray, rate: int) -> np.ndarray:
        kept = array[: count * length * rate]
        return kept.reshape(count, length * rate, *array.shape[1:])

    heard = _heard(held, takes)
    rates = {"content": 2, "f0": 2, "motion": 1, "blink": 1}
    batch = {name: rows(heard[name], rate) for name, rate in rates.items()}
    batch["mask"] = np.ones((count, length), np.float32)
    return [batch | {"speaker": np.zeros(count, np.int32)}]
