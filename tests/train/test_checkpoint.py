"""Checkpoints that time, people and full disks have been at."""

import logging
import os
import resource
import warnings

import numpy as np
import pytest

from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint
from emogene_jax.train.state import TrainState


def state(step, numbers=50_000):
    """A state that zstd can't make small."""
    params = {"w": np.random.default_rng(step).normal(size=numbers).astype(np.float32)}
    return TrainState(params, {}, None, None, np.asarray(step, np.int32), None)


def saved(workdir, *steps):
    with checkpoint.open_checkpoints(workdir) as checkpoints:
        for step in steps:
            checkpoints.save(state(step), {"at": step})


def largest(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "arrays": lambda folder: cut(largest(folder)),
    "arrays gone": lambda folder: largest(folder).unlink(),
    "index": lambda folder: cut(folder / "state" / "manifest.ocdbt"),
    "names": lambda folder: cut(folder / "state" / "_METADATA"),
    "config": lambda folder: cut(folder / "config" / "metadata"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, what):
    saved(tmp_path, 10, 20)
    DAMAGE[what](tmp_path / "checkpoints" / "20")
    with pytest.warns(UserWarning) as told:
        found = checkpoint.load(tmp_path)
    (line,) = [str(one.message) for one in told]
    assert line.startswith(f"{tmp_path}/checkpoints/20: left out, since it can't be")
    assert "\n" not in line and len(line) < 300
    assert (found.step, found.config) == (10, {"at": 10})
    np.testing.assert_array_equal(found.params["w"], state(10).params["w"])
    with warnings.catch_warnings(), checkpoint.open_checkpoints(tmp_path) as opened:
        warnings.simplefilter("ignore")
        assert opened.config() == {"at": 20 if what.startswith(("a", "i", "n")) else 10}


def test_a_training_puts_a_damaged_checkpoint_aside_and_saves_its_step_again(tmp_path):
    saved(tmp_path, 10, 20)
    DAMAGE["arrays"](tmp_path / "checkpoints" / "20")
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="left out"):
            again, record = checkpoints.restore(state(0))
        assert int(again.step) == record["at"] == checkpoints.latest() == 10
        assert (tmp_path / "damaged" / "20" / "state").is_dir()
        checkpoints.save(state(20), {"at": 21})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.load(tmp_path).config == {"at": 21}


def test_where_none_can_be_read_nothing_begins_anew(tmp_path):
    saved(tmp_path, 10)
    DAMAGE["arrays"](tmp_path / "checkpoints" / "10")
    with (
        pytest.warns(UserWarning, match="checkpoints/10: left out"),
        pytest.raises(UserError, match="found no whole checkpoint"),
        checkpoint.open_checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.restore(state(0))
    assert (tmp_path / "checkpoints" / "10").is_dir()


def test_what_belongs_to_parameters_is_written_beside_them(tmp_path):
    fixed = {"rig": {"low": np.arange(3.0)}}
    checkpoint.write(tmp_path / "with", {"w": np.zeros(2)}, {}, {}, 5, fixed)
    found = checkpoint.load(tmp_path / "with")
    np.testing.assert_array_equal(found.fixed["rig"]["low"], fixed["rig"]["low"])
    assert found.fixed["rig"]["low"].dtype == np.float64
    checkpoint.write(tmp_path / "without", {"w": np.zeros(2)}, {}, {})
    assert checkpoint.load(tmp_path / "without").fixed is None


@pytest.fixture
def little_room():
    """No file may grow beyond 150 kB: like a full disk, but for the name of the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_is_told_in_a_line(tmp_path, little_room, caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(UserError) as told,
        checkpoint.open_checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(state(10, 100), {"at": 10})
        checkpoints.save(state(20, 200_000), {"at": 20})
    assert str(told.value) == (
        f"{tmp_path}/checkpoints: a checkpoint could not be saved: File too large; "
        "the last whole one is of step 10"
    )
    assert not any("Traceback" in line for line in caplog.messages)
    assert os.listdir(tmp_path / "checkpoints") == ["10"]
    assert checkpoint.load(tmp_path).step == 10


def test_the_reason_is_found_in_words_too():
    full = ValueError('RESOURCE_EXHAUSTED: Failed writing: "d/1": No space left [x]')
    assert os.strerror(checkpoint._error_number(full)) == "No space left on device"
    assert checkpoint._error_number(KeyError("w")) is None
