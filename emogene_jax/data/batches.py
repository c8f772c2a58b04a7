"""Records -> batches of training, each a function of (seed, step).

`batches(start_step)` begins at any step without going through those before it, so a
training that was killed sees the same data when it goes on. On several hosts each reads
its share of every batch. TensorFlow is imported when data is asked for, not before.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from emogene_jax.data.tensorflow import load_tensorflow, quiet_tfds
from emogene_jax.signals import EMOTIONS, UserError

SHUFFLE_RECORDS = 2048  # undecoded; one is 0.2 MB (log-mel) to 1.2 MB (HuBERT)
Batches = Callable[[int], Iterator[dict[str, np.ndarray]]]


def clip_batches(
    records: Path,
    split: str = "train",
    *,
    batch_size: int = 8,
    frames: int = 100,
    seed: int = 0,
    neutral: bool = True,
    hosts: tuple[int, int] = (0, 1),
) -> Batches:
    """Batches for the lip-sync expert and the audio-to-motion model.

    Args:
      records: a folder of `Clip` records (records.py).
      batch_size: clips, over all hosts.
      frames: of a window. Longer clips are cut at random, shorter ones padded with 0.
      neutral: `motion` is the neutral motion behind the emotion, which is what the
        audio-to-motion model is to give; else motion as filmed.
      hosts: (index of this host, number of hosts).

    Returns:
      batches: gives content [B, 2T, F], f0 [B, 2T] Hz, blink [B, T] int32, motion
      [B, T, 204], mask [B, T] (0 = padding), speaker [B] int32; B is this host's share.
    """
    files, count, decode = _open(records, split)
    index, total = hosts
    if batch_size % total:
        raise UserError(f"batch_size {batch_size} is not divisible by {total} hosts")
    motion = "neutral_motion" if neutral else "motion"

    def batches(start_step: int) -> Iterator[dict[str, np.ndarray]]:
        tf = load_tensorflow()
        first = start_step * batch_size  # the position of the first clip wanted
        raw = tf.data.TFRecordDataset(files)

        def epoch(number):
            # Undecoded records are shuffled: they are small. Each epoch has an order of
            # its own, a function of (seed, epoch).
            return raw.shuffle(
                min(count, SHUFFLE_RECORDS), seed=number + seed * 100_003
            )

        def window(position, record):
            clip = decode(record)
            clip["motion"] = clip[motion]
            return _window(tf, clip, frames, (seed, position))

        data = tf.data.Dataset.range(first // count, np.iinfo(np.int64).max)
        data = data.flat_map(epoch)  # shuffle, then repeat: no clip twice in an epoch
        data = data.skip(first % count)  # before decoding: only reads
        data = data.enumerate(first)  # the position seeds the cut
        data = data.shard(total, index)  # before the work, after all that is random
        data = data.map(window, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(batch_size // total, drop_remainder=True)
        data = data.prefetch(2)  # last: whole batches wait for the devices
        return data.as_numpy_iterator()

    return batches


def emotion_pairs(records: Path, split: str = "train") -> dict[str, np.ndarray]:
    """Every frame of every clip beside the neutral frame of the same moment.

    A clip's `neutral_motion` is the same speaker's neutral take of the same sentence,
    so pairs are by speaker and sentence, at all intensities; neutral clips pair with
    themselves.

    Returns:
      neutral [N, 204], emotional [N, 204] (eye distances), emotion [N] int32 (an index
      into EMOTIONS), intensity [N]: small enough (1.6 kB a frame) to be resident.
    """
    files, _, decode = _open(records, split)
    tf = load_tensorflow()
    parts = {"neutral": [], "emotional": [], "emotion": [], "intensity": []}
    for clip in tf.data.TFRecordDataset(files).map(decode).as_numpy_iterator():
        name = clip["emotion"].decode()
        if name not in EMOTIONS:
            raise UserError(f"{records}: found emotion {name!r}, expected {EMOTIONS}")
        length = len(clip["motion"])
        parts["neutral"].append(clip["neutral_motion"])
        parts["emotional"].append(clip["motion"])
        parts["emotion"].append(np.full(length, EMOTIONS.index(name), np.int32))
        parts["intensity"].append(np.full(length, clip["intensity"], np.float32))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def pair_batches(
    records: Path,
    split: str = "train",
    *,
    batch_size: int = 32,
    seed: int = 0,
    hosts: tuple[int, int] = (0, 1),
) -> Batches:
    """Batches for the deformation model: `emotion_pairs`, in a new order each epoch.

    Returns:
      batches: gives neutral [B, 204], emotional [B, 204], emotion [B], intensity [B].
    """
    pairs = emotion_pairs(records, split)
    count = len(pairs["emotion"])
    index, total = hosts
    if batch_size % total:
        raise UserError(f"batch_size {batch_size} is not divisible by {total} hosts")
    share = batch_size // total

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(count)

    def batches(start_step: int) -> Iterator[dict[str, np.ndarray]]:
        for step in itertools.count(start_step):
            first = step * batch_size + index * share
            places = (divmod(place, count) for place in range(first, first + share))
            chosen = [order(epoch)[place] for epoch, place in places]
            yield {name: array[chosen] for name, array in pairs.items()}

    return batches


def _open(records: Path, split: str):
    """(files, number of records, decode: bytes -> clip) of a split."""
    records = Path(records)
    with quiet_tfds():
        import tensorflow_datasets as tfds

        found = sorted(records.rglob("dataset_info.json"))
        if len(found) != 1:
            raise UserError(
                f"{records}: found {len(found)} sets of records, expected one"
            )
        builder = tfds.builder_from_directory(str(found[0].parent))
    info = builder.info
    if split not in info.splits or not info.splits[split].num_examples:
        raise UserError(
            f"{records}: found splits {list(info.splits)}, expected {split}"
        )
    files = [str(path) for path in info.splits[split].filepaths]

    def decode(record):
        with quiet_tfds():  # it warns of itself while tf.data traces it
            return info.features.deserialize_example(record)

    return files, info.splits[split].num_examples, decode


def _window(tf, clip: dict, frames: int, seed: tuple) -> dict:
    """`frames` frames of a clip: cut at random, or padded at the end."""
    length = tf.shape(clip["motion"])[0]
    room = tf.maximum(length - frames, 0)
    start = tf.random.stateless_uniform([], seed, 0, room + 1, tf.int32)
    kept = tf.minimum(length, frames)

    def cut(array, rate):
        part = array[rate * start : rate * (start + kept)]
        padding = [[0, rate * (frames - kept)], *[[0, 0]] * (len(array.shape) - 1)]
        return tf.ensure_shape(tf.pad(part, padding), [rate * frames, *array.shape[1:]])

    return {
        "content": cut(clip["content"], 2),
        "f0": cut(clip["f0"], 2),
        "blink": cut(clip["blink"], 1),
        "motion": cut(clip["motion"], 1),
        "mask": tf.cast(tf.range(frames) < kept, tf.float32),
        "speaker": clip["speaker"],
    }
