"""TensorFlow, only where data goes through it: quiet, off the GPU, ended in time."""

import atexit
import contextlib
import os
import weakref
from collections.abc import Generator, Iterator

from absl import logging


def load_tensorflow():
    """The tensorflow module, without its GPU (JAX needs the memory) and its chatter."""
    # Read when it is imported. oneDNN announces itself before the log level counts, and
    # nothing here multiplies matrices.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # too late: someone else has set it up
        tf.config.set_visible_devices([], "GPU")
    return tf


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """TFDS without its bars, its prints and the warnings about itself."""
    import tensorflow_datasets as tfds

    load_tensorflow()
    tfds.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            yield
    finally:
        logging.set_verbosity(before)


_running = weakref.WeakSet()  # the generators that are still in use


def until_exit(batches: Generator) -> Generator:
    """`batches`, out of a pipeline that calls Python, ended before Python is: a thread of
    TensorFlow that enters it too late would never return, nor the exit."""
    _running.add(batches)
    return batches


@atexit.register
def _stop() -> None:
    for batches in list(_running):
        batches.close()
