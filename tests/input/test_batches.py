"""Batches are a function of (seed, step), and hold what the records hold."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.input import batches as batching
from emogene_jax.input.batches import (
    bucket_schedule,
    clip_batches,
    emotion_pairs,
    pair_batches,
    records_content,
)
from emogene_jax.signals import EMOTIONS, UserError
from emogene_jax.synthetic import records

WORLD = records.World(
    speakers=2, sentences=2, emotions=("neutral", "happy"), intensities=(0.5, 1.0)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return records.write_synthetic(WORLD, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def clips():
    return list(records.synthetic_clips(WORLD, "train", processes=1))


def first(batches, start, count=1):
    return list(itertools.islice(batches(start), count))


def equal(a, b):
    assert a.keys() == b.keys()
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_windows_are_windows_of_clips(folder, clips):
    # 300 frames are more than any clip has, 60 fewer.
    for frames in (60, 300):
        batches = clip_batches(folder, batch_size=12, frames=frames, neutral=False)
        (batch,) = first(batches, 0)
        assert batch["content"].shape == (12, 2 * frames, 80)
        assert batch["mask"].shape == (12, frames) and batch["blink"].dtype == np.int32
        for row in range(12):
            _find(clips, {name: array[row] for name, array in batch.items()})


def _find(clips, window):
    """The window is a stretch of some clip, all signals in step, padded with 0."""
    kept = int(window["mask"].sum())
    assert (window["mask"][kept:] == 0).all() and (window["motion"][kept:] == 0).all()
    assert (window["content"][2 * kept :] == 0).all()
    for clip in clips:
        for start in range(len(clip.motion) - kept + 1):
            if np.array_equal(
                clip.motion[start : start + kept], window["motion"][:kept]
            ):
                sound = slice(2 * start, 2 * (start + kept))
                np.testing.assert_array_equal(
                    clip.content[sound], window["content"][: 2 * kept]
                )
                np.testing.assert_array_equal(clip.f0[sound], window["f0"][: 2 * kept])
                np.testing.assert_array_equal(
                    clip.blink[start : start + kept], window["blink"][:kept]
                )
                assert clip.speaker == window["speaker"]
                return
    raise AssertionError("no clip has this window")


def test_any_step_is_reached_directly(folder):
    batches = clip_batches(folder, batch_size=5, frames=60, seed=3)
    run = first(batches, 0, 9)  # into the fourth epoch of 12 clips
    for step in (1, 4, 8):
        assert equal(first(batches, step)[0], run[step])
    other = clip_batches(folder, batch_size=5, frames=60, seed=4)
    assert not equal(first(other, 0)[0], run[0])
    assert not equal(run[0], run[1])


def test_an_epoch_has_every_clip_once(folder, clips):
    batches = clip_batches(folder, batch_size=12, frames=300, neutral=False)
    for batch in first(batches, 0, 2):
        lengths = batch["mask"].sum(1).astype(int)
        seen = {batch["motion"][row, : lengths[row]].tobytes() for row in range(12)}
        assert seen == {clip.motion.tobytes() for clip in clips}


def test_hosts_share_a_batch(folder):
    # Clips are cut: the cuts, too, do not depend on the number of hosts.
    whole = first(clip_batches(folder, batch_size=4, frames=60), 2)[0]
    halves = [
        first(clip_batches(folder, batch_size=4, frames=60, hosts=(host, 2)), 2)[0]
        for host in range(2)
    ]
    for name in whole:
        both = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(both, whole[name])


def test_buckets_hold_whole_clips(folder, clips):
    lengths = sorted(len(clip.motion) for clip in clips)
    frames = (lengths[3], lengths[8])  # the last clips are longer than both
    assert frames[0] < frames[1] < lengths[-1]
    batches = clip_batches(folder, batch_size=4, frames=frames, neutral=False)
    run, seen = first(batches, 0, 12), set()  # four epochs of 12 clips
    for batch in run:
        size = batch["motion"].shape[1]
        assert size in frames and batch["content"].shape == (4, 2 * size, 80)
        for row in range(4):
            window = {name: array[row] for name, array in batch.items()}
            _find(clips, window)
            kept = int(window["mask"].sum())
            if size == frames[0]:
                assert kept <= frames[0]
            else:  # no shorter clip would do with the shorter bucket
                assert frames[0] < kept <= frames[1]
            seen.add(kept)
    assert seen == {min(length, frames[1]) for length in lengths}
    for step in (1, 7, 11):
        assert equal(first(batches, step)[0], run[step])
    halves = [
        clip_batches(
            folder, batch_size=4, frames=frames, neutral=False, hosts=(host, 2)
        )
        for host in range(2)
    ]
    for step, both in enumerate(zip(*(first(half, 0, 5) for half in halves))):
        for name, array in run[step].items():
            joined = np.concatenate([half[name] for half in both])
            np.testing.assert_array_equal(joined, array)


@settings(max_examples=60, deadline=None)
@given(
    buckets=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_the_schedule_is_that_of_waiting_queues(buckets, batch_size, seed):
    buckets = np.array(buckets)
    schedule = bucket_schedule(buckets, batch_size, seed)
    waiting, emitted = {b: [] for b in range(4)}, []
    for epoch in range(8):
        order = np.random.default_rng([seed, epoch]).permutation(len(buckets))
        for clip in order:
            queue = waiting[buckets[clip]]
            queue.append(clip)
            if len(queue) == batch_size:
                emitted.append((buckets[clip], list(queue)))
                queue.clear()
    # From the last step to the first: no step needs those before it.
    for step in reversed(range(len(emitted))):
        bucket, chosen = schedule(step)
        assert (bucket, chosen.tolist()) == emitted[step]


def test_pairs_are_of_one_moment(folder, clips):
    pairs = emotion_pairs(folder)
    assert len(pairs["neutral"]) == sum(len(clip.motion) for clip in clips)
    neutral = pairs["emotion"] == EMOTIONS.index("neutral")
    assert neutral.any() and set(pairs["intensity"][~neutral]) == {0.5, 1.0}
    np.testing.assert_array_equal(
        pairs["neutral"][neutral], pairs["emotional"][neutral]
    )
    moved = np.abs(pairs["emotional"] - pairs["neutral"]).max(1)
    assert (moved[~neutral] > 0.01).all()


def test_pair_batches_by_step(folder):
    pairs = emotion_pairs(folder, "validation")
    count = len(pairs["emotion"])
    size = count // 3 + 1
    batches = pair_batches(folder, "validation", batch_size=size)
    run = first(batches, 0, 5)
    assert equal(first(batches, 4)[0], run[4])
    rows = np.concatenate([batch["emotional"] for batch in run])
    once = {row.tobytes() for row in rows[:count]}
    assert once == {row.tobytes() for row in pairs["emotional"]}
    halves = [pair_batches(folder, batch_size=4, hosts=(host, 2)) for host in range(2)]
    both = np.concatenate([first(half, 1)[0]["neutral"] for half in halves])
    (whole,) = first(pair_batches(folder, batch_size=4), 1)
    np.testing.assert_array_equal(both, whole["neutral"])


def test_what_is_missing_is_told(folder, tmp_path):
    with pytest.raises(UserError, match="found 0 sets of records"):
        clip_batches(tmp_path)
    with pytest.raises(UserError, match=r"splits \['train', 'validation'\].*test"):
        clip_batches(folder, "test")
    with pytest.raises(
        UserError, match=r"frames: found \(0, 50\), expected at least 1"
    ):
        clip_batches(folder, frames=(0, 50))
    with pytest.raises(UserError, match="batch_size 5 is not divisible by 2 hosts"):
        clip_batches(folder, batch_size=5, hosts=(0, 2))


def test_a_program_ends_while_batches_are_read(folder):
    program = f"""
