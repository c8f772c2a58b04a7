"""A portrait's stretches come back from TFDS records, without the builder."""

import sys
from pathlib import Path

import numpy as np

from emogene_jax.input.tensorflow import quiet_tfds
from emogene_jax.portrait.pack import decode_pictures, load_portrait, save_portrait
from emogene_jax.portrait.records import write_portrait_records

sys.path.insert(0, str(Path(__file__).parent))
from test_pack import make_portrait  # noqa: E402


def read(folder: Path) -> list[dict]:
    with quiet_tfds():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(folder))
        return list(builder.as_dataset(split="train").as_numpy_iterator())


def test_a_portrait_comes_back_in_stretches(tmp_path):
    clips = (4, 2, 1)
    save_portrait(make_portrait(clips=clips), tmp_path / "portrait")
    portrait = load_portrait(tmp_path / "portrait")
    folder = write_portrait_records(tmp_path / "portrait")
    assert folder.is_relative_to(tmp_path / "portrait" / "records")
    stretches = sorted(read(folder), key=lambda record: record["start"])
    assert [len(stretch["clip"]) for stretch in stretches] == list(clips)
    for name, grey in (("frames", False), ("head_matte", True), ("torso_matte", True)):
        pictures = [decode_pictures(stretch[name], grey) for stretch in stretches]
        np.testing.assert_array_equal(np.concatenate(pictures), getattr(portrait, name))
    for name in ("landmarks", "f0", "speech", "source_frame", "emotion"):
        rows = np.concatenate([stretch[name] for stretch in stretches])
        np.testing.assert_array_equal(rows, getattr(portrait, name), err_msg=name)
    np.testing.assert_array_equal(stretches[0]["camera"], portrait.camera)
    assert load_portrait(tmp_path / "portrait").info == portrait.info
