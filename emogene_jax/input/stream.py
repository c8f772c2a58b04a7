"""Rows that stay on the host: a step gets those that it looks at, and no others."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import numpy as np

from emogene_jax.input.batches import Batches, host_share
from emogene_jax.input.tensorflow import load_tensorflow, until_exit

AHEAD = 2  # batches that wait for the devices


def row_batches(
    parts: Sequence[Mapping[str, np.ndarray]],
    choose: Callable[[int], Mapping[str, tuple[str, np.ndarray]]],
    hosts: tuple[int, int] = (0, 1),
) -> Batches:
    """Batches of rows of arrays that are too many to be joined, or to live on a device.

    A tf.data pipeline over the numbers of the steps, which copies the rows of several
    steps at a time. TensorFlow is imported when data is asked for, not before.

    Args:
      parts: arrays of the same names, one part's rows to follow the other's.
      choose: step -> {name in the batch: (name in the parts, [B] row numbers)}: of all
        hosts, and a function of the step alone.
      hosts: (index of this host, number of hosts).

    Returns:
      batches: gives {name: [B of this host, …]}.

    Raises:
      UserError: B cannot be shared among the hosts.
    """

    def make(step: int) -> dict[str, np.ndarray]:
        batch = {}
        for name, (source, rows) in choose(step).items():
            mine = rows[host_share(len(rows), hosts)]
            batch[name] = _rows([part[source] for part in parts], mine)
        return batch

    def batches(start_step: int) -> Iterator[dict[str, np.ndarray]]:
        return until_exit(_ahead(make, start_step))

    return batches


def _ahead(make: Callable, start_step: int) -> Generator[dict[str, np.ndarray]]:
    tf = load_tensorflow()
    kinds = {name: array.dtype for name, array in make(start_step).items()}

    def of_step(step):
        arrays = tf.numpy_function(
            lambda number: list(make(int(number)).values()), [step], [*kinds.values()]
        )
        return dict(zip(kinds, arrays, strict=True))

    data = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
    data = data.map(of_step, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    yield from data.prefetch(AHEAD).as_numpy_iterator()


def _rows(parts: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Rows of what the parts would be if they were joined."""
    ends = np.cumsum([len(part) for part in parts])
    which = np.searchsorted(ends, rows, side="right")
    places = rows - ends[which]  # from the end of their part
    return np.stack([parts[n][place] for n, place in zip(which, places, strict=True)])
