"""How fast a training is, and where its time goes: rates for the curves, and a profile."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax

# Dispatches that are traced: after as many, so many. The first ones compile.
BEFORE, TRACED = 5, 10


class Speed:
    """Steps and examples per second, and the share of time spent waiting for input.

    Waiting is the time in which the host had no next batch to hand over. The devices
    may have been busy with the last one meanwhile: they idle for at most this share.
    """

    def __init__(self, rows: int):
        self.rows = rows  # examples per step, over all hosts
        self.latest: dict[str, float] = {}
        self._mark: tuple[float, int, float] | None = None

    def begin(self, step: int, waited: float) -> None:
        """Starts the clock, where it does not run yet."""
        if self._mark is None:
            self._mark = time.perf_counter(), step, waited

    def lap(self, step: int, waited: float) -> dict[str, float]:
        """The rates since the last lap; `waited`: seconds since the training began."""
        began, first, before = self._mark
        if step == first:
            return self.latest
        now = time.perf_counter()
        self._mark = now, step, waited
        rate = (step - first) / (now - began)
        self.latest = {
            "steps_per_s": rate,
            "examples_per_s": rate * self.rows,
            "waiting_for_input": (waited - before) / (now - began),
        }
        return self.latest


class Trace:
    """A JAX profiler trace of a few dispatches, left in `folder`.

    TensorBoard's profile plugin opens the folder; its `*.trace.json.gz` opens in
    https://ui.perfetto.dev.
    """

    def __init__(self, folder: Path, wanted: bool):
        self.folder, self._wanted = folder, wanted
        self._count = 0

    @contextlib.contextmanager
    def dispatch(self, step: int) -> Iterator[None]:
        """Around each dispatch; `step` is its first."""
        if not self._wanted:
            yield
            return
        if self._count == BEFORE:
            jax.profiler.start_trace(self.folder)
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield
        self._count += 1
        if self._count == BEFORE + TRACED:
            self.close()

    def close(self) -> None:
        """Writes what was traced, if anything was."""
        if not self._wanted:
            return
        self._wanted = False
        if self._count <= BEFORE:
            what = f"no profile: the training ended within {BEFORE} dispatches"
        else:
            jax.profiler.stop_trace()
            what = f"{self.folder}: a profile of {self._count - BEFORE} dispatches"
        print(what, file=sys.stderr)
