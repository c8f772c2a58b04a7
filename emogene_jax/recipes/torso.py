"""The torso field of one person, behind a finished head: configs/torso.py -> what is
trained on what."""

from pathlib import Path

import jax
import numpy as np

from emogene_jax.emotion_to_video.draw import drawable
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.evaluate.reconstruction import rerender
from emogene_jax.folders import digest
from emogene_jax.input.frames import SHARED, fed
from emogene_jax.portrait.cut import spread_rows
from emogene_jax.portrait.schema import Portrait
from emogene_jax.recipes import person as people
from emogene_jax.recipes.recipe import Recipe, model_of, portrait_parts
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint


def build(config, workdir: Path) -> Recipe:
    """The recipe of a config (recipe.Recipe).

    Raises:
        UserError: its head is none, or of another portrait.
    """
    if not config.frozen.head:
        raise UserError("config torso: frozen.head must name the head's work directory")
    saved = checkpoint.load(config.frozen.head)
    training, held, _ = portrait_parts(config, workdir)
    of_this_portrait(saved, config.frozen.head, config.portrait.to_dict())
    with config.unlocked():
        config.model.rows = people.rows_of(training)
        config.frozen.head_digest = params_digest(saved.params)
    size = TorsoSize(**config.model.to_dict())
    fields = head_fields(saved, config.frozen.head, training, size)
    rows = spread_rows(len(training.clip), config.most_frames)
    data = _seldom(drawable(training, fields.rig, fields.code), rows)
    # The head alone in every frame, premultiplied colour and alpha.
    data["heads"] = rerender(Renderer(fields), training, rows)[1]
    stage = torso_stage(training.camera, size, **config.stage.to_dict())
    room = config.stage.frames, config.seed, config.resident_bytes

    def whole(params, aux) -> Fields:
        return fields._replace(torso=params)

    validate = people.reconstruction(held, config.val_frames, whole, ("full",))
    return Recipe(*fed(stage, [data], *room), validate=validate)


def of_this_portrait(saved: checkpoint.Saved, workdir, portrait: dict) -> None:
    """Raises UserError where a head or torso was trained on another portrait, or on
    another part of it."""
    found = saved.config.get("config", {}).get("portrait")
    if found != portrait:
        raise UserError(f"{workdir}: trained on portrait {found}, found {portrait}")


def must_be_head(saved: checkpoint.Saved, workdir) -> None:
    """Raises UserError where a work directory is of another stage."""
    if saved.fixed is None or "density" not in saved.aux:
        raise UserError(f"{workdir}: expected a work directory of head")


def head_fields(
    saved: checkpoint.Saved, workdir, training: Portrait, torso_size: TorsoSize
) -> Fields:
    """The head of a work directory, before its portrait's background; no torso yet.

    Raises:
        UserError: it is of another stage.
    """
    sizes = model_of(saved, workdir, "basis")
    must_be_head(saved, workdir)
    person = people.from_arrays(saved.fixed)
    return Fields(
        person.rig,
        saved.params,
        saved.aux["density"],
        None,
        person.code,
        training.camera,
        training.background,
        HeadSize(**sizes),
        torso_size,
        saved.config["config"]["shown_samples"],
    )


def _seldom(data: dict, rows: np.ndarray) -> dict:
    """Drawable frames `rows` of all, one as often as the other."""
    some = {n: array if n in SHARED else array[rows] for n, array in data.items()}
    return some | {"turns": np.arange(len(rows), dtype=np.int32)}


def params_digest(params) -> str:
    """What tells parameters from others."""
    return digest(*(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)))
