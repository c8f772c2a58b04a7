"""TFDS records of a corpus of which clips were extracted: landmarks become motion.

What needs more than one clip is done here. An identity's rest face is the median of its
neutral frames with closed lips (of all its frames with closed lips, where no emotion is
known or none is neutral). An emotional clip is paired with the neutral take of the same
sentence, brought to its time by what is heard (audio/align.py). The records are `Clip`s
(input/records.py) with more beside; `emogene train` reads both alike.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from emogene_jax.audio.align import aligned_frames, at_frames
from emogene_jax.corpora import clips
from emogene_jax.corpora.corpus import NO_SENTENCE, UNKNOWN, Corpus, Labels
from emogene_jax.face.fit import rest_landmarks
from emogene_jax.input.records import array, clip_features, write
from emogene_jax.input.tensorflow import quiet_tfds
from emogene_jax.motion_to_emotion.blink import add_blinks, lid_closure, open_lids
from emogene_jax.signals import FPS, UserError, landmarks_to_motion

BLINK = 0.5  # closure from which on the lids count as shut
STRETCH = 2.0  # takes whose lengths differ more than so are not of one sentence
SPLITS = ("train", "validation", "test")
_ROWS = ("rotation", "translation", "found", "speech")


class CorpusRecords(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Clips of a corpus. Beside the fields of input.records.Clip:

    paired: whether neutral_motion is what its name says; else there was no such take,
      and it is `motion`.
    identity, clip: names. rest [68, 3] cm, of the identity.
    rotation [T, 3, 3], translation [T, 3] cm: the poses; camera [4]: focal, cx, cy and
      width of the source in px.
    found [T]: False where no face was, and the landmarks are interpolated.
    speech [T]: False in silent stretches.
    fps: of the rows; source_fps: of the video.
    """

    VERSION = tfds.core.Version("1.1.0")
    code_path = None  # no checksums beside the code: nothing is downloaded
    corpus: Corpus

    def __init__(self, extracted: Path, **kwargs):
        self.extracted = Path(extracted)
        self._extraction = clips.read_extraction(extracted)
        if self._extraction["corpus"] != self.corpus.name:
            raise UserError(
                f"{extracted}: holds clips of {self._extraction['corpus']}, expected "
                f"{self.corpus.name}"
            )
        super().__init__(**kwargs)

    def _info(self):
        more = {
            "paired": tfds.features.Scalar(np.bool_),
            "identity": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "rest": array((68, 3), np.float32),
            "rotation": array((None, 3, 3), np.float32),
            "translation": array((None, 3), np.float32),
            "camera": array((4,), np.float64),
            "found": array((None,), np.bool_),
            "speech": array((None,), np.bool_),
            "fps": tfds.features.Scalar(np.float32),
            "source_fps": tfds.features.Scalar(np.float32),
        }
        content = self._extraction["content"]
        features = clip_features(content["channels"])
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Clips of {self.corpus.name}: what is seen and heard.",
            features=tfds.features.FeaturesDict({**features, **more}),
            metadata=tfds.core.MetadataDict(content=content),
        )

    def _split_generators(self, dl_manager):
        people = by_identity(self.corpus, self.extracted)
        splits = {name: {} for name in SPLITS}
        for identity, takes in people.items():
            splits[next(iter(takes.values())).split][identity] = takes
        return {
            name: self._generate_examples(chosen)
            for name, chosen in splits.items()
            if chosen
        }

    def _generate_examples(self, people: dict[str, dict[str, Labels]]):
        for takes in people.values():
            yield from identity_records(self.extracted, takes)


def by_identity(corpus: Corpus, extracted: Path) -> dict[str, dict[str, Labels]]:
    """{identity: {path: labels}} of the clips that were extracted, both sorted.

    Raises:
      UserError: an identity is in two splits.
    """
    people = {}
    for path in clips.kept_paths(extracted, clips.DONE):
        labels = corpus.labels(path)
        if labels is None:
            continue
        takes = people.setdefault(labels.identity, {})
        for other in list(takes.values())[:1]:
            if other.split != labels.split:
                raise UserError(
                    f"{extracted}: {labels.identity} is in {other.split} and in "
                    f"{labels.split}, expected in one split"
                )
        takes[path] = labels
    return dict(sorted(people.items()))


