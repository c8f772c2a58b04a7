"""Work directories, however they were trained, become an avatar.

Each says in its config what it was trained on; what does not fit is refused.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax.audio.features import same_content
from emogene_jax.avatar.file import Avatar
from emogene_jax.avatar.voice import misfit as voice_misfit
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.motion_to_emotion.blink import shut_lids
from emogene_jax.motion_to_emotion.manifold import fit_manifold
from emogene_jax.portrait.cut import parted
from emogene_jax.portrait.pack import load_portrait, portrait_digest
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import takes_of
from emogene_jax.pose.join import join_poses
from emogene_jax.recipes.audio_to_motion import of_person, saved_voice
from emogene_jax.recipes.motion_to_emotion import person_deformation
from emogene_jax.recipes.person import from_arrays
from emogene_jax.recipes.recipe import model_of
from emogene_jax.recipes.torso import (
    head_fields,
    must_be_head,
    of_this_portrait,
    params_digest,
)
from emogene_jax.signals import Posture, UserError, landmarks_to_motion
from emogene_jax.train import checkpoint

# Of a config, what an avatar remembers: no paths of the machine that trained it.
KEPT = ("name", "seed", "model", "stage", "optimizer", "train", "portrait", "content")


class Parts(NamedTuple):
    """Where the parts of an avatar are."""

    portrait: Path  # a prepared one
    head: Path  # work directories
    torso: Path
    audio_to_motion: Path
    deformation: Path | None = None  # None = the built-in one


def assemble(parts: Parts) -> tuple[Avatar, Portrait, Portrait | None]:
    """The avatar that some parts make, the frames that it learned from, and the held-out
    end, or None.

    Raises:
        UserError: one is of another stage, or they do not fit each other.
    """
    head, torso = matching_fields(parts)
    speaks = checkpoint.load(parts.audio_to_motion)
    saved = {"head": head, "torso": torso, "audio_to_motion": speaks}
    held = head.config["config"]["portrait"]["held_out"]
    training, held = parted(load_portrait(parts.portrait), held)
    voice = saved_voice(speaks, parts.audio_to_motion)
    size = TorsoSize(**model_of(torso, parts.torso))
    fields = head_fields(head, parts.head, training, size)
    sizes, trained, content = voice
    if same_content(training.info["content"], content) is None:
        content = training.info["content"]  # it knows which checkpoint that was
    tracked = landmarks_to_motion(training.landmarks, training.rest)
    varied = from_arrays(head.fixed).varied_motion
    shown = tracked if varied is None else np.concatenate([tracked, varied])
    info = {
        "audio_to_motion": sizes,
        "content": content,
        "filmed_emotions": takes_of(training).filmed,
        "configs": {name: _kept(part.config) for name, part in saved.items()},
    }
    avatar = Avatar(
        fields._replace(torso=torso.params),
        trained,
        person_deformation(parts.deformation, training),
        fit_manifold(shown),
        training.rest,
        shut_lids(tracked, training.rest),
        one_after_the_other(training),
        info,
    )
    if told := voice_misfit(avatar):
        raise UserError(f"{parts.audio_to_motion}: not what its config says ({told})")
    info["audio_to_motion"] = of_person(voice, training).sizes
    return avatar, training, held


def matching_fields(parts: Parts) -> tuple[checkpoint.Saved, checkpoint.Saved]:
    """Head and torso of an avatar: of one portrait, which is that of `parts`.

    Raises:
        UserError: one is of another stage, or they do not fit each other.
    """
    head, torso = checkpoint.load(parts.head), checkpoint.load(parts.torso)
    must_be_head(head, parts.head)
    if "rows" not in torso.config.get("config", {}).get("model", {}):
        raise UserError(f"{parts.torso}: expected a work directory of torso")
    told = head.config["config"]["portrait"]
    clip = load_portrait(parts.portrait, pictures=False).clip
    mine = {"digest": portrait_digest(parts.portrait), "frames": len(clip)}
    of_this_portrait(head, parts.head, mine | {"held_out": told["held_out"]})
    of_this_portrait(torso, parts.torso, told)
    behind = torso.config["config"]["frozen"].get("head_digest")
    if behind != params_digest(head.params):
        warnings.warn(
            f"{parts.torso}: trained behind another head than {parts.head}: the neck may "
            "show a seam",
            stacklevel=3,
        )
    return head, torso


def one_after_the_other(portrait: Portrait) -> Posture:
    """How the person of a portrait of several clips holds themselves [T], as if they had
    gone on from where the last clip left them."""
    starts = np.flatnonzero(np.diff(portrait.clip)) + 1
    parts = (np.split(part, starts) for part in (*portrait.pose, portrait.torso))
    return join_poses([Posture(*clip) for clip in zip(*parts, strict=True)])


def _kept(record: dict) -> dict:
    config = record.get("config", {})
    return {name: config[name] for name in KEPT if name in config}
