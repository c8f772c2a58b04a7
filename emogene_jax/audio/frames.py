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
