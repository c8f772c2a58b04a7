"""VoxCeleb2: a million clips of celebrities' interviews, without emotion labels.

J. S. Chung, A. Nagrani, A. Zisserman, "VoxCeleb2: Deep Speaker Recognition" (Interspeech
2018), www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html: 2,442 hours of 6,112 people, who
are named idNNNNN; clips of 224 x 224 px at 25 fps. The folder, as unpacked from the two
parts of the corpus:

    dev/mp4/id00012/21Uxsk56VDQ/00001.mp4    test/mp4/…
    dev/aac/id00012/21Uxsk56VDQ/00001.m4a    test/aac/…, where the mp4 has no sound

Splits: `test` is the corpus' own (118 people); of its dev part, people whose number ends
in 50 or 00 are `validation` and all others `train`.
"""

import re

from emogene_jax.corpora.corpus import NO_SENTENCE, UNKNOWN, Corpus, Labels
from emogene_jax.corpora.records import CorpusRecords

_PATH = re.compile(r"(dev|test)/mp4/(id(\d{5}))/[^/]+/\d+\.mp4")


def labels(path: str) -> Labels | None:
    """What the path of a clip says."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    part, identity, number = match[1], match[2], int(match[3])
    split = "test" if part == "test" else "train" if number % 50 else "validation"
    return Labels(identity, number, UNKNOWN, 1.0, NO_SENTENCE, split)


def sound(path: str) -> str:
    """Where the sound lies of a clip without its own."""
    return path.replace("/mp4/", "/aac/", 1).removesuffix(".mp4") + ".m4a"


CORPUS = Corpus(
    "voxceleb2", "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", labels, sound=sound
)


class Records(CorpusRecords):
    """Clips of VoxCeleb2."""

    name = "voxceleb2"
    corpus = CORPUS
