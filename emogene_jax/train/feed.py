"""Where a training's batches come from, and the steps on them.

Both kinds (see loop.py) have `example()`, a batch for its shapes; `rows`, how many
examples a step sees on all hosts; `start(step)`; `advance(state, stop)`, steps up to
`stop`, and their reports in turn; `waited`, the seconds in which the host had no batch to
hand over; and `program`, what the devices run.
"""

import itertools
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax import parallel
from emogene_jax.signals import UserError
from emogene_jax.train.state import TrainState, step_key

Batch = Mapping[str, Any]


class Streamed:
    """Steps on batches that the host makes."""

    def __init__(self, step, batches, frozen, deterministic, scan_steps=1):
        def one(state, frozen, batch):
            state, metrics = step(state, frozen, parallel.spread(whole(batch)))
            return state, _report(metrics)

        def many(state, frozen, batches, count):
            first = state.step
            # Put together on the devices, where each was on its way while others ran.
            batches = jax.tree.map(lambda *rows: jnp.stack(rows), *batches)

            def next_one(state):
                n = state.step - first
                return one(state, frozen, jax.tree.map(lambda rows: rows[n], batches))

            return _loop(next_one, state, first + count)

        self._most = scan_steps
        self._in_loop = scan_steps > 1
        self.program = parallel.data_parallel(
            many if self._in_loop else one, (0,), deterministic
        )
        self._batches, self.frozen = batches, frozen
        self.waited = 0.0

    def example(self) -> Batch:
        """A batch, for its shapes."""
        batch = whole(next(iter(self._batches(0))))
        self.rows = _rows(batch) * parallel.host()[1]
        return batch

    def start(self, step: int) -> None:
        """The next batch is that of `step`."""
        self._step, self._iterator = step, iter(self._batches(step))

    def advance(self, state: TrainState, stop: int) -> tuple[TrainState, list[dict]]:
        """The steps to `stop`, at most `scan_steps`: in one dispatch for all batches in a
        row that are of one shape."""
        batches = [self._next() for _ in range(stop - self._step)]
        reports = []
        for _, alike in itertools.groupby(batches, lambda b: jax.tree.map(np.shape, b)):
            alike = list(alike)
            state, report = self._dispatch(state, alike)
            reports.append(report)
        return state, reports

    def _dispatch(self, state, batches):
        if not self._in_loop:
            return self.program(state, self.frozen, *batches)
        # As many in each dispatch: one program, as for Resident.
        filled = batches + batches[-1:] * (self._most - len(batches))
        return self.program(state, self.frozen, tuple(filled), len(batches))

    def _next(self) -> Batch:
        """The next batch, on its way to the devices."""
        began = time.perf_counter()
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise UserError(f"the data ended at step {self._step}") from None
        self.waited += time.perf_counter() - began
        self._step += 1
        return parallel.shard_batch(batch)


class Resident:
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
            return _loop(lambda state: one(state, frozen, data), state, stop)

        # XLA:CPU runs a convolution inside a loop ten times slower than outside.
        self._in_loop = parallel.on_accelerator()
        self.program = parallel.data_parallel(
            many if self._in_loop else one, (0,), deterministic
        )
        self.data, self.frozen = parallel.replicate(dict(data)), frozen
        self._sample = stage.sample
        self.waited = 0.0  # and so it stays

    def example(self) -> Batch:
        """A batch, for its shapes."""
        batch = jax.jit(self._sample)(self.data, jax.random.key(0), 0)
        self.rows = _rows(batch)
        return batch

    def start(self, step: int) -> None:
        """Nothing to do: the state knows the step."""

    def advance(self, state: TrainState, stop: int) -> tuple[TrainState, list[dict]]:
        """All the steps to `stop`, in one dispatch where that pays."""
        if self._in_loop:
            state, report = self.program(state, self.frozen, self.data, stop)
            return state, [report]
        reports = []
        for _ in range(int(state.step), stop):
            state, report = self.program(state, self.frozen, self.data)
            reports.append(jax.device_get(report))
            if not report["finite"]:
                break
        return state, [
            {
                "steps": len(reports),
                "finite": reports[-1]["finite"],
                "sums": jax.tree.map(lambda *x: sum(x), *(r["sums"] for r in reports)),
            }
        ]


def _loop(one, state: TrainState, stop) -> tuple[TrainState, dict]:
    """one(state) -> (state, report), again and again up to the step `stop` or a report
    that is not finite; and what all of them report."""

    def body(carry):
        state, total = carry
        state, report = one(state)
        return state, {
            "steps": total["steps"] + 1,
            "finite": report["finite"],
            "sums": jax.tree.map(jnp.add, total["sums"], report["sums"]),
        }

    def unfinished(carry):
        state, total = carry
        return (state.step < stop) & total["finite"]

    # A loop whose length is an argument: one program, and so the same bits, however logs,
    # checkpoints and kills cut the dispatches.
    shapes = jax.eval_shape(one, state)[1]
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total = zero | {"finite": jnp.array(True)}
    return jax.lax.while_loop(unfinished, body, (state, total))


def whole(batch: Batch) -> Batch:
    """A batch as a stage wants it: halves are for the way to the devices alone."""
    return jax.tree.map(
        lambda x: x.astype(np.float32) if x.dtype == np.float16 else x, batch
    )


def _report(metrics: dict) -> dict:
    """What one step says; `sums` add up over the steps of a dispatch."""
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
    return {"steps": jnp.ones((), jnp.int32), "finite": finite, "sums": metrics}


def _rows(batch: Batch) -> int:
    """How many examples a batch has: clips, pairs or frames."""
    return max(np.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if np.ndim(leaf))
