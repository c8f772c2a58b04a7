"""Where the time of a piece of work goes: seconds by stage, each counted once."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any


class Clock:
    """Stages may be nested: while an inner one runs, the outer one stands still.

    Attributes:
      wall, processor: {stage: seconds}, that passed, and that the process's threads took.
    """

    def __init__(self):
        self.wall, self.processor = {}, {}
        self._stages = [None]
        self._last = _now()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs inside counts as stage `name`."""
        self._count()
        self._stages.append(name)
        try:
            yield
        finally:
            self._count()
            self._stages.pop()

    def each(self, name: str, items: Iterable) -> Iterator[Any]:
        """The items; making them counts as stage `name`, what is done with them not."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                item = next(iterator, self)
            if item is self:
                return
            yield item

    def seconds(self) -> tuple[dict, dict]:
        """`wall` and `processor`."""
        return self.wall, self.processor

    def _count(self) -> None:
        now, stage = _now(), self._stages[-1]
        if stage is not None:
            for seconds, at, before in zip(
                (self.wall, self.processor), now, self._last
            ):
                seconds[stage] = seconds.get(stage, 0.0) + at - before
        self._last = now


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