def identity_records(extracted, takes: dict[str, Labels]) -> Iterator[tuple[str, dict]]:
    """(path, record) of each clip of one identity."""
    rest = identity_rest(extracted, takes)
    neutral = {}
    for path, labels in takes.items():
        if labels.emotion == "neutral" and labels.sentence != NO_SENTENCE:
            neutral.setdefault(labels.sentence, path)
    for path, labels in takes.items():
        seen = clips.read_clip(extracted, path)
        motion = landmarks_to_motion(seen["landmarks"], rest)
        closure = lid_closure(motion, rest)
        content = seen["content"].astype(np.float32)
        without, paired = motion, labels.emotion in ("neutral", UNKNOWN)
        if not paired and labels.sentence in neutral:
            take = clips.read_clip(extracted, neutral[labels.sentence])
            found = neutral_take(take, content, closure, rest)
            without, paired = (motion, False) if found is None else (found, True)
        frames = len(motion)
        yield (
            path,
            {
                "content": seen["content"],
                "f0": seen["f0"],
                "blink": (closure > BLINK).astype(np.int32),
                "motion": motion.reshape(frames, -1),
                "neutral_motion": without.reshape(frames, -1),
                "paired": paired,
                "speaker": np.int32(labels.speaker),
                "sentence": np.int32(labels.sentence),
                "emotion": labels.emotion,
                "intensity": np.float32(labels.intensity),
                "identity": labels.identity,
                "clip": path,
                "rest": rest,
                "fps": np.float32(FPS),
                **{name: seen[name] for name in (*_ROWS, "camera", "source_fps")},
            },
        )


def identity_rest(extracted, takes: dict[str, Labels]) -> np.ndarray:
    """The rest landmarks [68, 3] float32 cm of one identity."""
    calm = [path for path, labels in takes.items() if labels.emotion == "neutral"]
    parts = [
        clips.read_clip(extracted, path, ("landmarks", "found"))
        for path in calm or takes
    ]
    landmarks = np.concatenate([part["landmarks"] for part in parts])
    found = np.concatenate([part["found"] for part in parts])
    return rest_landmarks(landmarks, found).astype(np.float32)


def neutral_take(take: dict, content, closure, rest) -> np.ndarray | None:
    """The motion [T, 68, 3] of a neutral take at the times of an emotional one, which is
    given by its content [2T, F] and closure of the lids [T]; None if the two are not of
    one sentence. The blinks are the emotional take's."""
    lengths = len(content), len(take["content"])
    if max(lengths) > STRETCH * min(lengths):
        return None
    frames = aligned_frames(take["content"].astype(np.float32), content)
    motion = landmarks_to_motion(take["landmarks"], rest)
    return add_blinks(at_frames(open_lids(motion, rest), frames), closure, rest)


def write_records(builder: type[CorpusRecords], extracted) -> str:
    """Writes TFDS records of all clips that were extracted into `extracted`/records,
    unless they are there; what was there of fewer clips is replaced.

    Returns:
      a line for people: where, and how many clips of which split.

    Raises:
      UserError: no clip was extracted, or the file of one is damaged.
    """
    extracted = Path(extracted)
    paths = clips.kept_paths(extracted, clips.DONE)
    if not paths:
        raise UserError(f"{extracted}: 0 clips extracted, expected at least one")
    # A clip's file never changes, so that the names say it all.
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:12]
    config = tfds.core.BuilderConfig(name=digest, description=f"{len(paths)} clips")
    place = extracted / "records"
    with quiet_tfds():
        made = builder(extracted, data_dir=place, config=config)
    folder = Path(made.data_dir)
    if not folder.is_dir():
        shutil.rmtree(place, ignore_errors=True)  # of fewer clips, or half-written
        write(made)
    splits = [
        f"{name} {split.num_examples}" for name, split in made.info.splits.items()
    ]
    return f"{place}: {len(paths)} clips ({', '.join(splits)})"
