"""What a config is made into, and what the recipes of all stages share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from emogene_jax import parallel
from emogene_jax.audio.features import same_content
from emogene_jax.portrait.cut import held_of, parted
from emogene_jax.portrait.pack import is_portrait, load_portrait, portrait_digest
from emogene_jax.signals import Stage, UserError
from emogene_jax.train.checkpoint import Saved, open_checkpoints
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import Optimizer

VALIDATION_BATCHES = 4


class Recipe(NamedTuple):
    """All that train.loop.train wants to know of a stage beside the config's numbers."""

    stage: Stage
    data: Any  # resident arrays, or batches(start_step)
    val_batches: Sequence[Mapping] = ()
    frozen: Any = None
    initial: tuple[Any, Any] | None = None
    validate: Callable | None = None
    fixed: Any = None


def train_recipe(
    recipe: Recipe, config, workdir: Path, profile: bool = False
) -> TrainResult:
    """Trains what a config was made into, in a work directory.

    Raises:
        UserError: `workdir` belongs to a training with other data.
    """
    _check_given(config, recipe.fixed, workdir)
    return train(
        recipe.stage,
        workdir=workdir,
        batch_source=recipe.data,
        val_batches=recipe.val_batches,
        validate=recipe.validate,
        frozen=recipe.frozen,
        initial=recipe.initial,
        fixed=recipe.fixed,
        seed=config.seed,
        optimizer=Optimizer(**config.optimizer.to_dict()),
        config=config.to_dict(),
        label=config.name,
        profile=profile,
        **config.train.to_dict(),
    )


def _check_given(config, fixed: Any, workdir: Path) -> None:
    """Raises UserError where a training goes on with other data than it began with."""
    if not (workdir / "checkpoints").is_dir():
        return
    with open_checkpoints(workdir) as checkpoints:
        if checkpoints.latest() is None:
            return
        before = checkpoints.config().get("config", {})
        measured = checkpoints.fixed()
    now = config.to_dict()
    began = f"{workdir}: its training began with"
    found, expected = (told.get("portrait") for told in (now, before))
    if found != expected:
        raise UserError(f"{began} portrait {expected}, found {found}")
    found, expected = (told.get("content") for told in (now, before))
    told = found and expected and same_content(found, expected)
    if told:
        raise UserError(f"{began} other content: {told}")
    behind = [told.get("frozen", {}).get("head_digest") for told in (now, before)]
    if behind[0] != behind[1]:
        raise UserError(f"{began} another head in frozen.head")
    leaves = [jax.tree.leaves(tree) for tree in (fixed, measured)]
    same = len(leaves[0]) == len(leaves[1]) and all(map(np.array_equal, *leaves))
    if not same:
        what = {
            "head": "rig: of other augmented frames, or another deformation model",
            "audio_to_motion": "generic model",
        }
        raise UserError(f"{began} another {what[config.name]}")


def portrait_parts(config, workdir: Path, pictures: bool = True):
    """(what a portrait has to learn from, its held-out end or None, its folder) of what a
    config names; the config then says which portrait that was.

    Args:
        pictures: False = sound and landmarks alone, which are read fast.

    Raises:
        UserError: no such portrait, or too little of it is left to learn from.
    """
    folder = Path(config.data)
    if config.data == "synthetic":
        folder = parallel.first_host_first(lambda: synthetic_data(config, workdir))
    portrait = load_portrait(folder, pictures=pictures)
    held = held_of(portrait, config.holdout_seconds)
    with config.unlocked():
        config.portrait = {
            "digest": portrait_digest(folder),
            "frames": len(portrait.clip),
            "held_out": held,
        }
    return *parted(portrait, held), folder


def synthetic_data(config, workdir: Path) -> Path:
    """A prepared portrait of the synthetic character, in the work directory."""
    from emogene_jax.portrait.pack import save_portrait
    from emogene_jax.synthetic.portrait import portrait_takes, synthetic_portrait

    folder = Path(workdir) / "portrait"
    if not is_portrait(folder):
        asked = config.synthetic
        takes = portrait_takes(config.seed, asked.sentences, asked.sentence_seconds)
        save_portrait(synthetic_portrait(config.seed, asked.size, takes=takes), folder)
    return folder


def records(config, workdir: Path, batches_of: Callable):
    """(training batches, validation batches, the folder) of the records that a config
    names, or of the synthetic world."""
    folder = Path(config.data)
    if config.data == "synthetic":
        from emogene_jax.synthetic.records import World, write_synthetic

        world = World(**config.world.to_dict())
        folder = parallel.first_host_first(
            lambda: write_synthetic(world, workdir / "data")
        )
    hosts = parallel.host()
    options = config.batch.to_dict()
    batches = batches_of(folder, "train", seed=config.seed, hosts=hosts, **options)
    held = batches_of(folder, "validation", seed=config.seed, **options)(0)
    return batches, [next(held) for _ in range(VALIDATION_BATCHES)], folder


def of_same_content(config, content: dict, other: dict | None, what: str) -> None:
    """Keeps in a config which content features its data has.

    Raises:
        UserError: `what` has learned from other ones (None = it is not known).
    """
    told = other and same_content(content, other)
    if told:
        raise UserError(f"{what}: {told}")
    with config.unlocked():
        config.content = content


def model_of(saved: Saved, workdir, name: str | None = None) -> dict:
    """The model sizes that a work directory's config has; `name` is one of them.

    Raises:
        UserError: it has none: it is of another stage.
    """
    sizes = saved.config.get("config", {}).get("model")
    if sizes is None or (name is not None and name not in sizes):
        raise UserError(f"{workdir}: its config names no {name or 'model sizes'}")
    return dict(sizes)
