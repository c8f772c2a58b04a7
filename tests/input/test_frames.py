"""Frames that are too many for the device: the same frames and rays, picked on the host,
and a training on them that learns, stops and goes on like any other."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax import parallel
from emogene_jax.emotion_to_video import draw
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.face.rig import Rig
from emogene_jax.input.frames import fed, joined
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint
from emogene_jax.train.loop import train
from emogene_jax.train.state import Optimizer

GIB = 2**30


@pytest.fixture(scope="module")
def parts(filmed, untrained):
    """A portrait in two, each frame with its number in the whole."""
    whole = draw.drawable(filmed, untrained.rig, untrained.code)
    whole["number"] = np.arange(len(filmed.frames), dtype=np.int32)
    cut = 20
    first, second = (
        {
            name: whole[name][part]
            for name in whole
            if len(whole[name]) == len(whole["number"])
        }
        for part in (slice(cut), slice(cut, None))
    )
    shared = {name: whole[name] for name in ("background", "upper")}
    turns = whole["turns"]
    first["turns"], second["turns"] = turns[turns < cut], turns[turns >= cut] - cut
    return [first | shared, second | shared]


@pytest.fixture(scope="module")
def stage(filmed, untrained):
    return head_stage(filmed.camera, untrained.head_size, frames=8, rays=32, samples=8)


def over(stage, parts, seed=0):
    return fed(stage, parts, frames=8, seed=seed, most=0)


def some(batches, start, count):
    return list(itertools.islice(batches(start), count))


def test_what_fits_stays_as_it_is(stage, parts, capsys):
    size = sum(array.nbytes for array in parts[0].values())
    same, data = fed(stage, parts[:1], frames=8, seed=0, most=size)
    assert same is stage and data is parts[0]
    assert not capsys.readouterr().out
    other, data = fed(stage, parts[:1], frames=8, seed=0, most=size - 1)
    assert other.sample is None and callable(data)
    (line,) = capsys.readouterr().out.splitlines()
    assert "GiB of frames" in line and "streamed from the host" in line


def test_joined_frames_keep_their_numbers(filmed, untrained, parts):
    both, whole = joined(parts), draw.drawable(filmed, untrained.rig, untrained.code)
    for name, array in whole.items():
        if name == "turns":
            array = np.concatenate([array[array < 20], array[array >= 20]])
        np.testing.assert_array_equal(both[name], array)
    first, second = parts
    negative = second | {"frames": 255 - second["frames"], "background": None}
    other = joined([first, negative])
    np.testing.assert_array_equal(other["frames"][20:], 255 - second["frames"])
    np.testing.assert_array_equal(other["background"], filmed.background)


def test_frames_come_whole_and_as_often_as_their_turns(stage, parts):
    data, (_, batches) = joined(parts), over(stage, parts)
    counts = np.zeros(len(data["frames"]), int)
    others = set()
    for batch in some(batches, 0, 300):
        t = batch["number"]
        counts += np.bincount(t, minlength=len(counts))
        others |= set(map(bytes, batch["others"]))
        for name in ("frames", "head_matte", "condition", "boxes", "rotation", "neck"):
            assert batch[name].dtype == data[name].dtype
            np.testing.assert_array_equal(batch[name], data[name][t])
    expected = np.bincount(data["turns"]) * counts.sum() / len(data["turns"])
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert others == set(map(bytes, data["condition"]))


def test_rays_of_picked_frames_are_those_of_resident_ones(stage, parts):
    data, (_, batches) = joined(parts), over(stage, parts)
    data, batch = jax.tree.map(jnp.asarray, (data, some(batches, 3, 1)[0]))
    shared = {name: data[name] for name in ("background", "upper")}
    key, regions = jax.random.key(1), np.arange(8) % 4
    drawn = draw.draw_rays(shared | batch, key, regions, 40)
    place_key = jax.random.split(key, 3)[2]
    inputs = batch["number"], batch["others"], place_key, regions, 40, 0
    expected = draw._draw_pixels(data, *inputs)
    chex.assert_trees_all_equal(drawn, expected)
    resident = draw.draw_rays(data, key, regions, 40)
    chex.assert_trees_all_equal_shapes_and_dtypes(drawn, resident)


def test_pictures_for_people_are_told_the_pose(stage, parts):
    shown, batches = over(stage._replace(images=lambda *given: given[-1]), parts)
    (batch,) = some(batches, 0, 1)
    rotation, translation = shown.images(None, None, None, batch)["pose"]
    assert rotation is batch["rotation"] and translation is batch["translation"]
    assert over(stage._replace(images=None), parts)[0].images is None


def test_any_step_is_reached_directly(stage, parts, monkeypatch):
    _, batches = over(stage, parts)
    run = some(batches, 0, 7)
    for step in (1, 6):
        chex.assert_trees_all_equal(some(batches, step, 1)[0], run[step])
    _, others = over(stage, parts, seed=1)
    for other in (some(others, 0, 1)[0], run[1]):
        assert (other["number"] != run[0]["number"]).any()
    halves = []
    for host in range(2):
        monkeypatch.setattr(parallel, "host", lambda host=host: (host, 2))
        halves += some(over(stage, parts)[1], 6, 1)
    for name, array in run[6].items():
        both = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(both, array)
    monkeypatch.setattr(parallel, "host", lambda: (0, 3))
    with pytest.raises(UserError, match="8 is not divisible by 3 hosts"):
        next(over(stage, parts)[1](0))


@pytest.mark.slow
def test_it_learns_and_a_killed_training_goes_on_to_the_same_bits(
    untrained, stage, parts, tmp_path
):
    rates = stage_config("head").optimizer.to_dict()

    def learn(workdir, stage, source):
        return train(
            stage,
            workdir=tmp_path / workdir,
            batch_source=source,
            steps=60,
            frozen={"rig": Rig(*map(jnp.asarray, untrained.rig))},
            optimizer=Optimizer(**(rates | {"learning_rate": 1e-2, "warmup_steps": 5})),
            ema=0.99,
            ckpt_steps=20,
            log_steps=20,
            val_steps=60,
        )

    stage = stage._replace(images=None)
    picking, batches = over(stage, parts)

    def killed(start_step):
        yield from some(batches, start_step, 30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn("cut", picking, killed)
    kept = checkpoint.load(tmp_path / "cut")
    assert kept.step == 20
    resumed = learn("cut", picking, batches)
    whole = learn("whole", picking, batches)
    for name in ("params", "ema_params", "aux"):
        chex.assert_trees_all_equal(getattr(resumed, name), getattr(whole, name))
    late = whole.metrics["loss"]
    assert late < 0.6 * kept.config["metrics"]["loss"]
    resident = learn("resident", stage, joined(parts)).metrics["loss"]
    assert 0.7 < late / resident < 1.4


def test_five_minutes_at_512_fit_a_gpu_of_24_gib(parts):
    """By shapes: broadcast arrays take no memory, but say how much they would."""

    def at_512(part, frames):
        sizes = {len(part["frames"]): frames, len(part["background"]): 512}
        return {
            name: np.broadcast_to(
                array.dtype.type(0), [sizes.get(size, size) for size in array.shape]
            )
            for name, array in part.items()
        }

    head = [at_512(parts[0], frames) for frames in (5 * 60 * 25, 160)]
    held = [sum(array.nbytes for array in part.values()) for part in head]
    assert round(held[0] / GIB, 1) == 9.2
    head_config, torso_config = map(stage_config, ("head", "torso"))
    room = head_config.resident_bytes
    assert room == torso_config.resident_bytes
    assert sum(held) < room < 24 * GIB / 2 + 1
    torso = at_512(parts[0], torso_config.most_frames)
    heads = 4 * torso["head_matte"].nbytes
    behind = heads + sum(array.nbytes for array in torso.values())
    assert round(behind / GIB, 1) == 1.1
    # JAX leaves a quarter of the device alone.
    assert sum(held) + behind < 0.75 * 24 * GIB
