"""The head field of one person: configs/head.py -> what is trained on what."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp

from emogene_jax import parallel
from emogene_jax.augmentation.frames import augmented, has_tracked_mesh
from emogene_jax.emotion_to_video.draw import drawable
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.render import Fields
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.input.frames import fed
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import takes_of
from emogene_jax.recipes import person as people
from emogene_jax.recipes.motion_to_emotion import person_deformation
from emogene_jax.recipes.recipe import Recipe, portrait_parts


def build(config, workdir: Path) -> Recipe:
    """The recipe of a config (recipe.Recipe)."""
    training, held, folder = portrait_parts(config, workdir)
    varied = varied_frames(training, config, folder, workdir)
    person = people.measure(training, varied)
    size = HeadSize(**config.model.to_dict())
    stage = head_stage(training.camera, size, **config.stage.to_dict())
    shown = [training] if varied is None else [training, varied]
    parts = [drawable(part, person.rig, person.code) for part in shown]
    room = config.stage.frames, config.seed, config.resident_bytes

    def fields(params, aux) -> Fields:
        return Fields(
            person.rig,
            params,
            aux["density"],
            None,
            person.code,
            training.camera,
            training.background,
            size,
            TorsoSize(1, 1, 1, 1, 1),
            config.shown_samples,
        )

    regions = ("head", "head_matte", "mouth")
    validate = people.reconstruction(held, config.val_frames, fields, regions)
    return Recipe(
        *fed(stage, parts, *room),
        frozen={"rig": jax.tree.map(jnp.asarray, person.rig)},
        validate=validate,
        fixed=people.to_arrays(person),
    )


def varied_frames(
    training: Portrait, config, folder: Path, workdir: Path
) -> Portrait | None:
    """The augmented frames that a head learns from beside filmed ones, made once and kept
    beside the prepared portrait (or in the work directory, where it can't be written)."""
    if not config.augment.frames or not has_tracked_mesh(training):
        return None
    filmed = takes_of(training).filmed
    place = folder if os.access(folder, os.W_OK) else workdir
    deformation = person_deformation(config.frozen.deformation, training)
    told = config.augment.frames, config.augment.seed
    return parallel.first_host_first(
        lambda: augmented(training, place / "augmented", deformation, filmed, *told)
    )
