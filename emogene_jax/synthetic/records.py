"""TFDS records of the synthetic world: clips, one record a take."""

import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from emogene_jax.audio.features import LOG_MEL, audio_features
from emogene_jax.input.records import Clip, clip_features, write
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.takes import make_take

POOL_TAKES = 100  # from here on starting processes (a second) pays: 65 ms a take


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
        content=sound.content.astype(np.float16),
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


class Synthetic(tfds.core.GeneratorBasedBuilder):
    """Clips of the synthetic world."""

    VERSION = tfds.core.Version("1.1.0")
    code_path = None  # no checksums beside the code: nothing is downloaded

    def __init__(self, world: World = World(), **kwargs):  # noqa: B008, immutable
        self.world = world
        super().__init__(**kwargs)

    def _info(self):
        # Not dataset_info_from_configs: that wants a README beside a package.
        return tfds.core.DatasetInfo(
            builder=self,
            description="Takes of speakers, sentences, emotions and intensities.",
            features=clip_features(LOG_MEL["channels"]),
            metadata=tfds.core.MetadataDict(content=LOG_MEL),
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name) for name in ("train", "validation")}

    def _generate_examples(self, split: str):
        for index, clip in enumerate(synthetic_clips(self.world, split)):
            yield index, clip._asdict()


def write_synthetic(world: World, folder: Path) -> Path:
    """The place in `folder` of TFDS records of `world`, which are made if need be."""
    return write(Synthetic(world, data_dir=folder, config=config_of(world)))


def config_of(world: World) -> tfds.core.BuilderConfig:
    """What gives each world a folder of its own."""
    digest = hashlib.sha256(repr(world).encode()).hexdigest()[:12]
    return tfds.core.BuilderConfig(name=digest, description=repr(world))
