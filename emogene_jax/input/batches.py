"""Records -> batches of training, each a function of (seed, step).

A tf.data pipeline over TFDS records: shuffled, bucketed by length, cut or padded, each
host its share, prefetched. `batches(start_step)` begins at any step without going
through those before it, so a training that was killed sees the same data when it goes
on. TensorFlow is imported when data is asked for, not before.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emogene_jax.audio.features import content_of
from emogene_jax.input.index import Index, kept
from emogene_jax.input.tensorflow import load_tensorflow, quiet_tfds, until_exit
from emogene_jax.signals import EMOTIONS, UserError, listed

PAIRED = "paired"  # corpora.records.CorpusRecords has it; elsewhere all clips are
Batches = Callable[[int], Iterator[dict[str, np.ndarray]]]


def clip_batches(
    records: Path,
    split: str = "train",
    *,
    batch_size: int = 8,
    frames: int | Sequence[int] = 100,
    seed: int = 0,
    neutral: bool = True,
    hosts: tuple[int, int] = (0, 1),
) -> Batches:
    """Batches for the lip-sync expert and the audio-to-motion model.

    Args:
      records: a folder of `Clip` records (input.records).
      batch_size: clips, over all hosts.
      frames: T of the batches: one length, or several ("buckets"). Every clip is padded
        with 0 to the next length, or, where it is longer than all, cut at random to the
        longest, and comes as often in an epoch as that is contained in it: all speech
        counts the same. A batch is of one length, the same on all hosts. A step is
        compiled once for each.
      neutral: `motion` is the neutral motion behind the emotion, which is what the
        audio-to-motion model is to give; else motion as filmed.
      hosts: (index of this host, number of hosts).

    Returns:
      batches: gives content [B, 2T, F] (float16; float32 of records that hold that),
      f0 [B, 2T] Hz, blink [B, T] int32, motion [B, T, 204], mask [B, T] (0 = padding),
      speaker [B] int32; B is this host's share.
    """
    rows = host_share(batch_size, hosts)
    lengths = np.unique(np.atleast_1d(frames))
    if lengths[0] < 1:
        raise UserError(f"batch.frames: found {frames}, expected at least 1")
    clips = _open(records, split)
    index = kept(clips.files, lambda: _index(clips))
    # Emotional clips without a neutral take say nothing of that.
    places = np.flatnonzero(index.paired | (not neutral))
    if not len(places):
        raise UserError(f"{records}: found 0 clips of {split} with a neutral motion")
    times = np.maximum(index.frames[places] // lengths[-1], 1)
    places = np.repeat(places, times)
    whole = index.frames[places]
    buckets = np.searchsorted(lengths, whole).clip(max=len(lengths) - 1)
    schedule = functools.lru_cache(64)(bucket_schedule(buckets, batch_size, seed))
    motion = "neutral_motion" if neutral else "motion"

    def choose(number: int) -> tuple[tuple[str, int, int], int, int]:
        """((file, offset, size), length of its batch, position) of this host's row
        `number`."""
        step, row = divmod(number, len(rows))
        bucket, chosen = schedule(step)
        position = step * batch_size + rows[row]
        place = places[chosen[rows[row]]]
        file = clips.files[index.shard[place]]
        where = file, int(index.offset[place]), int(index.size[place])
        return where, lengths[bucket], position

    def batches(start_step: int) -> Iterator[dict[str, np.ndarray]]:
        tf = load_tensorflow()
        decode = _decode(clips.features)

        def window(number):
            record, length, position = _read(tf, choose, number)
            clip = decode(record)
            clip["motion"] = clip[motion]
            return _window(tf, clip, length, (seed, position))

        # This host's rows of all steps. `choose` knows which clips they are, so that
        # nothing is read only to be shuffled, put in a bucket or skipped.
        data = tf.data.Dataset.range(start_step * len(rows), np.iinfo(np.int64).max)
        data = data.map(window, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(len(rows), drop_remainder=True)
        data = data.prefetch(2)  # last: whole batches wait for the devices
        return until_exit(_arrays(data))

    return batches


def bucket_schedule(
    buckets: np.ndarray, batch_size: int, seed: int
) -> Callable[[int], tuple[int, np.ndarray]]:
    """Which clips make the batch of a step.

    Each epoch goes through all of them once, in an order of its own. A clip waits in the
    queue of its bucket; as soon as `batch_size` wait there they are a batch, and those
    that still wait when the epoch ends are joined by clips of the next. How many
    batches are complete by then is plain arithmetic, so any step is found at once.

    Args:
      buckets: [clips] int, of each clip.

    Returns:
      batch: step -> (bucket, clips [batch_size]).
    """
    counts = np.bincount(buckets)

    @functools.lru_cache(maxsize=8)
    def queues(epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each bucket, its clips in the order of the epoch, and when they come."""
        order = np.random.default_rng([seed, epoch]).permutation(len(buckets))
        whens = [np.flatnonzero(buckets[order] == b) for b in range(len(counts))]
        return [(order[when], when) for when in whens]

    def before(epoch: int) -> np.ndarray:
        """How many batches of each bucket are complete when the epoch begins."""
        return counts * epoch // batch_size

    @functools.lru_cache(maxsize=2)
    def completed(epoch: int) -> list[tuple[int, int]]:
        """(bucket, number) of the batches that the epoch completes, in turn."""
        batches = []
        for bucket, (_, when) in enumerate(queues(epoch)):
            for number in range(before(epoch)[bucket], before(epoch + 1)[bucket]):
                last = (number + 1) * batch_size - 1 - counts[bucket] * epoch
                batches.append((when[last], bucket, number))
        return [(bucket, number) for _, bucket, number in sorted(batches)]

    def batch(step: int) -> tuple[int, np.ndarray]:
        epoch = step * batch_size // len(buckets)  # or, with some left waiting, later
        while before(epoch + 1).sum() <= step:
            epoch += 1
        bucket, number = completed(epoch)[step - before(epoch).sum()]
        places = np.arange(number * batch_size, (number + 1) * batch_size)
        epochs, places = np.divmod(places, counts[bucket])
        parts = [queues(e)[bucket][0][places[epochs == e]] for e in np.unique(epochs)]
        return bucket, np.concatenate(parts)

    return batch


