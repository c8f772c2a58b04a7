"""TFDS records of a prepared portrait: its coded stretches, without recoding."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from emogene_jax.folders import read_json
from emogene_jax.input.records import array, write
from emogene_jax.portrait.pack import PICTURES, ROWS, read_stretches


class PortraitRecords(tfds.core.GeneratorBasedBuilder):
    """A prepared portrait in stretches, made from its packed file without recoding."""

    name = "portrait"
    VERSION = tfds.core.Version("2.0.0")
    code_path = None  # no checksums beside the code: nothing is downloaded

    def __init__(self, portrait: Path, **kwargs):
        self.portrait = Path(portrait)
        super().__init__(**kwargs)

    def _info(self):
        first = next(read_stretches(self.portrait))
        rows = {
            name: array((None, *first[name].shape[1:]), dtype)
            for name, dtype in ROWS.items()
        }
        pictures = {name: array((None,), np.uint8) for name in PICTURES}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stretches of up to 100 frames: pictures as AVIF sequences.",
            metadata=tfds.core.MetadataDict(content=_content(self.portrait)),
            features=tfds.features.FeaturesDict(
                {
                    "start": tfds.features.Scalar(np.int32),
                    "camera": array((4,), np.float64),  # focal, cx, cy, size: px
                    **pictures,
                    **rows,
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for stretch in read_stretches(self.portrait):
            yield int(stretch["start"]), stretch


def _content(portrait: Path) -> dict:
    return read_json(portrait / "portrait.json")["info"].get("content")


def write_portrait_records(portrait: Path) -> Path:
    """TFDS records in `portrait`/records, of what save_portrait wrote there."""
    return write(PortraitRecords(portrait, data_dir=Path(portrait) / "records"))
