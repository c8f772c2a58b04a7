"""Portrait videos of several people, one's own: a corpus without a publisher.

(One person's portrait, pictures and all, is portrait.records.PortraitRecords.) The folder:

    train/PERSON/CLIP.mp4    train/PERSON/EMOTION/CLIP.mp4    validation/…    test/…

EMOTION is one of signals.EMOTIONS or a common other form of its name (`anger`); without
one, the emotion is unknown. Intensity is 1. The folder says which split a person is in:
keep each in one.
"""

import hashlib
import re

from emogene_jax.corpora.corpus import NO_SENTENCE, UNKNOWN, Corpus, Labels
from emogene_jax.corpora.records import CorpusRecords
from emogene_jax.emotions import ALIASES
from emogene_jax.media.files import VIDEO_ENDS

_PATH = re.compile(
    r"(train|validation|test)/([^/]+)/(?:([^/]+)/)?[^/]+"
    rf"(?:{'|'.join(map(re.escape, VIDEO_ENDS))})",
    re.IGNORECASE,
)


def labels(path: str) -> Labels | None:
    """What the path of a clip says."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    split, identity, folder = match[1], match[2], match[3]
    emotion = UNKNOWN if folder is None else ALIASES.get(folder.lower())
    if emotion is None:
        return None
    # A number of 31 bits by the name: the same whoever else is in the corpus.
    speaker = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4]) >> 1
    return Labels(identity, speaker, emotion, 1.0, NO_SENTENCE, split)


CORPUS = Corpus("portrait_videos", "train/PERSON/happy/CLIP.mp4", labels)


class Records(CorpusRecords):
    """Clips of portrait videos."""

    name = "portrait_videos"
    corpus = CORPUS
