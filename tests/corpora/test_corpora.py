"""What the names of each corpus say, and the records that `emogene train` reads of it."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.corpora import (
    clips,
    crema_d,
    extract,
    mead,
    portrait_videos,
    voxceleb2,
)
from emogene_jax.corpora.clips import Job, Task
from emogene_jax.corpora.corpus import NO_SENTENCE, UNKNOWN, find_clips
from emogene_jax.corpora.records import write_records
from emogene_jax.folders import write_json
from emogene_jax.input.batches import clip_batches, emotion_pairs, records_content
from emogene_jax.input.tensorflow import quiet_tfds
from emogene_jax.signals import EMOTIONS, UserError, eye_distance

sys.path.insert(0, str(Path(__file__).parent))
import tiny_corpora  # noqa: E402

CORPORA = {
    "mead": (mead, tiny_corpora.MEAD),
    "crema_d": (crema_d, tiny_corpora.CREMA_D),
    "voxceleb2": (voxceleb2, tiny_corpora.VOXCELEB2),
    "portrait_videos": (portrait_videos, tiny_corpora.PORTRAIT_VIDEOS),
}


def read(folder: Path) -> dict[str, dict[str, dict]]:
    """{split: {clip: record}} of the only set of records in a folder."""
    (info,) = folder.rglob("dataset_info.json")
    with quiet_tfds():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(info.parent))
        return {
            split: {
                record["clip"].decode(): record
                for record in builder.as_dataset(split=split).as_numpy_iterator()
            }
            for split in builder.info.splits
        }


def extracted_of(name: str, folder: Path) -> Path:
    """A tiny corpus in its layout with its last clip broken, extracted."""
    module, paths = CORPORA[name]
    corpus = tiny_corpora.make_corpus(folder / "corpus", paths, broken=paths[-1])
    assert find_clips(module.CORPUS, corpus) == sorted(paths)
    out = folder / "out"
    job = Job(str(corpus), str(out), tiny_corpora.LOG_MEL, watch=tiny_corpora.watch)
    extract._remember(module.CORPUS, job)
    for path in paths:
        clips.extract(Task(path, None), job)
    assert extract.write_skipped(out) == 1
    assert (out / "skipped.tsv").read_text().splitlines()[1].startswith(paths[-1])
    return out


@pytest.fixture(scope="module", params=CORPORA)
def written(request, tmp_path_factory):
    """(name, folder of an extraction, its records)."""
    out = extracted_of(request.param, tmp_path_factory.mktemp(request.param))
    line = write_records(CORPORA[request.param][0].Records, out)
    count = len(CORPORA[request.param][1]) - 1
    assert f"records: {count} clips (" in line
    return request.param, out, read(out / "records")


def test_every_clip_is_in_its_split_with_its_labels(written):
    name, _, records = written
    module, paths = CORPORA[name]
    assert sorted(p for split in records.values() for p in split) == sorted(paths[:-1])
    for split, found in records.items():
        for path, record in found.items():
            labels = module.CORPUS.labels(path)
            assert labels.split == split
            assert record["identity"].decode() == labels.identity
            assert record["emotion"].decode() == labels.emotion
            assert record["intensity"] == np.float32(labels.intensity)
            assert record["speaker"] == labels.speaker
            assert record["sentence"] == labels.sentence
            assert record["fps"] == record["source_fps"] == 25


def test_records_hold_what_was_seen(written):
    _, out, records = written
    for found in records.values():
        for path, record in found.items():
            take = tiny_corpora.take_of(path)
            frames = len(take.motion)
            assert record["content"].shape == (2 * frames, 80)
            assert record["f0"].shape == (2 * frames,)
            # Motion and rest give back the landmarks, and rest is near the true one.
            landmarks = clips.read_clip(out, path)["landmarks"]
            motion = record["motion"].reshape(frames, 68, 3)
            again = record["rest"] + motion * eye_distance(record["rest"])
            np.testing.assert_allclose(again, landmarks, atol=1e-4)
            np.testing.assert_allclose(record["rest"], take.rest, atol=0.6)
            np.testing.assert_allclose(
                record["rotation"], take.pose.rotation, atol=1e-6
            )
            assert record["found"].all() and record["speech"].shape == (frames,)
            np.testing.assert_array_equal(record["camera"], tiny_corpora.CAMERA)


def test_lids_say_when_they_are_shut(written):
    _, _, records = written
    same = [
        ((take.blink > 0.5) == record["blink"]).mean()
        for found in records.values()
        for path, record in found.items()
        for take in [tiny_corpora.take_of(path)]
    ]
    assert np.mean(same) > 0.95


def test_one_identity_has_one_rest_of_its_neutral_clips(written):
    name, out, records = written
    rests = {}
    for found in records.values():
        for record in found.values():
            rests.setdefault(record["identity"], []).append(record["rest"])
    for rest in rests.values():
        np.testing.assert_array_equal(rest, [rest[0]] * len(rest))
    if name == "mead":  # not of the angry ones, whose brows are down
        take = tiny_corpora.take_of(tiny_corpora.MEAD[0])
        error = np.abs(rests[b"W011"][0] - take.rest)[17:27]
        angry = clips.read_clip(out, tiny_corpora.MEAD[2])["landmarks"]
        assert error.max() < 0.1 < np.abs(angry - take.rest)[:, 17:27].max()


def test_training_reads_them(written):
    name, out, records = written
    assert records_content(out / "records") == tiny_corpora.LOG_MEL
    batch = next(clip_batches(out / "records", batch_size=2, frames=20)(0))
    assert batch["content"].shape == (2, 40, 80) and batch["motion"].shape[-1] == 204
    if name == "voxceleb2":
        with pytest.raises(UserError, match="unknown"):
            emotion_pairs(out / "records")


def test_records_name_the_model_that_heard_them(tmp_path):
    out = extracted_of("portrait_videos", tmp_path)
    hubert = {"type": "hubert", "channels": 80, "model": "/a", "sha256": "a" * 16}
    extraction = clips.read_extraction(out) | {"content": hubert}
    write_json(out / clips.EXTRACTION, extraction)
    write_records(portrait_videos.Records, out)
    assert records_content(shutil.move(out / "records", tmp_path / "moved")) == hubert


def test_only_paired_clips_teach_emotions(tmp_path):
    """Angry 001 has a neutral 001; surprised 010 has other words than neutral 010."""
    out = extracted_of("mead", tmp_path)
    write_records(mead.Records, out)
    train = read(out / "records")["train"]
    neutral, other, angry, surprised = tiny_corpora.MEAD[:4]
    assert [train[path]["paired"] for path in (neutral, other, angry, surprised)] == [
        *(True, True, True, False)
    ]
    pairs = emotion_pairs(out / "records")
    count = Counter(EMOTIONS[number] for number in pairs["emotion"])
    assert count["angry"] == len(train[angry]["motion"]) and not count["surprise"]
    for path, clip in ((neutral, train[neutral]), (surprised, train[surprised])):
        np.testing.assert_array_equal(clip["neutral_motion"], clip["motion"], path)
    # All four where motion is wanted as filmed, three where the neutral one is.
    whole = clip_batches(out / "records", batch_size=4, frames=500, neutral=False)(0)
    half = clip_batches(out / "records", batch_size=3, frames=500)(0)
    for _ in range(3):
        lengths = sorted(next(whole)["mask"].sum(1).astype(int))
        assert lengths == sorted(len(clip["motion"]) for clip in train.values())
        lengths = sorted(next(half)["mask"].sum(1).astype(int))
        kept = [train[path] for path in (neutral, other, angry)]
        assert lengths == sorted(len(clip["motion"]) for clip in kept)


def test_a_neutral_take_is_brought_to_the_emotional_one(tmp_path):
    """The truth: the same moments without the emotion, blinks where they are seen."""
    out = extracted_of("mead", tmp_path)
    write_records(mead.Records, out)
    angry = read(out / "records")["train"][tiny_corpora.MEAD[2]]
    take = tiny_corpora.take_of(tiny_corpora.MEAD[2])
    truth = take.neutral_motion.reshape(len(take.motion), -1)
    moved = angry["neutral_motion"] - angry["motion"]
    error = angry["neutral_motion"] - truth
    assert np.sqrt((error**2).mean()) < 0.35 * np.sqrt((moved**2).mean())


def test_a_second_time_does_nothing_and_more_clips_replace(tmp_path):
    paths = tiny_corpora.CREMA_D
    out = extracted_of("crema_d", tmp_path)
    write_records(crema_d.Records, out)
    before = {p: p.stat().st_mtime_ns for p in (out / "records").rglob("*")}
    again = write_records(crema_d.Records, out)
    assert {p: p.stat().st_mtime_ns for p in (out / "records").rglob("*")} == before
    assert "train 3, validation 2" in again
    # The broken clip is mended; what a killed writing left is in the way.
    tiny_corpora.make_corpus(tmp_path / "corpus", [paths[-1]])
    clips.kept(out, paths[-1], clips.SKIPPED).unlink()
    job = Job(str(tmp_path / "corpus"), str(out), tiny_corpora.LOG_MEL)
    clips.extract(Task(paths[-1], None), job._replace(watch=tiny_corpora.watch))
    (out / "records" / "crema_d" / "abc" / "incomplete.X_1.0.0").mkdir(parents=True)
    assert "test 1" in write_records(crema_d.Records, out)
    assert set(read(out / "records")) == {"train", "validation", "test"}
    assert not list((out / "records").rglob("incomplete*"))


def test_what_cannot_be_written_says_why(tmp_path):
    out = extracted_of("portrait_videos", tmp_path)
    with pytest.raises(UserError, match="portrait_videos, expected mead"):
        write_records(mead.Records, out)
    path = clips.kept_paths(out, clips.DONE)[0]
    leak = clips.kept(out, path.replace("train/", "test/"), clips.DONE)
    leak.parent.mkdir(parents=True)
    shutil.copy(clips.kept(out, path, clips.DONE), leak)
    with pytest.raises(UserError, match="anna is in test and in train"):
        write_records(portrait_videos.Records, out)
    leak.unlink()
    clips.kept(out, path, clips.DONE).write_bytes(b"half")
    with pytest.raises(UserError, match="damaged.*extract again"):
        write_records(portrait_videos.Records, out)
    assert not list((out / "records").rglob("dataset_info.json"))


def test_names_of_mead():
    labels = mead.labels("M030/video/front/disgusted/level_2/003.mp4")
    assert labels == ("M030", 30, "disgust", 2 / 3, 3, "test")
    assert mead.labels("x/M030_disgusted_2_003.mp4") == labels
    assert mead.labels("W009/video/front/neutral/level_1/001.mp4").intensity == 1
    # Beyond the common ones, a number means other words in each emotion.
    words = {
        mead.labels(f"W009/video/front/{emotion}/level_1/012.mp4").sentence
        for emotion in ("neutral", "angry", "sad")
    }
    assert len(words) == 3
    assert mead.labels("W009/video/left_30/angry/level_1/001.mp4") is None
    assert mead.labels("W009/audio/angry/level_1/001.m4a") is None
    assert mead.sound("W009/video/front/angry/level_1/001.mp4") == (
        "W009/audio/angry/level_1/001.m4a"
    )
    assert not set(mead.TEST) & set(mead.VALIDATION)


def test_names_of_crema_d():
    assert crema_d.labels("VideoFlash/1001_DFA_ANG_XX.flv") == (
        *("1001", 1001, "angry", 2 / 3, 0, "train"),
    )
    assert crema_d.labels("VideoFlash/1090_WSI_SAD_LO.flv")[3:] == (1 / 3, 11, "test")
    assert crema_d.labels("VideoFlash/1008_IEO_NEU_XX.flv")[2:4] == ("neutral", 1)
    assert crema_d.labels("AudioWAV/1001_DFA_ANG_XX.wav") is None
    assert crema_d.sound("VideoFlash/1001_DFA_ANG_XX.flv") == (
        "AudioWAV/1001_DFA_ANG_XX.wav"
    )


def test_names_of_voxceleb2():
    path = "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4"
    expected = ("id00012", 12, UNKNOWN, 1.0, NO_SENTENCE, "train")
    assert voxceleb2.labels(path) == expected
    assert voxceleb2.labels(path.replace("00012", "00100")).split == "validation"
    assert voxceleb2.labels(path.replace("dev", "test")).split == "test"
    assert voxceleb2.labels("dev/aac/id00012/21Uxsk56VDQ/00001.m4a") is None
    assert voxceleb2.sound(path) == "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"


def test_names_of_portrait_videos():
    assert portrait_videos.labels("train/anna/anger/two.MP4")[2] == "angry"
    assert portrait_videos.labels("train/anna/two.mp4")[2] == UNKNOWN
    assert portrait_videos.labels("train/anna/raw/two.mp4") is None
    assert portrait_videos.labels("anna/two.mp4") is None
    one, other = (portrait_videos.labels(f"test/{n}/a.mp4") for n in ("anna", "bea"))
    assert one.speaker != other.speaker and 0 <= one.speaker < 2**31
