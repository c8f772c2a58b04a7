"""The shape alphabet, and what crosses a border between two parts.

    B  batch                       K = 68  iBUG landmarks
    T  video frames, 25 per s      M  points of the tracked mesh
    S  audio steps, 50 per s       E = 8  emotions
    F  audio feature channels      R  rays      N  samples on a ray
    H  W  pixels

S = 2T exactly. Landmarks are in the canonical head space of one person: cm, x to the
right of the picture, y up, z towards the viewer, rigid motion removed. *Motion* is
landmarks minus the person's rest landmarks, divided by the distance of the outer eye
corners, so that one model serves every face.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emogene_jax.landmarks import OUTER_EYE_CORNERS

FPS = 25  # video frames per second, everywhere inside
AUDIO_FPS = 50  # content and pitch features per second
SAMPLE_RATE = 16_000  # Hz, everywhere inside
LARGEST_SEED = 2**32 - 1  # that NumPy and JAX both take
NUM_LANDMARKS = 68
# Alphabetical: the row order of the official release's emotion embedding.
EMOTIONS = (
    "angry",
    "contempt",
    "disgust",
    "fear",
    "happy",
    "neutral",
    "sad",
    "surprise",
)


class UserError(Exception):
    """Bad input. The command line prints it as one line and exits with code 2."""


def listed(names: list[str], most: int = 8) -> str:
    """A list of names that stays on one line, for a UserError."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


class AudioFeatures(NamedTuple):
    """What speech becomes before the audio-to-motion model sees it."""

    content: np.ndarray  # [S, F] float32 (audio.features), 50 per second
    f0: np.ndarray  # [S] float32, Hz; 0 = unvoiced
    speech: np.ndarray  # [T] bool: False inside a silent stretch


class Pose(NamedTuple):
    """Rigid head motion: x_camera = rotation @ x_head + translation.

    Camera axes: x right, y up, z towards the viewer; the head stands at z < 0.
    """

    rotation: np.ndarray  # [T, 3, 3] float64
    translation: np.ndarray  # [T, 3] float64, cm


class Posture(NamedTuple):
    """How a person holds themselves: a Pose of the head, and where the torso is."""

    rotation: np.ndarray  # [T, 3, 3]
    translation: np.ndarray  # [T, 3] cm
    torso: np.ndarray  # [T, 6] float32, its motion (pose.torso)

    @property
    def head(self) -> Pose:
        """The head's part of it."""
        return Pose(self.rotation, self.translation)


class Camera(NamedTuple):
    """A pinhole. column = cx - focal * x / z, row = cy + focal * y / z, where a pixel's
    centre is its index + 0.5."""

    focal: float  # px
    cx: float  # px
    cy: float  # px
    size: int  # px; pictures are square


class Rays(NamedTuple):
    """Half-lines in head space."""

    origins: Any  # [..., 3] cm
    directions: Any  # [..., 3] unit length


class Stage(NamedTuple):
    """One thing to train: pure functions, in optax's manner.

    init(key, batch) -> (params, aux)
    loss(params, aux, frozen, batch, key, step) -> (loss, (aux, metrics))
    sample(resident, key, step) -> batch, for data that lives on the device; else None
    evaluate(params, aux, frozen, batch) -> metrics of a held-out batch in evaluation mode:
        running statistics, no noise, no dropout, nothing drawn anew; or None, where
        batches say nothing (fields are judged by what they render)
    images(params, aux, frozen, batch) -> {name: uint8 [H, W, 3]}, for TensorBoard, or
        [T, H, W, 3], which moves at 25 fps; or None. Host code.

    aux is what changes without gradients (batch-norm statistics, occupancy); frozen is
    what another stage has learned (the lip-sync expert for the VAE, the head for the
    torso). metrics are scalars.
    """

    init: Callable
    loss: Callable
    sample: Callable | None = None
    images: Callable | None = None
    evaluate: Callable | None = None


def eye_distance(rest: np.ndarray) -> float:
    """The distance of the outer eye corners of rest [68, 3], in its unit."""
    left, right = OUTER_EYE_CORNERS
    return float(np.linalg.norm(rest[left] - rest[right]))


def landmarks_to_motion(landmarks: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Motion [..., 68, 3] in eye distances, of landmarks [..., 68, 3] in cm."""
    return ((landmarks - rest) / eye_distance(rest)).astype(np.float32)


def motion_to_landmarks(
    motion: np.ndarray, rest: np.ndarray, precision=np.float32
) -> np.ndarray:
    """Landmarks [..., 68, 3] in cm, of motion [..., 68, 3] in eye distances. All in
    float64, landmarks_to_motion finds float32 motion again to the bit."""
    return (rest + motion * eye_distance(rest)).astype(precision)
