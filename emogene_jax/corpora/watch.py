"""What a face does in one clip of a corpus: landmarks and poses, by themselves.

A portrait is tracked with care for every pixel (portrait/prepare.py); here are a million
clips. Each is decoded once and tracked as it is, without a look at it first and without
a crop.
"""

import functools
from typing import NamedTuple

import numpy as np

from emogene_jax.corpora.clock import Clock
from emogene_jax.face.fit import find_morphable, fit_clips
from emogene_jax.face.tracking import Track, find_model, open_tracker, track_video
from emogene_jax.media.video import iter_frames, video_info
from emogene_jax.signals import Camera, Pose

LOOKED_AT = 40  # frames by which the camera is found: on real clips as good as 100


class Seen(NamedTuple):
    """The face in one clip, of T frames at 25 per second."""

    landmarks: np.ndarray  # [T, 68, 3] float32 cm, canonical head space
    found: np.ndarray  # [T] bool; where False, the face is interpolated
    pose: Pose  # T poses
    camera: Camera  # px of the source; size is the picture's width
    fps: float  # of the source


def watch(video, face_model=None, clock: Clock | None = None) -> Seen:
    """The face in a video file of one person.

    Args:
      face_model: as of portrait.prepare.prepare_portrait: MediaPipe's bundle, None, or a
        .mat file.
      clock: counts the stages decode, track and fit.

    Raises:
      UserError: no such file, no whole video, or hardly a face in it.
    """
    clock = clock or Clock()
    model, morphable = _models(face_model)
    with clock.stage("decode"):
        info = video_info(video)
    with clock.stage("track"):
        frames = clock.each("decode", iter_frames(video))
        track = track_video(frames, model, name=str(video))
    with clock.stage("fit"):
        size = info["width"], info["height"]
        return seen_of(track, size, info["fps"], model, morphable)


def seen_of(track: Track, size, fps: float, model, morphable=None) -> Seen:
    """The face of a clip that has been tracked, of size (width, height) px."""
    width, height = size
    fit, pose, _, landmarks = fit_clips(
        track.points,
        [len(track.points)],
        model,
        width,
        (width / 2, height / 2),
        morphable,
        LOOKED_AT,
    )
    return Seen(landmarks.astype(np.float32), track.found, pose, fit.camera, fps)


def try_out(face_model=None) -> None:
    """Raises UserError now where `watch` would for every clip: without a model, say."""
    model, _ = _models(face_model)
    with open_tracker(model):
        pass


@functools.lru_cache(maxsize=1)
def _models(face_model):
    """(MediaPipe's bundle, a morphable model or None), found once a process."""
    return find_model(face_model), find_morphable(face_model)
