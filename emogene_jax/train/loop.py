"""The one training loop: any Stage, on any number of devices.

Data comes in two kinds. *Resident* data is a dict of arrays that every device holds;
batches are drawn from it inside jit by `stage.sample`, and many steps run per dispatch.
*Streamed* data is a function `batches(start_step)` that gives an iterator of host
batches whose n-th is always the batch of step start_step + n. Both make a step a
function of (seed, step), so that a training that was killed goes on to the same bits.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emogene_jax import parallel
from emogene_jax.signals import Stage, UserError
from emogene_jax.train.board import Board
from emogene_jax.train.checkpoint import Checkpoints, open_checkpoints
from emogene_jax.train.progress import Progress
from emogene_jax.train.state import (
    Optimizer,
    TrainState,
    init_state,
    make_optimizer,
    make_step,
    step_key,
)

Batch = Mapping[str, Any]


class TrainingDiverged(UserError):
    """A loss or a gradient was not finite."""


class TrainResult(NamedTuple):
    """What a training ends with. The trees are on the devices."""

    params: Any
    ema_params: Any  # params, where there is no moving average
    aux: Any
    metrics: dict[str, float]  # the last logged; `val_…` of the held-out batches
    seconds: float  # of training, over all the runs that it took


class Plan(NamedTuple):
    """When things happen, in steps: at multiples of these, and at the end."""

    steps: int
    ckpt_steps: int
    log_steps: int
    val_steps: int
    scan_steps: int  # most steps per dispatch

    def stop(self, step: int) -> int:
        """Where the dispatch that begins at `step` ends."""
        every = (self.ckpt_steps, self.log_steps, self.val_steps)
        return min(step + self.scan_steps, self.steps, *(_next(step, n) for n in every))

    def due(self, step: int, every: int) -> bool:
        """Whether what happens each `every` steps happens after `step` steps."""
        return step % every == 0 or step == self.steps


def train(
    stage: Stage,
    *,
    workdir: Path,
    steps: int,
    batch_source: Batch | Callable[[int], Iterable[Batch]],
    frozen: Any = None,
    initial: tuple[Any, Any] | None = None,
    seed: int = 0,
    optimizer: Optimizer | None = None,
    ema: float | None = 0.999,
    ckpt_steps: int = 1000,
    keep: int = 2,
    log_steps: int = 100,
    val_batches: Sequence[Batch] = (),
    val_steps: int = 1000,
    scan_steps: int = 16,
    deterministic: bool = False,
    config: Mapping[str, Any] | None = None,
    label: str = "train",
) -> TrainResult:
    """Trains `stage` up to `steps` steps, from where `workdir` left off.

    Args:
      stage: what to train.
      workdir: checkpoints and curves. One that is finished returns at once.
      steps: of the whole training; `…_steps`: how often, and `scan_steps` how many at
        most run per dispatch (resident data only).
      batch_source: resident arrays, or `batches(start_step)` (see the module).
      frozen: what another stage has learned, handed to the loss.
      initial: (params, aux) to start from in place of the stage's own.
      seed: of everything random.
      optimizer: learning rates and clipping.
      ema: decay of the moving average of the parameters; None = no average.
      keep: how many checkpoints stay.
      val_batches: held-out batches; their mean metrics under the averaged parameters
        are logged as `val_…`.
      deterministic: the same bits on a GPU, too, at some cost.
      config: JSON, kept with the checkpoints.
      label: the name on the progress bar.

    Raises:
      TrainingDiverged: a loss or a gradient was not finite, and at which step. Nothing
        is saved of it.
      UserError: the checkpoint in `workdir` is of another model or seed.
    """
    transform = make_optimizer(optimizer or Optimizer(), steps)
    step = make_step(stage, transform, ema)
    frozen = parallel.replicate(frozen)
    if callable(batch_source):
        scan_steps, feed = 1, _Streamed(step, batch_source, frozen, deterministic)
    else:
        feed = _Resident(step, stage, batch_source, frozen, deterministic)
    init_key, run_key = jax.random.split(jax.random.key(seed))

    def init(batch, initial):
        return init_state(stage, transform, init_key, batch, ema is not None, initial)

    example = feed.example()
    with open_checkpoints(workdir, keep) as checkpoints:
        # Resume order:
        # 1. the newest whole checkpoint of workdir: all of the state;
        # 2. else `initial`: parameters of another training, a new optimiser;
        # 3. else what stage.init gives.
        if checkpoints.latest() is not None:
            record = checkpoints.config()
            _check_seed(record, seed, workdir)
            state = checkpoints.restore(jax.eval_shape(init, example, initial))
        else:
            record = {"seed": seed, "metrics": {}, "seconds": 0.0}
            state = parallel.data_parallel(init, donate=())(example, initial)
        state = state._replace(key=parallel.replicate(run_key))
        record["config"] = dict(config or record.get("config", {}))
        plan = Plan(steps, ckpt_steps, log_steps, val_steps, scan_steps)
        validate = _validation(stage, frozen, val_batches, example)
        state = _loop(state, plan, feed, checkpoints, validate, record, label)
    average = state.params if state.ema is None else state.ema
    return TrainResult(
        state.params, average, state.aux, record["metrics"], record["seconds"]
    )


def _loop(
    state: TrainState,
    plan: Plan,
    feed: "_Streamed | _Resident",
    checkpoints: Checkpoints,
    validate: Callable,
    record: dict,
    label: str,
) -> TrainState:
    """Runs the plan from the state's step on; `record` gets metrics and seconds."""
    step = int(state.step)
    if step >= plan.steps:
        return state
    began = time.perf_counter() - record["seconds"]
    main = parallel.is_main_process()
    board = Board(checkpoints.workdir / "board", step) if main else None
    progress = Progress(plan.steps, label, start=step) if main else None
    reports = _Reports(label)
    feed.start(step)
    while step < plan.steps:
        stop = plan.stop(step)
        state, report = feed.advance(state, stop)
        reports.add(step, report)
        step = stop
        if progress:
            progress.update(step, reports.latest)
        if plan.due(step, plan.log_steps):
            record["metrics"] |= reports.mean()
            record["seconds"] = time.perf_counter() - began
            if board:
                board.scalars(step, record["metrics"])
        if plan.due(step, plan.val_steps):
            reports.check()
            scalars, images = validate(state)
            record["metrics"] |= scalars
            if board:
                board.scalars(step, scalars)
                board.images(step, images)
        if plan.due(step, plan.ckpt_steps):
            reports.check()  # nothing that is not finite is ever saved
            record["seconds"] = time.perf_counter() - began
            checkpoints.save(state, record)
    if main:
        progress.close(reports.latest)
        board.close()
    return state