import os, time
from emogene_jax.input.batches import clip_batches

pread = os.pread
os.pread = lambda *args: time.sleep(0.05) or pread(*args)  # reading is never idle
batches = clip_batches({str(folder)!r}, batch_size=4)(0)
next(batches)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def damaged(data: bytes) -> dict[str, bytes]:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return {"cut off": data[:-20], "changed": bytes(changed), "empty": b""}


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty", "absent"])
def test_a_damaged_file_is_named(folder, tmp_path, damage):
    copied = Path(shutil.copytree(folder, tmp_path / "records"))
    (shard,) = copied.glob("*validation.tfrecord*")
    data = shard.read_bytes()
    shard.unlink()
    if damage != "absent":
        shard.write_bytes(damaged(data)[damage])
    for read in (clip_batches, emotion_pairs):
        with pytest.raises(UserError) as told:
            read(copied, "validation")
        (line,) = str(told.value).splitlines()
        assert re.fullmatch(
            rf"{re.escape(str(shard))}: found \d whole records, expected 6", line
        )
    next(clip_batches(copied, "train")(0))  # which is whole


def test_records_name_their_content(folder, tmp_path):
    assert json.loads((folder / "metadata.json").read_text()) == {"content": LOG_MEL}
    copied = Path(shutil.copytree(folder, tmp_path / "records"))
    (copied / "metadata.json").unlink()  # of an older version: told by their number
    assert records_content(copied) == records_content(folder) == LOG_MEL
    next(clip_batches(copied, "train")(0))
    with pytest.raises(UserError, match="found 0 sets of records"):
        records_content(tmp_path / "absent")


