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

from emogene_jax import parallel
from emogene_jax.precision import learning_in
from emogene_jax.signals import Stage, UserError
from emogene_jax.train.board import Board
from emogene_jax.train.checkpoint import open_checkpoints
from emogene_jax.train.feed import Batch, Resident, Streamed, whole
from emogene_jax.train.packed import packed_stage, packed_state, unpack
from emogene_jax.train.progress import Progress
from emogene_jax.train.speed import Speed, Trace
from emogene_jax.train.state import (
    Optimizer,
    TrainState,
    init_state,
    make_optimizer,
    make_step,
)


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
    ckpt_steps: int,
    log_steps: int,
    val_steps: int,
    scan_steps: int = 1,
    batch_source: Batch | Callable[[int], Iterable[Batch]],
    optimizer: Optimizer,
    ema: float | None,
    frozen: Any = None,
    initial: tuple[Any, Any] | None = None,
    fixed: Any = None,
    seed: int = 0,
    keep: int = 2,
    val_batches: Sequence[Batch] = (),
    validate: Callable[[Any, Any], Mapping[str, float]] | None = None,
    deterministic: bool = False,
    precision: str = "auto",
    config: Mapping[str, Any] | None = None,
    label: str = "train",
    profile: bool = False,
) -> TrainResult:
    """Trains `stage` up to `steps` steps, from where `workdir` left off.

    Args:
      stage: what to train.
      workdir: checkpoints and curves. One that is finished returns at once.
      steps: of the whole training; `…_steps`: how often, and `scan_steps` how many at
        most run per dispatch (of batches from the host, on an accelerator only: as many
        of them wait there).
      batch_source: resident arrays, or `batches(start_step)` (see the module).
      optimizer: learning rates and clipping.
      ema: decay of the moving average of the parameters; None = no average.
      frozen: what another stage has learned, handed to the loss.
      initial: (params, aux) to start from in place of the stage's own.
      fixed: arrays that belong to the parameters and that no step changes; kept with the
        checkpoints.
      seed: of everything random.
      keep: how many checkpoints stay.
      val_batches: held-out batches; their mean metrics under the averaged parameters, in
        evaluation mode (Stage.evaluate), are logged as `val_…`.
      validate: (averaged parameters, aux) -> more of such, for what is no batch. Host
        code.
      deterministic: the same bits on a GPU, too, at some cost.
      precision: of networks' products in a step (emogene_jax.precision).
      config: JSON, kept with the checkpoints.
      label: the name on the progress bar.
      profile: whether a trace of some steps is left in `workdir`/profile, for
        TensorBoard's profiler or Perfetto.

    Raises:
      TrainingDiverged: a loss or a gradient was not finite, and at which step. Nothing
        is saved of it.
      UserError: the checkpoint in `workdir` is of another model or seed.
    """
    transform = make_optimizer(optimizer, steps)
    # Many small arrays are many launches.
    packed = parallel.on_accelerator()
    rounded = stage._replace(loss=learning_in(precision, stage.loss))
    step = make_step(packed_stage(rounded) if packed else rounded, transform, ema)
    frozen = parallel.replicate(frozen)
    if callable(batch_source):
        # As for Resident, a CPU has no use for a loop.
        scan_steps = scan_steps if packed else 1
        feed = Streamed(step, batch_source, frozen, deterministic, scan_steps)
    else:
        feed = Resident(step, stage, batch_source, frozen, deterministic)
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
            layout = jax.eval_shape(init, example, initial)
            state, record = checkpoints.restore(layout)
            _check_seed(record, seed, workdir)
        else:
            record = {"seed": seed, "metrics": {}, "seconds": 0.0}
            state = parallel.data_parallel(init, donate=())(example, initial)
        state = state._replace(key=parallel.replicate(run_key))
        loose = parallel.data_parallel(unpack, donate=()) if packed else lambda s: s
        if packed:
            state = parallel.data_parallel(packed_state, donate=())(state)
        record["config"] = dict(config or record.get("config", {}))
        plan = Plan(steps, ckpt_steps, log_steps, val_steps, scan_steps)
        judge = _validation(stage, frozen, val_batches, example, validate, loose)

        def save(state, record):
            checkpoints.save(loose(state), record, fixed)

        wanted = profile and parallel.is_main_process()
        trace = Trace(Path(workdir) / "profile", wanted)
        state = _loop(state, plan, feed, workdir, save, judge, record, label, trace)
        state = loose(state)
    average = state.params if state.ema is None else state.ema
    return TrainResult(
        state.params, average, state.aux, record["metrics"], record["seconds"]
    )


