"""What configs are made into learns the same on any number of devices."""

import jax
import numpy as np
import pytest

from emogene_jax import parallel
from emogene_jax.cli import STAGES
from emogene_jax.recipes import (
    audio_to_motion,
    head,
    lip_sync,
    motion_to_emotion,
    torso,
)
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import UserError
from emogene_jax.synthetic.records import World, write_synthetic

RECIPES = {
    module.__name__.rpartition(".")[2]: module
    for module in (lip_sync, audio_to_motion, motion_to_emotion, head, torso)
}
FIELDS = ("head of a person", "torso of a person")
OF_A_PERSON = ("audio_to_motion", "motion_to_emotion", "head", "torso")
CASES = [
    *(name for name in STAGES if name not in ("head", "torso")),
    *(f"{name} of a person" for name in OF_A_PERSON),
    *("motion_to_emotion of facial_actions", "head, streamed", "torso, streamed"),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    world = World(2, 1, 1, 1, ("neutral", "happy"), (0.3, 0.5, 0.7, 1.0))
    return write_synthetic(world, tmp_path_factory.mktemp("records"))


def built(case, records, work, folder):
    """(recipe, a batch, whether it was drawn on the device) of the tiny config."""
    name, _, streamed = case.partition(", ")
    name, _, data = name.partition(" of ")
    given = {"data": data}
    if data == "a person" or name in ("head", "torso"):
        given["data"] = str(work["portrait"])
    elif not data:
        given |= {"data": str(records), "batch.batch_size": 16}
    if name in ("lip_sync", "audio_to_motion") and not data:
        given["batch.frames"] = (60,)  # some clips are shorter
    if name == "head":
        given["augment.frames"] = 0
    if name == "torso":
        given["frozen.head"] = str(work["head"])
    if name == "motion_to_emotion" and data == "a person":
        given["frozen.generic"] = str(work["deformation"])
    if streamed:
        given["resident_bytes"] = 0
    recipe = RECIPES[name].build(stage_config(name, "tiny", given), folder)
    if callable(recipe.data):
        return recipe, next(recipe.data(0)), False
    draw = jax.jit(recipe.stage.sample)
    batch = jax.device_get(draw(recipe.data, jax.random.key(3), 0))
    return recipe, batch, True


def norm(tree) -> float:
    """By NumPy: JAX would compile it for each shape."""
    return sum(float(np.square(leaf).sum()) for leaf in jax.tree.leaves(tree)) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_three_and_eight_devices_learn_what_one_does(
    case, records, work, use_devices, tmp_path
):
    """Gradients and statistics, of batches split by the host or drawn on the devices: of
    8 frames, three devices have 3, 3 and 2."""
    recipe, batch, drawn = built(case, records, work, tmp_path)
    init = recipe.initial or jax.jit(recipe.stage.init)(jax.random.key(0), batch)

    def learn(params, aux, frozen, batch):
        def loss(params):
            key = jax.random.key(1)
            return recipe.stage.loss(params, aux, frozen, batch, key, 3)

        grads, (changed, _) = jax.grad(loss, has_aux=True)(params)
        return grads, jax.tree.map(lambda new, old: new - old, changed, aux)

    def shared(params, aux, frozen, batch):
        return learn(params, aux, frozen, parallel.spread(batch))

    alone = jax.device_get(jax.jit(learn)(*init, recipe.frozen, batch))
    assert norm(alone[0]) > 1e-4
    still = case.startswith(("motion_to_emotion", "torso"))
    assert (norm(alone[1]) > 1e-2) != still
    # What is made of the same stage is not asked twice.
    for count in (8, 3) if case in FIELDS[:1] else (8,) if case in STAGES else (3,):
        use_devices(count)
        inputs = parallel.replicate((*jax.device_get(init), recipe.frozen))
        place = parallel.replicate if drawn else parallel.shard_batch
        step = parallel.data_parallel(shared, donate=())
        together = jax.device_get(step(*inputs, place(batch)))
        for one, several in zip(alone, together, strict=True):
            apart = jax.tree.map(np.subtract, one, several)
            assert norm(apart) <= 1e-4 * norm(one), count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train.keep": 0}, r"train\.keep: found 0, expected >= 1"),
        ({"train.log_steps": 0}, r"train\.log_steps: found 0"),
        ({"model.hidden": 0}, r"model\.hidden: found 0"),
        ({"batch.batch_size": -1}, r"batch\.batch_size: found -1"),
        ({"seed": -1}, "seed: found -1, expected 0 to 4294967295"),
    ],
)
def test_none_of_what_there_must_be_some_of_is_refused(change, message, tmp_path):
    config = stage_config("motion_to_emotion", "tiny", change)
    with pytest.raises(UserError, match=message):
        train_from_config(config, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_flat_overrides_of_a_config_are_its_own():
    config = stage_config("torso", "cpu,size=128", {"stage.rays": 64})
    assert config.stage.rays == 64 and config.model.fine == 128
    assert stage_config("torso", "cpu,size=128").stage.rays != 64
    with pytest.raises(KeyError):
        stage_config("torso", "", {"stage.rayz": 64})