def rewritten(folder, to, change, only=3):
    """A copy of the records of which one train example, or all (None), went through
    change(features)."""
    import tensorflow as tf

    copied = Path(shutil.copytree(folder, to))
    (shard,) = copied.glob("*train.tfrecord*")
    records = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(shard))]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number, record in enumerate(records):
            example = tf.train.Example.FromString(record)
            if only in (number, None):
                change(example.features.feature)
            writer.write(example.SerializeToString())
    return copied


def test_content_is_in_halves_and_older_records_in_singles(folder, tmp_path):
    def widened(feature):
        (half,) = feature["content"].bytes_list.value
        whole = np.frombuffer(half, np.float16).astype(np.float32).tobytes()
        feature["content"].bytes_list.value[:] = [whole]

    older = rewritten(folder, tmp_path / "r", widened, only=None)
    path = older / "features.json"
    told = json.loads(path.read_text())
    told["featuresDict"]["features"]["content"]["tensor"]["dtype"] = "float32"
    path.write_text(json.dumps(told))
    (new,) = first(clip_batches(folder, batch_size=4, frames=8), 0)
    (old,) = first(clip_batches(older, batch_size=4, frames=8), 0)
    assert new["content"].dtype == np.float16 and old["content"].dtype == np.float32
    for name, array in new.items():
        np.testing.assert_array_equal(array, old[name])


def test_a_record_that_lacks_something_is_named(folder, tmp_path):
    changed = rewritten(folder, tmp_path / "r", lambda feature: feature.pop("f0"))
    for read in (clip_batches, emotion_pairs):
        with pytest.raises(UserError, match="train.tfrecord.*: record 3 is not what"):
            read(changed)


@pytest.mark.parametrize("name, what", [("f0", "no f0"), ("motion", "motion with 1")])
def test_records_of_another_version_are_told(folder, tmp_path, name, what):
    copied = Path(shutil.copytree(folder, tmp_path / "records"))
    for path in (copied / "features.json", copied / "dataset_info.json"):
        content = json.loads(path.read_text())
        features = content.get("featuresDict", {}).get("features", {})
        if features and what.startswith("no"):
            del features[name]
        elif features:
            features[name]["tensor"]["shape"]["dimensions"].pop()
        if "version" in content:
            content["version"] = "2.0.0"
        path.write_text(json.dumps(content))
    for read in (clip_batches, emotion_pairs):
        with pytest.raises(UserError, match=f"records of version 2.0.0 with {what}"):
            read(copied)


def test_what_can_no_longer_be_read_is_told(folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "records"))
    batches = clip_batches(copied, batch_size=4)(0)
    next(batches)
    for shard in copied.glob("*.tfrecord*"):
        shard.unlink()
    with pytest.raises(UserError, match="records can't be read any more.*No such file"):
        for _ in range(100):
            next(batches)


def test_a_corpus_is_read_once_to_find_its_records(folder, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for beside in copy.rglob(".*.npz"):
        beside.unlink()
    first = next(iter(clip_batches(copy, batch_size=4, frames=8)(3)))
    scan, scanned = batching._scan, []
    monkeypatch.setattr(batching, "_scan", lambda *a: scanned.append(a) or scan(*a))
    again = next(iter(clip_batches(copy, batch_size=4, frames=8)(3)))
    assert not scanned
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
    # Neither a damaged index nor one of other files counts.
    (beside,) = copy.rglob(".*.npz")
    for spoil in (
        lambda: beside.write_bytes(b"PK"),
        lambda: os.utime(next(copy.rglob("[!.]*train.tfrecord*")), (1, 1)),
    ):
        spoil()
        scanned.clear()
        clip_batches(copy, batch_size=4, frames=8)
        assert len(scanned) == 1


def test_a_million_clips_are_opened_within_a_minute(folder, monkeypatch):
    from emogene_jax.input import index

    made = batching._index(batching._open(folder, "train"))
    times = -(-1_000_000 // len(made.frames))
    many = index.Index(*(np.tile(part, times) for part in made))
    monkeypatch.setattr(batching, "kept", lambda files, make: many)
    began = time.perf_counter()
    batch = next(iter(clip_batches(folder, batch_size=64, frames=(8, 16))(5000)))
    assert len(batch["content"]) == 64
    assert time.perf_counter() - began < 60
