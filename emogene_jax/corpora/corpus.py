"""A corpus of talking faces: how its folder is laid out, and what its names say.

Each corpus has a module (voxceleb2, mead, crema_d, portrait_videos) with a CORPUS and a
TFDS builder. What names say is read when records are written, not when clips are
extracted: a label that was misread costs no second extraction.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emogene_jax.signals import UserError

UNKNOWN = "unknown"  # the emotion of a clip of which nobody has said it
NO_SENTENCE = -1  # of a clip whose words nobody has numbered


class Labels(NamedTuple):
    """What a clip's name says."""

    identity: str
    speaker: int  # the identity as a number, the same in every subset of the corpus
    emotion: str  # one of signals.EMOTIONS, or UNKNOWN
    intensity: float  # of the emotion, in (0, 1]
    sentence: int  # equal for equal words of one identity; or NO_SENTENCE
    split: str  # train, validation or test


class Corpus(NamedTuple):
    """Paths are relative to the corpus' folder, their parts joined by /."""

    name: str
    tree: str  # a path like every clip's, for people
    labels: Callable[[str], Labels | None]  # of a path; None = not that of a clip
    # Where the sound lies of a clip whose video has none; None = nowhere.
    sound: Callable[[str], str | None] = lambda path: None


def find_clips(corpus: Corpus, folder: Path) -> list[str]:
    """The paths of all clips in a corpus' folder, sorted.

    Raises:
      UserError: no such folder, or no clip in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected {corpus.name}'s clips")
    found = []
    for place, _, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        found += [(inside / name).as_posix() for name in names]
    clips = sorted(path for path in found if corpus.labels(path) is not None)
    if not clips:
        raise UserError(
            f"{folder}: found {len(found)} files and no clip of {corpus.name} among "
            f"them, expected {corpus.tree}"
        )
    return clips
