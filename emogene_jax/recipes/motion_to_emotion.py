"""The landmark deformation model, of a corpus, of a table of facial actions, or of one
person's own emotions: configs/motion_to_emotion.py -> what is trained on what."""

import os
import tempfile
from pathlib import Path

import numpy as np

from emogene_jax import parallel
from emogene_jax.configs import motion_to_emotion as generic
from emogene_jax.folders import cache_folder, digest
from emogene_jax.motion_to_emotion.expressions import emotion_displacement
from emogene_jax.motion_to_emotion.pairs import (
    facial_action_pairs,
    own_emotion_pairs,
    prior_pairs,
)
from emogene_jax.motion_to_emotion.resting import from_rest
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage
from emogene_jax.portrait.pack import is_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import added_by_emotion, takes_of
from emogene_jax.recipes.recipe import (
    Recipe,
    portrait_parts,
    records,
    train_recipe,
)
from emogene_jax.signals import EMOTIONS, UserError, landmarks_to_motion
from emogene_jax.train import checkpoint

# Of what the built-in model learns from, beside its config and its emotions.
VERSION = 6
FACIAL_ACTIONS = "facial_actions"


def build(config, workdir: Path) -> Recipe:
    """The recipe of a config (recipe.Recipe)."""
    sizes, options = config.model.to_dict(), config.stage.to_dict()
    if config.data != FACIAL_ACTIONS and not is_portrait(config.data):
        from emogene_jax.input.batches import pair_batches

        data, held, _ = records(config, workdir, pair_batches)
        return Recipe(motion_to_emotion_stage(**sizes, **options), data, held)
    if config.data == FACIAL_ACTIONS:
        initial, (data, held) = None, _facial_actions(config)
    else:
        start = load_deformation(config.frozen.generic)
        sizes["hidden"] = start["layer_0"]["kernel"].shape[1]
        initial, (data, held) = (start, {}), _own_emotions(config, workdir, start)
    batch_size = config.batch.batch_size
    stage = motion_to_emotion_stage(**sizes, **options, batch_size=batch_size)
    return Recipe(stage, data, held, initial=initial)


def _facial_actions(config):
    """(resident pairs, held-out pairs of talkers that nothing is learned from)."""
    from emogene_jax.synthetic.takes import make_take

    def talking(speakers):
        takes = [make_take(config.seed, number, number) for number in speakers]
        return np.concatenate([take.neutral_motion for take in takes])

    count = config.talkers
    unseen = talking(range(count, count + max(1, count // 10)))
    held = prior_pairs(unseen, np.random.default_rng(config.seed))
    return facial_action_pairs(talking(range(count)), config.seed), [held]


def _own_emotions(config, workdir: Path, start: dict):
    """(resident pairs, held-out pairs) of the person of a portrait."""
    training, held, folder = portrait_parts(config, workdir, pictures=False)
    takes = takes_of(training)
    if not takes.filmed:
        raise UserError(
            f"{folder}: shows no emotion for a second, beside a second of neutral frames: "
            "there are no own emotions to learn"
        )
    pairs = own_emotion_pairs(start, added_by_emotion(takes), config.seed)
    return pairs, _held_pairs(held, start, config.seed)


def _held_pairs(held, start, seed: int) -> list[dict]:
    """Of a held-out end that shows emotions, those; else what is neutral in it, as the
    generic model has the emotions."""
    if held is None:
        return []
    takes = takes_of(held)
    if takes.filmed:
        return [own_emotion_pairs(start, added_by_emotion(takes), seed)]
    motion = landmarks_to_motion(held.landmarks, held.rest)
    return [prior_pairs(motion, np.random.default_rng(seed))]


def load_deformation(workdir) -> dict:
    """Parameters of the deformation model in a work directory; "" or None = the built-in
    one, learned from the facial actions when first asked for, and kept.

    Raises:
        UserError: `workdir` is of another stage.
    """
    if not workdir:
        return _built_in()
    params = checkpoint.load(workdir).params
    if "embedding" not in params:
        raise UserError(f"{workdir}: expected a work directory of motion_to_emotion")
    return params


def person_deformation(workdir, portrait: Portrait) -> dict:
    """load_deformation, for the person of a portrait: emotions begin where the face rests
    (motion_to_emotion.resting)."""
    params, filmed = load_deformation(workdir), takes_of(portrait).filmed
    smile = portrait.info.get("smile", 0.0)
    return from_rest(params, smile, filmed if workdir else ())


def _built_in() -> dict:
    config = generic.get_config("generic")
    shown = [emotion_displacement(name).tobytes() for name in EMOTIONS]
    known = digest(f"{VERSION} {config.to_json_best_effort()}".encode(), *shown)
    place = cache_folder() / f"deformation-{known}"
    if not place.is_dir():
        if parallel.host()[1] > 1:
            raise UserError(
                f"{place}: not made yet, and is made by one host alone: train "
                "motion_to_emotion:generic first, and name its work directory by "
                "--config.frozen.deformation"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        # Made beside it, and moved there when whole: a sweep's runs start together.
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            made = Path(folder) / "made"
            train_recipe(build(config, made), config, made)
            try:
                os.rename(made, place)
            except OSError:
                if not place.is_dir():
                    raise
    return checkpoint.load(place).params