class _Reports:
    """Metrics on their way from the devices, read one dispatch late.

    So the host prepares the next dispatch while the devices work on the last.
    """

    def __init__(self, label: str):
        self.latest: dict[str, float] = {}
        self._label, self._pending = label, []
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, step: int, report: dict) -> None:
        """Takes the report of the dispatch that began at `step`; reads the last one."""
        self.check()
        self._pending = [(step, report)]

    def check(self) -> None:
        """Reads what is on its way, and stops a training that diverged."""
        for step, report in self._pending:
            report = jax.device_get(report)
            done = int(report["steps"])
            if not report["finite"]:
                raise TrainingDiverged(
                    f"{self._label}: loss or gradient not finite at step "
                    f"{step + done - 1} (the seed and the step give its batch): try "
                    "a lower learning rate, or look at that batch"
                )
            sums = {name: float(value) for name, value in report["sums"].items()}
            for name, value in sums.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._count += done
            self.latest = {"loss": sums["loss"] / done}
        self._pending = []

    def mean(self) -> dict[str, float]:
        """Each metric's mean since the last call."""
        self.check()
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


class _Streamed:
    """Steps on batches that the host makes."""

    def __init__(self, step, batches, frozen, deterministic):
        def advance(state, frozen, batch):
            state, metrics = step(state, frozen, batch)
            return state, _report(metrics)

        self._advance = parallel.data_parallel(advance, (0,), deterministic)
        self._batches, self._frozen = batches, frozen

    def example(self) -> Batch:
        """A batch, for its shapes."""
        return next(iter(self._batches(0)))

    def start(self, step: int) -> None:
        """The next batch is that of `step`."""
        self._iterator = iter(self._batches(step))

    def advance(self, state: TrainState, stop: int) -> tuple[TrainState, dict]:
        """One step; `stop` is the next."""
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise UserError(f"the data ended at step {stop - 1}") from None
        return self._advance(state, self._frozen, parallel.shard_batch(batch))


