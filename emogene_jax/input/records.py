"""What training data looks like on disk: clips, as TFDS writes them into TFRecords.

Builders stand where the clips come from (synthetic/records.py, corpora/records.py; of a
prepared portrait, portrait/records.py) and name the content features (audio.features)
in their metadata, as `content`. A written folder is read back with
`tfds.builder_from_directory`, without this code, in the types it was written in.

Emotions are names. Arrays are encoded as bytes: TFDS's default writes 25 records a
second, this 180.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from emogene_jax.input.tensorflow import quiet_tfds


class Clip(NamedTuple):
    """A speaker says a sentence in an emotion: the record of every corpus of clips."""

    content: np.ndarray  # [2T, F] float16, half of what a large corpus would be
    f0: np.ndarray  # [2T] float32 Hz
    blink: np.ndarray  # [T] int32, 1 = lids closed
    motion: np.ndarray  # [T, 204] float32 eye distances, as filmed
    # [T, 204] the same moments of the same speaker's neutral take of the sentence;
    # where the emotion is neutral or unknown, motion itself.
    neutral_motion: np.ndarray
    speaker: np.ndarray  # () int32
    sentence: np.ndarray  # () int32
    emotion: str
    intensity: np.ndarray  # () float32


def clip_features(channels: int) -> tfds.features.FeaturesDict:
    """The TFDS schema of a `Clip` with as many content channels."""
    scalar = {"speaker": np.int32, "sentence": np.int32, "intensity": np.float32}
    return tfds.features.FeaturesDict(
        {
            "content": array((None, channels), np.float16),
            "f0": array((None,), np.float32),
            "blink": array((None,), np.int32),
            "motion": array((None, 204), np.float32),
            "neutral_motion": array((None, 204), np.float32),
            "emotion": tfds.features.Text(),
            **{name: tfds.features.Scalar(dtype) for name, dtype in scalar.items()},
        }
    )


def write(builder: tfds.core.GeneratorBasedBuilder) -> Path:
    """Writes a builder's records, unless they are there already, and says where."""
    with quiet_tfds():
        builder.download_and_prepare(file_format="tfrecord")
    return Path(builder.data_dir)


def array(shape: tuple, dtype) -> tfds.features.Tensor:
    """The schema of an array; None in its shape may differ from record to record."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")