def _loop(
    state: TrainState,
    plan: Plan,
    feed: Streamed | Resident,
    workdir: Path,
    save: Callable,
    judge: Callable,
    record: dict,
    label: str,
    trace: Trace,
) -> TrainState:
    """Runs the plan from the state's step on; `record` gets metrics and seconds."""
    step = int(state.step)
    if step >= plan.steps:
        return state
    began = time.perf_counter() - record["seconds"]
    main = parallel.is_main_process()
    board = Board(Path(workdir) / "board", step) if main else None
    progress = Progress(plan.steps, label, start=step) if main else None
    reports, speed = _Reports(label), Speed(feed.rows)
    feed.start(step)
    while step < plan.steps:
        stop = plan.stop(step)
        with trace.dispatch(step):
            state, made = feed.advance(state, stop)
            reports.add(step, made)
        step = stop
        speed.begin(step, feed.waited)  # only now: the first dispatch compiles
        if progress:
            progress.update(step, reports.latest | speed.latest)
        if plan.due(step, plan.log_steps):
            means = reports.mean()
            record["metrics"] |= means
            record["seconds"] = time.perf_counter() - began
            rates = speed.lap(step, feed.waited)
            if board:
                board.scalars(step, means | rates)
        if plan.due(step, plan.val_steps):
            reports.check()
            scalars, images = judge(state)
            record["metrics"] |= scalars
            if board:
                board.scalars(step, scalars)
                board.images(step, images)
        if plan.due(step, plan.ckpt_steps):
            reports.check()  # nothing that is not finite is ever saved
            record["seconds"] = time.perf_counter() - began
            save(state, record)
    trace.close()
    if main:
        progress.close(reports.latest | speed.latest)
        board.close()
    return state


class _Reports:
    """Metrics on their way from the devices, read one turn of the loop late.

    So the host prepares the next dispatch while the devices work on the last.
    """

    def __init__(self, label: str):
        self.latest: dict[str, float] = {}
        self._label, self._pending = label, (0, [])
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, step: int, reports: list[dict]) -> None:
        """Takes the reports on what began at `step`; reads those before."""
        self.check()
        self._pending = step, reports

    def check(self) -> None:
        """Reads what is on its way, and stops a training that diverged."""
        step, reports = self._pending
        for report in reports:
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
            step += done
        self._pending = 0, []

    def mean(self) -> dict[str, float]:
        """Each metric's mean since the last call."""
        self.check()
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _validation(
    stage: Stage,
    frozen: Any,
    val_batches: Sequence,
    example: Batch,
    validate: Callable | None,
    loose: Callable,
):
    """state -> (scalars `val_…`, pictures), under the averaged parameters."""
    evaluate = (
        parallel.data_parallel(stage.evaluate, donate=()) if val_batches else None
    )

    def judge(state: TrainState) -> tuple[dict[str, float], dict]:
        state = loose(state)
        params = state.params if state.ema is None else state.ema
        rows = [
            jax.device_get(evaluate(params, state.aux, frozen, batch))
            for batch in placed
        ]
        scalars = {
            f"val_{name}": float(sum(row[name] for row in rows) / len(rows))
            for name in (rows[0] if rows else ())
        }
        if validate is not None:
            here = jax.device_get((params, state.aux))
            scalars |= {name: float(v) for name, v in validate(*here).items()}
        if stage.images is None or not parallel.is_main_process():
            return scalars, {}
        batch = placed[0] if placed else example
        # Host code: it can't run on devices that belong to other hosts, too.
        here = parallel.on_one_device((params, state.aux, frozen, batch))
        return scalars, stage.images(*here)

    placed = [parallel.replicate(whole(batch)) for batch in val_batches]
    return judge


def _check_seed(record: dict, seed: int, workdir: Path) -> None:
    if record.get("seed", seed) != seed:
        raise UserError(
            f"{workdir}: its training began with seed {record['seed']}, found {seed}"
        )


def _next(step: int, every: int) -> int:
    """The next multiple of `every` after `step`."""
    return (step // every + 1) * every