class _Resident:
    """Steps on batches that are drawn on the devices."""

    def __init__(self, step, stage, data, frozen, deterministic):
        if stage.sample is None:
            raise UserError("this stage cannot draw from arrays: it needs batches")

        def one(state, frozen, data):
            draw = step_key(state, "sample")
            batch = parallel.spread(stage.sample(data, draw, state.step))
            state, metrics = step(state, frozen, batch)
            return state, _report(metrics)

        def many(state, frozen, data, stop):
            def body(carry):
                state, total = carry
                state, report = one(state, frozen, data)
                return state, {
                    "steps": total["steps"] + 1,
                    "finite": report["finite"],
                    "sums": jax.tree.map(jnp.add, total["sums"], report["sums"]),
                }

            def unfinished(carry):
                state, total = carry
                return (state.step < stop) & total["finite"]

            # A loop whose length is an argument: one program, and so the same bits,
            # however logs, checkpoints and kills cut the dispatches.
            shapes = jax.eval_shape(one, state, frozen, data)[1]
            zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            total = zero | {"finite": jnp.array(True)}
            return jax.lax.while_loop(unfinished, body, (state, total))

        # XLA:CPU runs a convolution inside a loop ten times slower than outside.
        self._in_loop = parallel.loops_on_device()
        self._advance = parallel.data_parallel(
            many if self._in_loop else one, (0,), deterministic
        )
        self._data, self._frozen = parallel.replicate(dict(data)), frozen
        self._sample = stage.sample

    def example(self) -> Batch:
        """A batch, for its shapes."""
        return jax.jit(self._sample)(self._data, jax.random.key(0), 0)

    def start(self, step: int) -> None:
        """Nothing to do: the state knows the step."""

    def advance(self, state: TrainState, stop: int) -> tuple[TrainState, dict]:
        """All the steps to `stop`, in one dispatch where that pays."""
        if self._in_loop:
            return self._advance(state, self._frozen, self._data, stop)
        reports = []
        for _ in range(int(state.step), stop):
            state, report = self._advance(state, self._frozen, self._data)
            reports.append(jax.device_get(report))
            if not report["finite"]:
                break
        return state, {
            "steps": len(reports),
            "finite": reports[-1]["finite"],
            "sums": jax.tree.map(lambda *x: sum(x), *(r["sums"] for r in reports)),
        }


def _report(metrics: dict) -> dict:
    """What one step says; `sums` add up over the steps of a dispatch."""
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
    return {"steps": jnp.ones((), jnp.int32), "finite": finite, "sums": metrics}


def _validation(stage: Stage, frozen: Any, val_batches: Sequence, example: Batch):
    """state -> (scalars `val_…`, pictures), under the averaged parameters."""

    def evaluate(params, aux, frozen, batch, step):
        key = jax.random.key(0)
        loss, (_, metrics) = stage.loss(params, aux, frozen, batch, key, step)
        return metrics | {"loss": loss}

    evaluate = parallel.data_parallel(evaluate, donate=())

    def validate(state: TrainState) -> tuple[dict[str, float], dict]:
        params = state.params if state.ema is None else state.ema
        rows = [
            jax.device_get(evaluate(params, state.aux, frozen, batch, state.step))
            for batch in placed
        ]
        scalars = {
            f"val_{name}": float(sum(row[name] for row in rows) / len(rows))
            for name in (rows[0] if rows else ())
        }
        if stage.images is None:
            return scalars, {}
        batch = placed[0] if placed else example
        return scalars, stage.images(params, state.aux, frozen, batch)

    placed = [parallel.replicate(batch) for batch in val_batches]
    return validate


def _check_seed(record: dict, seed: int, workdir: Path) -> None:
    if record.get("seed", seed) != seed:
        raise UserError(
            f"{workdir}: its training began with seed {record['seed']}, found {seed}"
        )


def _next(step: int, every: int) -> int:
    """The next multiple of `every` after `step`."""
    return (step // every + 1) * every
