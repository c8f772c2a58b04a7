"""The loop learns, stops where it must, and a killed training ends as if it was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint
from emogene_jax.train.loop import TrainingDiverged, train
from emogene_jax.train.state import Optimizer

sys.path.insert(0, str(Path(__file__).parent))
from tiny_stage import TRUTH, batches, resident, tiny_stage  # noqa: E402

pytestmark = pytest.mark.usefixtures("eight_devices")

FAST = Optimizer(learning_rate=0.1)
LONG = FAST._replace(schedule="constant")  # the same however many steps are planned
ROOT = Path(__file__).resolve().parents[2]


def run(workdir, source=None, stage=None, **changes):
    arguments = {"steps": 40, "optimizer": FAST, "ckpt_steps": 10, "log_steps": 10}
    return train(
        stage or tiny_stage(),
        workdir=workdir,
        batch_source=resident() if source is None else source,
        **(arguments | changes),
    )


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_learns(tmp_path, source):
    result = run(tmp_path, source, steps=300, ckpt_steps=300, ema=0.9)
    np.testing.assert_allclose(result.params["w"], TRUTH, atol=0.05)
    np.testing.assert_allclose(result.ema_params["w"], TRUTH, atol=0.05)
    assert int(result.aux["seen"]) == 300 * 16
    assert result.metrics["rms"] < 0.05 and result.seconds > 0


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_goes_on_to_the_same_bits(tmp_path, source):
    whole = run(tmp_path / "whole", source, scan_steps=16)
    # Cut after step 20, and then with other dispatches.
    with pytest.raises(KeyboardInterrupt):
        interrupted = tiny_stage()._replace(images=_interrupt)
        run(tmp_path / "cut", source, stage=interrupted, val_steps=20)
    assert checkpoint.load(tmp_path / "cut").step == 10
    rest = run(tmp_path / "cut", source, scan_steps=3)
    chex.assert_trees_all_equal(whole.params, rest.params)
    chex.assert_trees_all_equal(whole.ema_params, rest.ema_params)
    chex.assert_trees_all_equal(whole.aux, rest.aux)


def _interrupt(*_):
    raise KeyboardInterrupt


def test_finished_returns_at_once(tmp_path):
    first = run(tmp_path)
    began = time.perf_counter()
    again = run(tmp_path)
    assert time.perf_counter() - began < 5
    chex.assert_trees_all_equal(first.params, again.params)
    assert again.metrics == first.metrics and again.seconds == first.seconds


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_a_loss_that_is_not_finite_stops_it(tmp_path, source):
    with pytest.raises(TrainingDiverged, match="not finite at step 17 "):
        run(tmp_path, source, stage=tiny_stage(bad_step=17))
    assert checkpoint.load(tmp_path).step == 10


def test_starts_from_given_parameters_and_leaves_them(tmp_path):
    initial = ({"w": jax.numpy.asarray(TRUTH)}, {"seen": jax.numpy.array(5)})
    result = run(tmp_path, initial=initial, optimizer=Optimizer(learning_rate=1e-9))
    np.testing.assert_allclose(result.params["w"], TRUTH, atol=1e-4)
    assert int(result.aux["seen"]) == 5 + 40 * 16
    np.testing.assert_array_equal(initial[0]["w"], TRUTH)  # not donated


def test_held_out_batches_and_frozen_parameters_are_used(tmp_path):
    held_out = [{"x": np.zeros((8, 8), np.float32), "y": np.full(8, 3.0, np.float32)}]
    result = run(
        tmp_path, steps=2, val_batches=held_out, frozen={"offset": np.float32(100)}
    )
    np.testing.assert_allclose(result.metrics["val_rms"], 3.0, atol=0.05)
    np.testing.assert_allclose(result.metrics["val_loss"], 109.0, atol=0.3)
    assert result.metrics["loss"] > 100


def test_refuses_another_model_or_seed(tmp_path):
    run(tmp_path, steps=10)
    with pytest.raises(UserError, match=r"params/w is \[8\], expected \[5\]"):
        run(tmp_path, stage=tiny_stage(width=5))
    with pytest.raises(UserError, match="began with seed 0, found 1"):
        run(tmp_path, seed=1)


def test_data_that_ends_is_told(tmp_path):
    few = lambda start: [next(batches(0))] * 3  # noqa: E731
    with pytest.raises(UserError, match="ended at step 3"):
        run(tmp_path, few)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tiny_stage import batches, tiny_stage
from emogene_jax.train.loop import train
from emogene_jax.train.state import Optimizer

def slow(start):
    for batch in batches(start):
        time.sleep(0.005)
        yield batch

train(tiny_stage(), workdir=sys.argv[2], steps=200, batch_source=slow,
      optimizer=Optimizer(learning_rate=0.1), ckpt_steps=4, log_steps=50)
"""


def test_kill_and_resume_is_bit_identical(tmp_path):
    """kill -9 while checkpoints are being written; then the rest; against no kill."""
    here, workdir = str(Path(__file__).parent), tmp_path / "killed"
    environment = dict(os.environ, JAX_NUM_CPU_DEVICES="8", PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, here, str(workdir)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(workdir.glob("checkpoints/*/commit_success.txt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = checkpoint.load(workdir).step
    assert 0 < reached < 200
    resumed = run(workdir, batches, steps=200, ckpt_steps=4)
    whole = run(tmp_path / "whole", batches, steps=200, ckpt_steps=200)
    chex.assert_trees_all_equal(resumed.params, whole.params)
    chex.assert_trees_all_equal(resumed.ema_params, whole.ema_params)


def test_half_written_checkpoints_are_ignored_and_replaced(tmp_path):
    run(tmp_path, steps=20)
    half = tmp_path / "checkpoints" / "30.orbax-checkpoint-tmp"
    (half / "state").mkdir(parents=True)
    (half / "state" / "data").write_bytes(b"half")
    assert checkpoint.load(tmp_path).step == 20
    result = run(tmp_path)
    assert int(result.aux["seen"]) == 40 * 16
    assert checkpoint.load(tmp_path).step == 40


def test_compiles_once(tmp_path):
    stage = tiny_stage()
    traced = chex.assert_max_traces(4)  # shapes, loop, gradient, validation: no more
    run(tmp_path, stage=stage._replace(loss=traced(stage.loss)), scan_steps=7)


def two_shapes(start_step):
    """Batches of two sizes, as a schedule of buckets gives them."""
    for step, batch in enumerate(batches(start_step), start_step):
        yield {name: array[: 16 if step % 3 else 8] for name, array in batch.items()}


def test_batches_of_several_shapes_compile_once_each(tmp_path):
    stage, held = tiny_stage(), [next(batches(0, size)) for size in (8, 16, 8)]
    traced = chex.assert_max_traces(4)  # two shapes, in the step and in validation
    whole = run(
        tmp_path / "whole",
        two_shapes,
        stage=stage._replace(loss=traced(stage.loss)),
        val_batches=held,
        val_steps=10,
    )
    assert int(whole.aux["seen"]) == sum(16 if step % 3 else 8 for step in range(40))
    run(tmp_path / "cut", two_shapes, steps=20, optimizer=LONG)
    rest = run(tmp_path / "cut", two_shapes, optimizer=LONG)
    whole = run(tmp_path / "again", two_shapes, optimizer=LONG)
    chex.assert_trees_all_equal(whole.params, rest.params)
