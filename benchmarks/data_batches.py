"""How many sequences a second does the input pipeline give, and what do they cost?

Clips of random numbers as large as HuBERT-large's (1024 channels), written as TFDS
records and read from the page cache: a disk's own speed is not in it. Processor time is
that of the whole process, all threads: divided by the cores it says what the input would
reach on a machine that does nothing else.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
import timing

from emogene_jax.input import records
from emogene_jax.input.batches import clip_batches
from emogene_jax.input.tensorflow import quiet_tfds


class RandomClips(tfds.core.GeneratorBasedBuilder):
    """`clips` clips of `frames` frames and `channels` content channels."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # no checksums beside the code: nothing is downloaded

    def __init__(self, clips: int, frames: int, channels: int, **kwargs):
        self.clips, self.frames, self.channels = clips, frames, channels
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Random numbers in the shapes of clips.",
            features=records.clip_features(self.channels),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        normal = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
        for number in range(self.clips):
            clip = records.Clip(
                content=normal(2 * self.frames, self.channels).astype(np.float16),
                f0=normal(2 * self.frames),
                blink=np.zeros(self.frames, np.int32),
                motion=normal(self.frames, 204),
                neutral_motion=normal(self.frames, 204),
                speaker=np.int32(0),
                sentence=np.int32(number),
                emotion="happy",
                intensity=np.float32(1),
            )
            yield number, clip._asdict()


def main(tiny=False):
    """One line a length of the clips, whole and cut."""
    clips, channels = (8, 16) if tiny else (300, 1024)
    for length in (125,) if tiny else (125, 250):
        with tempfile.TemporaryDirectory() as folder:
            with quiet_tfds():
                builder = RandomClips(clips, length, channels, data_dir=folder)
                builder.download_and_prepare(file_format="tfrecord")
            for frames in (100, length):
                _time(Path(builder.data_dir), clips, channels, length, frames, tiny)


def _time(folder, clips, channels, length, frames, tiny):
    """One line: reading clips of `length` frames, cut to `frames` at random."""
    size, calls, batches = 16, 2 if tiny else 10, 2 if tiny else 20
    start = time.perf_counter()
    make = clip_batches(folder, batch_size=size, frames=frames)
    opened = time.perf_counter() - start
    data = make(0)
    for _ in range(batches):  # TensorFlow finds out how many threads are best
        next(data)
    before = _processor_seconds()
    result = timing.measure(lambda: [next(data) for _ in range(batches)], calls, 0)
    used = _processor_seconds() - before
    timing.emit(
        "data_batches",
        result,
        clips=clips,
        clip_frames=length,
        frames=frames,
        channels=channels,
        batch=size,
        batches=batches,
        open_s=round(opened, 2),
        sequences_per_s=round(1e3 * size * batches / result["median_ms"]),
        processor_ms_per_sequence=round(1e3 * used / ((calls + 1) * size * batches), 3),
    )


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
