"""TFDS builders: what training data looks like on disk as TFRecords.

`Synthetic` holds clips of the synthetic world, one record a take; `PortraitRecords` the
coded stretches of a prepared portrait. A builder class may be used from anywhere; a
written folder is read back with `tfds.builder_from_directory`, without this code.

Emotions are names. Arrays are encoded as bytes: TFDS's default writes 25 records a
second, this 180.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from emogene_jax.audio.features import audio_features
from emogene_jax.data.pack import PICTURES, ROWS, read_stretches
from emogene_jax.data.synthetic import make_take
from emogene_jax.data.tensorflow import quiet_tfds
from emogene_jax.signals import EMOTIONS

POOL_TAKES = 100  # from here on starting processes (a second) pays: 65 ms a take


class Clip(NamedTuple):
    """A speaker says a sentence in an emotion: the record of every corpus of clips."""

    content: np.ndarray  # [2T, F] float32
    f0: np.ndarray  # [2T] float32 Hz
    blink: np.ndarray  # [T] int32, 1 = lids closed
    motion: np.ndarray  # [T, 204] float32 eye distances, as filmed
    # [T, 204] the same moments of the same speaker's neutral take of the sentence;
    # where the emotion is neutral or unknown, motion itself.
    neutral_motion: np.ndarray
    speaker: np.ndarray  # () int32
    sentence: np.ndarray  # () int32
    emotion: str
    intensity: np.ndarray  # () float32


class World(NamedTuple):
    """How much of the synthetic world is made.

    Each speaker says each sentence neutrally, and in each other emotion at each
    intensity. Sentences from `sentences` on are the split `validation`, said by the
    same speakers, or, where there are `validation_speakers`, by those: identities that
    nothing was learned from.
    """

    seed: int = 0
    speakers: int = 4
    sentences: int = 6
    validation_sentences: int = 1
    emotions: tuple[str, ...] = EMOTIONS
    intensities: tuple[float, ...] = (0.4, 0.7, 1.0)
    validation_speakers: int = 0
    sentence_seconds: float = 3.2

    def takes(self, split: str) -> list[tuple[int, int, int, str, float, float]]:
        """The arguments of make_take for the takes of a split."""
        count = self.sentences
        ranges = {
            "train": range(count),
            "validation": range(count, count + self.validation_sentences),
        }
        speakers = range(self.speakers)
        if split == "validation" and self.validation_speakers:
            speakers = range(self.speakers, self.speakers + self.validation_speakers)
        return [
            (self.seed, speaker, sentence, emotion, intensity, self.sentence_seconds)
            for speaker in speakers
            for sentence in ranges[split]
            for emotion in self.emotions
            for intensity in (self.intensities if emotion != "neutral" else (1.0,))
        ]


def synthetic_clip(take: tuple[int, int, int, str, float, float]) -> Clip:
    """The clip of one take of `World.takes`."""
    made = make_take(*take)
    sound = audio_features(made.waveform)
    frames = len(made.motion)
    return Clip(
        content=sound.content,
        f0=sound.f0,
        blink=(made.blink > 0.5).astype(np.int32),
        motion=made.motion.reshape(frames, -1),
        neutral_motion=made.neutral_motion.reshape(frames, -1),
        speaker=np.int32(made.speaker),
        sentence=np.int32(made.sentence),
        emotion=made.emotion,
        intensity=np.float32(made.intensity),
    )


def synthetic_clips(
    world: World, split: str, processes: int | None = None
) -> Iterator[Clip]:
    """The clips of a split in order, made by several processes where that pays."""
    takes = world.takes(split)
    processes = processes or os.cpu_count()
    if len(takes) < POOL_TAKES or processes == 1:
        yield from map(synthetic_clip, takes)
        return
    # Spawned, not forked: JAX's threads would not live on in a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(synthetic_clip, takes, chunksize=8)


def clip_features(channels: int) -> tfds.features.FeaturesDict:
    """The TFDS schema of a `Clip` with as many content channels."""
    scalar = {"speaker": np.int32, "sentence": np.int32, "intensity": np.float32}
    return tfds.features.FeaturesDict(
        {
            "content": array((None, channels), np.float32),
            "f0": array((None,), np.float32),
            "blink": array((None,), np.int32),
            "motion": array((None, 204), np.float32),
            "neutral_motion": array((None, 204), np.float32),
            "emotion": tfds.features.Text(),
            **{name: tfds.features.Scalar(dtype) for name, dtype in scalar.items()},
        }
    )


class Synthetic(tfds.core.GeneratorBasedBuilder):
    """Clips of the synthetic world."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # no checksums beside the code: nothing is downloaded

    def __init__(self, world: World = World(), **kwargs):  # noqa: B008, immutable
        self.world = world
        super().__init__(**kwargs)

    def _info(self):
        # Not dataset_info_from_configs: that wants a README beside a package.
        return tfds.core.DatasetInfo(
            builder=self,
            description="Takes of speakers, sentences, emotions and intensities.",
            features=clip_features(channels=80),
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name) for name in ("train", "validation")}

    def _generate_examples(self, split: str):
        for index, clip in enumerate(synthetic_clips(self.world, split)):
            yield index, clip._asdict()


class PortraitRecords(tfds.core.GeneratorBasedBuilder):
    """A prepared portrait in stretches, made from its packed file without recoding."""

    name = "portrait"
    VERSION = tfds.core.Version("1.0.0")
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


def write_portrait_records(portrait: Path) -> Path:
    """TFDS records in `portrait`/records, of what save_portrait wrote there."""
    return write(PortraitRecords(portrait, data_dir=Path(portrait) / "records"))


def write_synthetic(world: World, folder: Path) -> Path:
    """The place in `folder` of TFDS records of `world`, which are made if need be."""
    return write(Synthetic(world, data_dir=folder, config=config_of(world)))


def config_of(world: World) -> tfds.core.BuilderConfig:
    """What gives each world a folder of its own."""
    digest = hashlib.sha256(repr(world).encode()).hexdigest()[:12]
    return tfds.core.BuilderConfig(name=digest, description=repr(world))


def write(builder: tfds.core.GeneratorBasedBuilder) -> Path:
    """Writes a builder's records, unless they are there already, and says where."""
    with quiet_tfds():
        builder.download_and_prepare(file_format="tfrecord")
    return Path(builder.data_dir)


def array(shape: tuple, dtype) -> tfds.features.Tensor:
    """The schema of an array; None in its shape may differ from record to record."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")
