"""`emogene train`: one stage, from a config, on all devices. `create` and `demo` train by
this function as well."""

from importlib import import_module
from pathlib import Path

from emogene_jax import parallel
from emogene_jax.recipes.recipe import train_recipe
from emogene_jax.signals import LARGEST_SEED, UserError
from emogene_jax.train.loop import TrainResult


def train_from_config(config, workdir, profile: bool = False) -> TrainResult:
    """Train the stage that `config.name` says (configs/), in work directory `workdir`;
    with `profile`, a trace of some steps is left there (train.loop).

    Raises:
        UserError: the config names data that can't be used, or `workdir` belongs to a
            training with other data.
    """
    from emogene_jax.recipes import (
        audio_to_motion,
        head,
        lip_sync,
        motion_to_emotion,
        torso,
    )

    every = (lip_sync, audio_to_motion, motion_to_emotion, head, torso)
    recipes = {module.__name__.rpartition(".")[2]: module for module in every}
    parallel.connect()
    parallel.enable_compilation_cache()
    name, workdir = getattr(config, "name", None), Path(workdir)
    if name not in recipes:
        raise UserError(f"config: found name {name!r}, expected {', '.join(recipes)}")
    _check_counts(config)
    recipe = recipes[name].build(config, workdir)
    result = train_recipe(recipe, config, workdir, profile)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    if parallel.is_main_process():
        print(f"{workdir}: {config.train.steps} steps; {scores}")
    return result


def _check_counts(config) -> None:
    """Raises UserError where a config asks for none of what there must be some of."""
    for section in ("batch", "model", "train"):
        for key, value in getattr(config, section, {}).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise UserError(f"config.{section}.{key}: found {value}, expected >= 1")
    if not 0 <= config.seed <= LARGEST_SEED:
        raise UserError(
            f"config.seed: found {config.seed}, expected 0 to {LARGEST_SEED}"
        )


def stage_config(stage: str, arg: str = "", changes: dict | None = None):
    """The config of a stage, configs/`stage`.py:`arg`, with flat overrides."""
    config = import_module(f"emogene_jax.configs.{stage}").get_config(arg)
    config.update_from_flattened_dict(changes or {})
    return config