def emotion_pairs(records: Path, split: str = "train") -> dict[str, np.ndarray]:
    """Every frame of every clip beside the neutral frame of the same moment.

    A clip's `neutral_motion` is the same speaker's neutral take of the same sentence,
    so pairs are by speaker and sentence, at all intensities; neutral clips pair with
    themselves. Clips that are not `paired` are left out.

    Returns:
      neutral [N, 204], emotional [N, 204] (eye distances), emotion [N] int32 (an index
      into EMOTIONS), intensity [N]: small enough (1.6 kB a frame) to be resident.
    """
    clips = _open(records, split)
    parts = {"neutral": [], "emotional": [], "emotion": [], "intensity": []}
    for _, clip in _scan(clips, _decode(clips.features)):
        name = clip["emotion"].decode()
        if name not in EMOTIONS:
            raise UserError(f"{records}: found emotion {name!r}, expected {EMOTIONS}")
        if not clip.get(PAIRED, True):
            continue
        length = len(clip["motion"])
        parts["neutral"].append(clip["neutral_motion"])
        parts["emotional"].append(clip["motion"])
        parts["emotion"].append(np.full(length, EMOTIONS.index(name), np.int32))
        parts["intensity"].append(np.full(length, clip["intensity"], np.float32))
    if not parts["emotion"]:
        raise UserError(f"{records}: found 0 clips of {split} with a neutral take")
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
    rows = host_share(batch_size, hosts)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(count)

    def batches(start_step: int) -> Iterator[dict[str, np.ndarray]]:
        for step in itertools.count(start_step):
            first = step * batch_size
            places = [divmod(first + row, count) for row in rows]
            chosen = [order(epoch)[place] for epoch, place in places]
            yield {name: array[chosen] for name, array in pairs.items()}

    return batches


def _arrays(data) -> Iterator[dict[str, np.ndarray]]:
    tf = load_tensorflow()
    try:
        yield from data.as_numpy_iterator()
    except tf.errors.OpError as error:  # they were whole when the training began
        reason = error.message.splitlines()[0][:200]
        raise UserError(f"records can't be read any more: {reason}") from error


class _Split(NamedTuple):
    """The records of a split on disk."""

    files: list[str]
    counts: list[int]  # of the records in each
    features: Any  # their tfds.features.FeaturesDict


def records_content(records: Path) -> dict:
    """The content features (audio.features) of a folder of `Clip` records; by their
    number, where records of an older version do not name them.

    Raises:
      UserError: no such records.
    """
    info = _info(records)
    _check_layout(records, info)
    return info.metadata.get("content") or content_of(
        info.features["content"].shape[-1]
    )


def _info(records: Path):
    """The tfds.core.DatasetInfo of the only set of records in a folder."""
    with quiet_tfds():
        import tensorflow_datasets as tfds

        found = sorted(Path(records).rglob("dataset_info.json"))
        if len(found) != 1:
            raise UserError(
                f"{records}: found {len(found)} sets of records, expected one"
            )
        return tfds.builder_from_directory(str(found[0].parent)).info


def _open(records: Path, split: str) -> _Split:
    info = _info(records)
    if info.file_format.value != "tfrecord":
        raise UserError(f"{records}: found {info.file_format.value}, expected tfrecord")
    if split not in info.splits or not info.splits[split].num_examples:
        raise UserError(
            f"{records}: found splits {list(info.splits)}, expected {split}"
        )
    _check_layout(records, info)
    files = [str(path) for path in info.splits[split].filepaths]
    return _Split(files, info.splits[split].shard_lengths, info.features)


