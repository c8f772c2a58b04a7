"""Small corpora in each layout, made of the synthetic world, and a tracker that knows
its truth. A clip's video is a grey square that carries the take's sound; `watch` decodes
it, so that a broken file is noticed, and gives the face of the take that the file's name
tells. Importable by the processes that a test spawns."""

import os
from pathlib import Path

import numpy as np

from emogene_jax.corpora import crema_d, mead, portrait_videos, voxceleb2
from emogene_jax.corpora.corpus import NO_SENTENCE, UNKNOWN
from emogene_jax.corpora.watch import Seen
from emogene_jax.media.video import iter_frames, write_video
from emogene_jax.signals import SAMPLE_RATE, Camera, motion_to_landmarks
from emogene_jax.synthetic.takes import Take, make_take

CAMERA = Camera(900.0, 32.0, 32.0, 64)
SECONDS = 1.4  # of a sentence
CORPORA = [m.CORPUS for m in (mead, crema_d, voxceleb2, portrait_videos)]
LOG_MEL = {"type": "log_mel", "channels": 80}

MEAD = [
    "W011/video/front/neutral/level_1/001.mp4",
    "W011/video/front/neutral/level_1/010.mp4",
    "W011/video/front/angry/level_3/001.mp4",
    "W011/video/front/surprised/level_1/010.mp4",  # 010: other words than neutral's
    "W033/video/front/neutral/level_1/002.mp4",
    "M037/video/front/happy/level_2/003.mp4",  # no neutral take of it
]
CREMA_D = [
    "VideoFlash/1001_DFA_NEU_XX.flv",
    "VideoFlash/1001_DFA_ANG_XX.flv",
    "VideoFlash/1001_IEO_HAP_HI.flv",
    "VideoFlash/1008_IEO_NEU_XX.flv",
    "VideoFlash/1008_IEO_SAD_LO.flv",
    "VideoFlash/1010_DFA_FEA_XX.flv",
]
VOXCELEB2 = [
    "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
    "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4",
    "dev/mp4/id00050/aaaaaaaaaaa/00001.mp4",
    "test/mp4/id00017/01dfn2spqyE/00001.mp4",
]
PORTRAIT_VIDEOS = [
    "train/anna/one.mp4",
    "train/anna/anger/two.mp4",
    "validation/berta/neutral/three.mp4",
]


def take_of(path) -> Take:
    """The take that is behind the clip of that path in whichever corpus."""
    path = Path(path)
    for parts in range(1, len(path.parts) + 1):
        for corpus in CORPORA:
            labels = corpus.labels("/".join(path.parts[-parts:]))
            if labels is None:
                continue
            words, emotion = labels.sentence, labels.emotion
            if words == NO_SENTENCE:
                words = sum(path.stem.encode())
            if emotion == UNKNOWN:
                emotion = "neutral"
            made = (labels.speaker, words, emotion, labels.intensity)
            return make_take(0, *made, sentence_seconds=SECONDS)
    raise AssertionError(f"{path}: of no corpus")


def watch(video, face_model=None, clock=None) -> Seen:
    """The truth; $TINY_CORPORA_DIES names a clip that kills the process that reads it."""
    if os.environ.get("TINY_CORPORA_DIES", "?") in str(video):
        os._exit(1)
    frames = sum(1 for _ in iter_frames(video))
    take = take_of(video)
    assert frames == len(take.motion), f"{frames} frames, made {len(take.motion)}"
    landmarks = motion_to_landmarks(take.motion, take.rest)
    found = np.ones(frames, bool)
    return Seen(landmarks, found, take.pose, CAMERA, 25.0)


def make_corpus(folder: Path, paths: list[str], broken: str | None = None) -> Path:
    """Writes the clips of a corpus into `folder`; `broken`'s ends in the middle."""
    for path in paths:
        take = take_of(path)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        frames = [np.full((64, 64, 3), 128, np.uint8)] * len(take.motion)
        # An .flv of ours is an mp4 by another name: readers look at what is inside.
        written = file.with_suffix(".mp4")
        write_video(written, frames, take.waveform, SAMPLE_RATE)
        os.replace(written, file)
        if path == broken:
            whole = file.read_bytes()
            file.write_bytes(whole[: len(whole) // 2])
    return folder
