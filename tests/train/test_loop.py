"""The loop learns, stops where it must, and a killed training ends as if it was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax import parallel
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint
from emogene_jax.train.board import read_curves
from emogene_jax.train.loop import TrainingDiverged, train
from emogene_jax.train.state import Optimizer

sys.path.insert(0, str(Path(__file__).parent))
from tiny_stage import FAST, TOLD, TRUTH, batches, resident, tiny_stage  # noqa: E402

pytestmark = pytest.mark.usefixtures("eight_devices")

LONG = FAST._replace(schedule="constant")  # the same however many steps are planned
ROOT = Path(__file__).resolve().parents[2]


def run(workdir, source=None, stage=None, **changes):
    arguments = TOLD | {"steps": 40, "ckpt_steps": 10, "log_steps": 10}
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


def test_goes_on_by_the_same_programs(tmp_path):
    """What a checkpoint gives back is of the types that the stage began with, or all
    programs would be compiled again."""

    def init(key, batch):
        params, aux = tiny_stage().init(key, batch)
        return params, {"seen": jnp.full((), 0.0)}  # of a weak type

    seen = []

    def loss(params, aux, frozen, batch, key, step):
        seen.append(aux["seen"].weak_type)
        return tiny_stage().loss(params, aux, frozen, batch, key, step)

    stage = tiny_stage()._replace(init=init, loss=loss)
    for steps in (10, 20):
        run(tmp_path, stage=stage, steps=steps)
    assert len(seen) >= 2 and not any(seen)


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


@pytest.fixture
def looped(monkeypatch):
    """Training as on a GPU: a loop of many steps, whose state is donated. Called, it is so
    from then on; what it returns counts the loops that are compiled."""
    loop, compiled = jax.lax.while_loop, []

    def counted(*arguments):
        compiled.append(arguments)
        return loop(*arguments)

    def begin():
        monkeypatch.setattr(parallel, "on_accelerator", lambda: True)
        monkeypatch.setattr(jax.lax, "while_loop", counted)
        return compiled

    return begin


@pytest.mark.parametrize(
    "source, count",
    [(resident(), 8), (resident(), 3), (batches, 8)],
    ids=["resident 8", "resident 3", "streamed 8"],
)
def test_a_loop_of_steps_is_those_steps_however_it_is_cut(
    tmp_path, looped, use_devices, source, count
):
    use_devices(count)
    often = {"log_steps": 40, "ckpt_steps": 40, "ema": 0.9}
    one_by_one = run(tmp_path / "steps", source, **often)
    compiled = looped()
    whole = run(tmp_path / "whole", source, scan_steps=40, **often)
    cut = run(tmp_path / "cut", source, scan_steps=7, **often | {"ckpt_steps": 10})
    assert len(compiled) == 2
    states = [(r.params, r.ema_params, r.aux) for r in (one_by_one, whole, cut)]
    chex.assert_trees_all_close(states[0], states[1], rtol=1e-5)
    chex.assert_trees_all_equal(states[1], states[2])
    assert int(whole.aux["seen"]) == 40 * 16
    for name, value in one_by_one.metrics.items():
        np.testing.assert_allclose(whole.metrics[name], value, rtol=1e-4)


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_a_loop_stops_at_a_loss_that_is_not_finite(tmp_path, looped, source):
    looped()
    told = {"stage": tiny_stage(bad_step=17), "scan_steps": 40, "log_steps": 40}
    with pytest.raises(TrainingDiverged, match="not finite at step 17 "):
        run(tmp_path, source, **told)
    assert checkpoint.load(tmp_path).step == 10


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_a_loop_that_was_killed_goes_on_to_the_same_bits(tmp_path, looped, source):
    looped()
    whole = run(tmp_path / "whole", source, scan_steps=16, optimizer=LONG)
    run(tmp_path / "cut", source, scan_steps=16, steps=17, optimizer=LONG)
    rest = run(tmp_path / "cut", source, scan_steps=3, optimizer=LONG)
    chex.assert_trees_all_equal(whole.params, rest.params)
    chex.assert_trees_all_equal(whole.ema_params, rest.ema_params)


@pytest.mark.parametrize("source", [resident(), batches], ids=["resident", "streamed"])
def test_any_number_of_devices_learns_the_same(tmp_path, use_devices, source):
    learned = []
    for count in (1, 3, 8):  # a step has 16 rows
        use_devices(count)
        learned.append(run(tmp_path / str(count), source).params)
    for params in learned[1:]:
        chex.assert_trees_all_close(params, learned[0], rtol=1e-5)


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
    np.testing.assert_allclose(result.metrics["val_rms"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(result.metrics["val_loss"], 109.0, rtol=1e-6)
    assert result.metrics["loss"] > 100


@pytest.mark.parametrize("ema", [0.9, None])
def test_held_out_batches_are_judged_under_the_average_without_noise(tmp_path, ema):
    held, stage = [next(batches(step)) for step in (100, 101)], tiny_stage()
    result = run(tmp_path, val_batches=held, ema=ema)

    def judged(params):
        rows = [stage.evaluate(params, result.aux, None, batch) for batch in held]
        return {f"val_{name}": np.mean([r[name] for r in rows]) for name in rows[0]}

    found = {n: v for n, v in result.metrics.items() if n.startswith("val_")}
    chex.assert_trees_all_close(found, judged(result.ema_params), rtol=1e-5)
    assert found["val_seen"] == 40 * 16  # judging changes nothing
    apart = judged(result.params)["val_loss"] / found["val_loss"] - 1
    assert (abs(apart) > 0.01) == (ema is not None)


def test_what_else_is_validated_is_logged_and_kept(tmp_path):
    seen = []

    def validate(params, aux):
        seen.append((jax.device_get(params["w"]), int(aux["seen"])))
        return {"val_psnr_full": np.float32(len(seen))}

    result = run(tmp_path, val_steps=15, ema=0.9, validate=validate)
    assert [count for _, count in seen] == [16 * step for step in (15, 30, 40)]
    np.testing.assert_array_equal(seen[-1][0], result.ema_params["w"])
    assert (seen[-1][0] != result.params["w"]).any()
    assert result.metrics["val_psnr_full"] == 3.0
    assert checkpoint.load(tmp_path).config["metrics"]["val_psnr_full"] == 3.0
    curve = read_curves(tmp_path / "board")["val_psnr_full"]
    assert curve == [(15, 1.0), (30, 2.0), (40, 3.0)]  # when it was measured


def test_what_is_fixed_stays_beside_the_parameters(tmp_path):
    fixed = {"rig": {"low": np.arange(3.0)}, "code": np.ones((2, 2), np.float32)}
    run(tmp_path, steps=20, optimizer=LONG, fixed=fixed)
    chex.assert_trees_all_equal(checkpoint.load(tmp_path).fixed, fixed)
    run(tmp_path, optimizer=LONG, fixed=fixed)
    saved = checkpoint.load(tmp_path)
    assert saved.step == 40
    chex.assert_trees_all_equal(saved.fixed, fixed)
    run(tmp_path / "none")
    assert checkpoint.load(tmp_path / "none").fixed is None


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
from tiny_stage import TOLD, batches, tiny_stage
from emogene_jax.train.loop import train

def slow(start):
    for batch in batches(start):
        time.sleep(0.005)
        yield batch

train(tiny_stage(), workdir=sys.argv[2], steps=200, batch_source=slow,
      **TOLD | {"ckpt_steps": 4})
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


def test_a_stage_sees_no_halves(tmp_path):
    def rounded(to):
        for batch in batches(0):
            yield batch | {"x": batch["x"].astype(np.float16).astype(to)}

    few = {"steps": 6, "log_steps": 3}
    learned = [
        run(
            tmp_path / to.__name__,
            lambda _, to=to: rounded(to),
            val_batches=[next(rounded(to))],
            **few,
        )
        for to in (np.float16, np.float32)
    ]
    chex.assert_trees_all_equal(learned[0].params, learned[1].params)
    assert learned[0].metrics["val_loss"] == learned[1].metrics["val_loss"]


def two_shapes(start_step):
    """Batches of two sizes, as a schedule of buckets gives them."""
    for step, batch in enumerate(batches(start_step), start_step):
        yield {name: array[: 16 if step % 3 else 8] for name, array in batch.items()}


def test_batches_of_several_shapes_compile_once_each(tmp_path):
    stage, held = tiny_stage(), [next(batches(0, size)) for size in (8, 16, 8)]
    # Two shapes, in the step and in validation.
    traced = {
        name: chex.assert_max_traces(2)(getattr(stage, name))
        for name in ("loss", "evaluate")
    }
    whole = run(
        tmp_path / "whole",
        two_shapes,
        stage=stage._replace(**traced),
        val_batches=held,
        val_steps=10,
    )
    assert int(whole.aux["seen"]) == sum(16 if step % 3 else 8 for step in range(40))
    run(tmp_path / "cut", two_shapes, steps=20, optimizer=LONG)
    rest = run(tmp_path / "cut", two_shapes, optimizer=LONG)
    whole = run(tmp_path / "again", two_shapes, optimizer=LONG)
    chex.assert_trees_all_equal(whole.params, rest.params)


def test_loops_go_through_batches_of_several_shapes(tmp_path, looped):
    one_by_one = run(tmp_path / "steps", two_shapes)
    compiled = looped()
    whole = run(tmp_path / "whole", two_shapes, scan_steps=5)
    assert len(compiled) == 2  # a program for each shape
    chex.assert_trees_all_close(whole.params, one_by_one.params, rtol=1e-5)
    assert int(whole.aux["seen"]) == int(one_by_one.aux["seen"])
    with pytest.raises(TrainingDiverged, match="not finite at step 17 "):
        bad = tiny_stage(bad_step=17)
        run(tmp_path / "bad", two_shapes, stage=bad, scan_steps=10)
