"""What configs build: the rest of `train` is tested with the stages and the loop."""

import warnings

import jax
import numpy as np
import optax
import pytest

from emogene_jax import parallel, training
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import lip_sync_stage
from emogene_jax.cli import STAGES, read_config
from emogene_jax.data.pack import save_portrait
from emogene_jax.data.records import World, write_synthetic
from emogene_jax.train import checkpoint
from emogene_jax.training import _audio_to_motion, _clips


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """A config whose data is made, its folder, and an expert's (params, aux)."""
    config = read_config("audio_to_motion:tiny", [])
    folder = tmp_path_factory.mktemp("train")
    _, (batch, *_) = _clips(config, folder)
    init = jax.jit(lip_sync_stage(LipSync(channels=8)).init)
    return config, folder, init(jax.random.key(0), batch)


@pytest.mark.parametrize("loss, trusted", [(0.3, True), (0.65, False), (None, True)])
def test_only_a_trustworthy_expert_is_listened_to(expert, loss, trusted):
    config, folder, learned = expert
    metrics = {} if loss is None else {"val_loss": loss}
    record = {"config": {"model": {"channels": 8}}, "metrics": metrics}
    checkpoint.write(folder / f"expert-{loss}", *learned, record)
    config.frozen.lip_sync = str(folder / f"expert-{loss}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        *_, frozen = _audio_to_motion(config, folder)
    assert (frozen is not None) == trusted
    ours = [str(one.message) for one in told if "sync loss" in str(one.message)]
    assert len(ours) == (not trusted)
    assert trusted or "0.65 is above 0.6" in ours[0]


@pytest.fixture(scope="module")
def sources(filmed, untrained, tmp_path_factory):
    """What the configs of all five stages need: records, a portrait, a head."""
    folder = tmp_path_factory.mktemp("sources")
    world = World(2, 1, 1, 1, ("neutral", "happy"), (0.3, 0.5, 0.7, 1.0))
    save_portrait(filmed, folder / "portrait")
    record = {"config": {"model": untrained.head_size._asdict()}}
    record["config"]["stage"] = {"samples": 8}
    aux = {"density": untrained.density}
    checkpoint.write(folder / "head", untrained.head, aux, record)
    return {"records": write_synthetic(world, folder), "folder": folder}


def built(name, sources):
    """(stage, a batch, frozen) of the tiny config."""
    name, _, streamed = name.partition(", ")
    clips = name in ("lip_sync", "audio_to_motion", "motion_to_emotion")
    data = sources["records"] if clips else sources["folder"] / "portrait"
    flags = [f"--config.data={data}"]
    if clips:
        flags.append("--config.batch.batch_size=16")
    if name in ("lip_sync", "audio_to_motion"):
        flags.append("--config.batch.frames=(60,)")  # some clips are shorter
    if name == "torso":
        flags.append(f"--config.frozen.head={sources['folder'] / 'head'}")
    if streamed:
        flags.append("--config.resident_bytes=0")
    config = read_config(f"{name}:tiny", flags)
    stage, data, _, frozen = training._BUILDERS[name](config, sources["folder"])
    if callable(data):
        return stage, next(data(0)), frozen
    draw = jax.jit(stage.sample)
    return stage, jax.device_get(draw(data, jax.random.key(3), 0)), frozen


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STAGES, "head, streamed", "torso, streamed"])
@pytest.mark.usefixtures("eight_devices")
def test_eight_devices_learn_what_one_does(name, sources):
    """Gradients and statistics, of batches split by the host or drawn on the devices."""
    stage, batch, frozen = built(name, sources)
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch)

    def learn(params, aux, frozen, batch):
        def loss(params):
            return stage.loss(params, aux, frozen, batch, jax.random.key(1), 3)

        grads, (changed, _) = jax.grad(loss, has_aux=True)(params)
        return grads, jax.tree.map(lambda new, old: new - old, changed, aux)

    def drawn(params, aux, frozen, batch):
        return learn(params, aux, frozen, parallel.spread(batch))

    resident = name in ("head", "torso")
    place = parallel.replicate if resident else parallel.shard_batch
    inputs = (*parallel.replicate((params, aux, frozen)), place(batch))
    step = parallel.data_parallel(drawn if resident else learn, donate=())
    together = step(*inputs)
    alone = jax.jit(learn)(params, aux, frozen, batch)
    for one, eight in zip(alone, together, strict=True):
        apart = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), one, eight)
        assert optax.tree.norm(apart) <= 1e-4 * optax.tree.norm(one)
    assert optax.tree.norm(alone[0]) > 1e-4
    has_statistics = name not in ("motion_to_emotion", "torso", "torso, streamed")
    assert (optax.tree.norm(alone[1]) > 1e-2) == has_statistics