# What is read of a record, and how many axes it has (input.records.clip_features).
READ = {
    **{"content": 2, "f0": 1, "blink": 1, "motion": 2, "neutral_motion": 2},
    **{"speaker": 0, "emotion": 0, "intensity": 0},
}


def _check_layout(records: Path, info) -> None:
    """UserError where records are of another kind, or of a version that is not read."""
    axes = {name: len(info.features[name].shape) for name in info.features}
    wrong = sorted(name for name in READ if axes.get(name) != READ[name])
    if not wrong:
        return
    name = wrong[0]
    what = f"{name} with {axes[name]} axes" if name in axes else f"no {name}"
    raise UserError(
        f"{records}: found {info.name} records of version {info.version} with {what}, "
        f"expected clips with {listed(list(READ))}"
    )


def _decode(features) -> Callable:
    """record -> clip, as tensors."""

    def decode(record):
        with quiet_tfds():  # it warns of itself while tf.data traces it
            return features.deserialize_example(record)

    return decode


def _scan(split: _Split, decode: Callable) -> Iterator[tuple[str, Any]]:
    """(file, decode(record)) of all records in order. UserError at a damaged file."""
    tf = load_tensorflow()
    for file, count in zip(split.files, split.counts, strict=True):
        data = tf.data.TFRecordDataset(file)
        data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        found = 0
        try:
            for decoded in data.as_numpy_iterator():
                found += 1
                yield file, decoded
        except (tf.errors.DataLossError, tf.errors.NotFoundError):
            pass  # told below: it held fewer
        except tf.errors.InvalidArgumentError as error:
            reason = error.message.splitlines()[0][:120]
            raise UserError(
                f"{file}: record {found} is not what dataset_info.json says ({reason})"
            ) from error
        if found != count:
            raise UserError(f"{file}: found {found} whole records, expected {count}")


def _index(split: _Split) -> Index:
    """It reads every record once, and so tells a damaged one before training starts."""
    tf = load_tensorflow()
    import tensorflow_datasets as tfds

    # One short array of a record tells its length; the others are not decoded.
    names = [name for name in ("f0", PAIRED) if name in split.features]
    few = {name: split.features[name] for name in names}
    decode = _decode(tfds.features.FeaturesDict(few))

    def measure(record):
        found = decode(record)
        length = tf.shape(found["f0"])[0] // 2
        return tf.strings.length(record), length, found.get(PAIRED, True)

    number = {file: n for n, file in enumerate(split.files)}
    found, ends = [], dict.fromkeys(split.files, 0)
    for file, (size, length, keep) in _scan(split, measure):
        # Before each record are its length (8 bytes) and that one's checksum (4), after
        # it its own (4).
        found.append((number[file], ends[file] + 12, size, length, keep))
        ends[file] += 12 + int(size) + 4
    kinds = np.int32, np.int64, np.int64, np.int32, bool
    return Index(*map(np.array, zip(*found), kinds))


def _read(tf, choose: Callable, number) -> list:
    """[record, length, position] of what `choose(number)` names, as tensors."""

    def read(number: np.ndarray) -> tuple[np.ndarray, np.int32, np.int64]:
        (file, offset, size), length, position = choose(int(number))
        with open(file, "rb", buffering=0) as opened:
            record = os.pread(opened.fileno(), size, offset)
        # An object, since NumPy's own strings lose the zeros at their end.
        return np.array(record, object), np.int32(length), np.int64(position)

    found = tf.numpy_function(read, [number], [tf.string, tf.int32, tf.int64])
    return [tf.ensure_shape(part, []) for part in found]


def host_share(batch_size: int, hosts: tuple[int, int]) -> range:
    """The rows of a batch that are this host's, of `hosts` (its index, how many)."""
    index, total = hosts
    if batch_size % total:
        raise UserError(f"batch_size {batch_size} is not divisible by {total} hosts")
    rows = batch_size // total
    return range(index * rows, (index + 1) * rows)


def _window(tf, clip: dict, frames, seed: tuple) -> dict:
    """`frames` frames of a clip: cut at random, or padded at the end."""
    length = tf.shape(clip["motion"])[0]
    room = tf.maximum(length - frames, 0)
    start = tf.random.stateless_uniform([], seed, 0, room + 1, tf.int32)
    kept = tf.minimum(length, frames)

    def cut(array, rate):
        part = array[rate * start : rate * (start + kept)]
        rest = [[0, 0]] * (len(array.shape) - 1)
        return tf.pad(part, [[0, rate * (frames - kept)], *rest])

    return {
        "content": cut(clip["content"], 2),
        "f0": cut(clip["f0"], 2),
        "blink": cut(clip["blink"], 1),
        "motion": cut(clip["motion"], 1),
        "mask": tf.cast(tf.range(frames) < kept, tf.float32),
        "speaker": clip["speaker"],
    }
