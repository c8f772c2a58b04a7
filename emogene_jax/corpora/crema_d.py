"""CREMA-D: 91 actors who say 12 sentences in six emotions; open to all.

H. Cao et al., "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset" (IEEE
Transactions on Affective Computing 5, 2014), github.com/CheyneyComputerScience/CREMA-D:
7,442 clips of actors 1001 … 1091, 480 x 360 px at 30 fps. The folder is a clone of that
repository (`git lfs pull` brings the clips; without it there are text files in their
place, which are skipped as broken):

    VideoFlash/1001_DFA_ANG_XX.flv    or .mp4, where someone has converted them
    AudioWAV/1001_DFA_ANG_XX.wav, where the video has no sound

A name is actor, sentence, emotion, level. Intensity is 1/3, 2/3 or 1 for the levels LO,
MD and HI; XX (unspecified, which most clips are) counts as MD, and neutral clips as 1.
Each actor says each sentence neutrally, too: all emotions pair by the sentence.

Splits: actors whose number ends in 0 are `test` (4 women, 5 men), in 8 `validation` (5
women, 4 men), all others `train` (73). The corpus has none of its own.
"""

import re

from emogene_jax.corpora.corpus import Corpus, Labels
from emogene_jax.corpora.records import CorpusRecords
from emogene_jax.emotions import ALIASES

SENTENCES = (
    *("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI"),
    "WSI",
)
_EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
_LEVELS = {"LO": 1 / 3, "MD": 2 / 3, "HI": 1.0, "XX": 2 / 3}
_SPLITS = {0: "test", 8: "validation"}
# A few names end in X for XX.
_PATH = re.compile(
    rf"(?:VideoFlash|VideoMP4)/(1\d{{3}})_({'|'.join(SENTENCES)})_"
    rf"({'|'.join(_EMOTIONS)})_(LO|MD|HI|XX?)\.(?:flv|mp4)"
)


def labels(path: str) -> Labels | None:
    """What the path of a clip says."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    identity, sentence, emotion = match[1], match[2], ALIASES[match[3].lower()]
    return Labels(
        identity,
        int(identity),
        emotion,
        1.0 if emotion == "neutral" else _LEVELS[match[4].ljust(2, "X")],
        SENTENCES.index(sentence),
        _SPLITS.get(int(identity) % 10, "train"),
    )


def sound(path: str) -> str:
    """Where the sound lies of a clip without its own."""
    name = path.partition("/")[2].rpartition(".")[0]
    return f"AudioWAV/{name}.wav"


CORPUS = Corpus("crema_d", "VideoFlash/1001_DFA_ANG_XX.flv", labels, sound=sound)


class Records(CorpusRecords):
    """Clips of CREMA-D."""

    name = "crema_d"
    corpus = CORPUS
