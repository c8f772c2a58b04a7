"""MEAD: actors who say sentences in eight emotions, at three levels.

K. Wang et al., "MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face
Generation" (ECCV 2020), wywu.github.io/projects/MEAD/MEAD.html: men M003 … and women
W009 …, seen from seven sides at 1920 x 1080 px and 30 fps; here, from the front. The
folder, with each actor's video.tar and audio.tar unpacked:

    M003/video/front/angry/level_3/001.mp4
    M003/audio/angry/level_3/001.m4a, where the video has no sound

or clips by the names that other projects give them: M003_angry_3_001.mp4, anywhere.

Intensity is level / 3; neutral clips, which have level_1 only, count as 1.

Sentences: numbers mean other words in other emotions, but for those that all emotions
have in common, 1 to 3 (the paper's supplement, section 6). Only these pair a neutral
with an emotional take; and only if nothing was lost before them when the actor was
recorded (github.com/uniBruce/Mead/issues/12: M003's numbers are shifted), which is
tested by their lengths alone.

Splits, by what others have published: `test` are EMOTE's eight (github.com/radekd91/
inferno) and the four that EVP, EAMM and EAT are tested on, which EMOTE trains on;
`validation` are EMOTE's seven; all others are `train`.
"""

import re

from emogene_jax.corpora.corpus import Corpus, Labels
from emogene_jax.corpora.records import CorpusRecords
from emogene_jax.emotions import ALIASES
from emogene_jax.signals import EMOTIONS

LEVELS = 3
COMMON = 3  # sentences that all emotions have, the first ones
TEST = (
    *("M037", "M039", "M040", "M041", "M042", "W037", "W038", "W040"),  # EMOTE's
    *("M003", "M030", "W009", "W015"),  # EVP's
)
VALIDATION = ("M032", "M033", "M034", "M035", "W033", "W035", "W036")
_SPLITS = dict.fromkeys(TEST, "test") | dict.fromkeys(VALIDATION, "validation")
_TREE = re.compile(r"([MW]\d{3})/video/front/([a-z]+)/level_([123])/(\d{3})\.mp4")
_FLAT = re.compile(r"(?:.*/)?([MW]\d{3})_([a-z]+)_([123])_(\d{3})\.mp4")


def labels(path: str) -> Labels | None:
    """What the path of a clip says."""
    match = _TREE.fullmatch(path) or _FLAT.fullmatch(path)
    if match is None or match[2] not in ALIASES:
        return None
    identity, emotion, number = match[1], ALIASES[match[2]], int(match[4])
    return Labels(
        identity,
        int(identity[1:]) + (1000 if identity[0] == "W" else 0),
        emotion,
        1.0 if emotion == "neutral" else int(match[3]) / LEVELS,
        # Else numbered apart: 100s by emotion, in the order of EMOTIONS.
        number if number <= COMMON else number + 100 * (EMOTIONS.index(emotion) + 1),
        _SPLITS.get(identity, "train"),
    )


def sound(path: str) -> str | None:
    """Where the sound lies of a clip without its own."""
    if not _TREE.fullmatch(path):
        return None
    return path.replace("/video/front/", "/audio/", 1).removesuffix(".mp4") + ".m4a"


CORPUS = Corpus("mead", "M003/video/front/angry/level_3/001.mp4", labels, sound=sound)


class Records(CorpusRecords):
    """Clips of MEAD."""

    name = "mead"
    corpus = CORPUS
