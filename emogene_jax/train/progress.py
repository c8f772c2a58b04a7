"""How far long work has come: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping

LINE_SECONDS = 15.0  # between two lines where there is no terminal


class Progress:
    """Reports on `total` units of work, with an estimate of the time that is left."""

    def __init__(self, total: int, label: str, start: int = 0, unit: str = "step"):
        self.total, self.label, self.unit = total, label, unit
        self.start = self.done = start
        self._began = self._last_line = time.monotonic()
        self._bar = _terminal_bar(total, label, start, unit)

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Now `done` units of the total are done; `values` are shown beside them."""
        values = values or {}
        if self._bar is not None:
            self._bar.set_postfix_str(_words(values), refresh=False)
            self._bar.update(done - self.done)
        self.done = done
        now = time.monotonic()
        if self._bar is None and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            self._line(now, values)

    def close(self, values: Mapping[str, float] | None = None) -> None:
        """Ends the bar, or says in a line what came of the work."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._line(time.monotonic(), values or {})

    def _line(self, now: float, values: Mapping[str, float]) -> None:
        spent, done = now - self._began, self.done - self.start
        text = f"{self.label}: {self.unit} {self.done}/{self.total}"
        if done and self.done < self.total:
            left = spent / done * (self.total - self.done)
            text += f", about {_duration(left)} left"
        else:
            text += f", {_duration(spent)}"
        print(f"{text}  {_words(values)}".rstrip(), file=sys.stderr, flush=True)


def _terminal_bar(total: int, label: str, start: int, unit: str):
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=start, desc=label, unit=unit, dynamic_ncols=True)


def _words(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
