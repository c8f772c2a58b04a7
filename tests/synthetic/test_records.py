"""Clips of the synthetic world are counted, made by processes, and come back from
anywhere, without the builder."""

import shutil
from pathlib import Path

import numpy as np

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.input.batches import records_content
from emogene_jax.input.tensorflow import quiet_tfds
from emogene_jax.synthetic import records


def read(folder: Path, split: str) -> list[dict]:
    with quiet_tfds():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(folder))
        return list(builder.as_dataset(split=split).as_numpy_iterator())


def test_a_world_counts_every_emotion_at_every_intensity():
    world = records.World(speakers=2, sentences=3, validation_sentences=1)
    takes = world.takes("train")
    assert len(takes) == len(set(takes)) == 2 * 3 * (7 * 3 + 1)
    assert {take[2] for take in world.takes("validation")} == {3}
    assert ({take[4] for take in takes if take[3] == "neutral"}) == {1.0}


def test_validation_may_be_of_other_people():
    world = records.World(speakers=2, sentences=3, validation_speakers=2)
    assert {take[1] for take in world.takes("train")} == {0, 1}
    assert {take[1] for take in world.takes("validation")} == {2, 3}


def test_processes_change_nothing(monkeypatch):
    world = records.World(speakers=1, sentences=2, emotions=("neutral", "sad"))
    world = world._replace(intensities=(1.0,))
    alone = list(records.synthetic_clips(world, "train", processes=1))
    monkeypatch.setattr(records, "POOL_TAKES", 1)
    together = list(records.synthetic_clips(world, "train", processes=2))
    assert [clip.emotion for clip in alone] == ["neutral", "sad"] * 2
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_synthetic_clips_come_back(tmp_path):
    world = records.World(
        speakers=1, sentences=1, emotions=("neutral", "happy"), intensities=(0.5,)
    )
    folder = records.write_synthetic(world, tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    folder = tmp_path / "b" / folder.relative_to(tmp_path / "a")
    assert records_content(folder) == LOG_MEL
    clips = {clip["emotion"].decode(): clip for clip in read(folder, "train")}
    made = records.synthetic_clip(world.takes("train")[1])
    happy = clips["happy"]
    frames = len(happy["motion"])
    assert happy["content"].shape == (2 * frames, 80)
    assert happy["f0"].shape == (2 * frames,) and happy["blink"].shape == (frames,)
    for name in ("content", "f0", "blink", "motion", "neutral_motion", "intensity"):
        np.testing.assert_array_equal(happy[name], getattr(made, name), err_msg=name)
    # The neutral motion behind the emotion is the neutral take's, frame by frame.
    np.testing.assert_array_equal(happy["neutral_motion"], clips["neutral"]["motion"])
    assert np.abs(happy["motion"] - happy["neutral_motion"]).max() > 0.01


def test_another_world_gets_another_place(tmp_path):
    places = {
        records.Synthetic(data_dir=tmp_path, config=records.config_of(world)).data_dir
        for world in (records.World(), records.World(seed=1))
    }
    assert len(places) == 2
