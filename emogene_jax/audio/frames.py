"""Stretches of sound around every 20 ms, a block at a time: what does not fit the
features themselves never exists for a whole recording."""

from collections.abc import Iterator

import numpy as np

from emogene_jax.signals import AUDIO_FPS, SAMPLE_RATE

HOP = SAMPLE_RATE // AUDIO_FPS  # samples of a step
BLOCK = 1000  # steps


def step_count(waveform: np.ndarray) -> int:
    """Steps of waveform [samples]: ceil(samples / 320), at least 1."""
    return max(1, -(-len(waveform) // HOP))


def blocks(
    waveform: np.ndarray, width: int, steps: int | None = None
) -> Iterator[np.ndarray]:
    """Frames [n, width] float32 around the middles of successive steps, n <= 1000.

    Args:
      waveform: [samples] at 16 kHz; beyond its ends there are zeros.
      width: samples of a frame.
      steps: of all blocks together; by default step_count.
    """
    steps = step_count(waveform) if steps is None else steps
    side = (width - HOP) // 2
    for start in range(0, steps, BLOCK):
        first, last = start * HOP - side, min(start + BLOCK, steps) * HOP + side
        block = np.zeros(last - first, np.float32)
        inside = waveform[max(first, 0) : max(last, 0)]
        block[max(-first, 0) :][: len(inside)] = inside
        yield np.lib.stride_tricks.sliding_window_view(block, width)[::HOP]


class Forward:
    """An array [S, F] float32 that is made while it is read, from start to end: no more
    of it exists than the last slice asked for."""

    def __init__(self, pieces: Iterator[np.ndarray], shape: tuple[int, int]):
        self.shape = shape
        self._pieces = pieces
        self._kept, self._first = np.zeros((0, shape[1]), np.float32), 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> np.ndarray:
        """Rows start..stop; start may not be before that of the slice before."""
        start, stop, _ = part.indices(len(self))
        if start < self._first:
            raise ValueError(f"row {start} was asked for after row {self._first}")
        while self._first + len(self._kept) < stop:
            self._kept = np.concatenate([self._kept, next(self._pieces)])
            # What lies before `start` is never read again.
            gone = min(len(self._kept), start - self._first)
            self._kept, self._first = self._kept[gone:], self._first + gone
        gone = start - self._first
        self._kept, self._first = self._kept[gone:], start
        return self._kept[: stop - start]
