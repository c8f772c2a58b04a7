"""How a person holds themselves, as the fields see it: small codes, measured from what the
portrait shows in the mean."""

from typing import NamedTuple

import numpy as np

from emogene_jax.pose.torso import MOTION, undone
from emogene_jax.signals import Pose

CODES = 12  # numbers that a code has
_RIDGE = 1e-2  # of the torso that is guessed, a frame


class PoseCode(NamedTuple):
    """How poses and the torso's motions become codes."""

    rotation: np.ndarray  # [3, 3] the mean
    translation: np.ndarray  # [3] cm
    scale: np.ndarray  # [6] standard deviations
    least: np.ndarray  # [12]: the range of the portrait's codes
    most: np.ndarray  # [12]
    torso_mean: np.ndarray  # [6] of the torso's motions (pose.torso)
    torso_scale: np.ndarray  # [6]
    torso_range: np.ndarray  # [2, 6] least and most of them, in scales from the mean
    torso_guess: np.ndarray  # [12, 6] of what a pose's code tells of them, so scaled
    torso_box: np.ndarray  # [2, 2] least and most place of the torso that pictures show


def fit_pose_code(pose: Pose, torso: np.ndarray) -> PoseCode:
    """The code of a portrait's poses, and of its torso's motions [T, 6]."""
    from scipy.spatial.transform import Rotation

    mean = Rotation.from_matrix(pose.rotation).mean().as_matrix()
    centre = pose.translation.mean(0)
    values = _six(pose, mean, centre)
    # A portrait that hardly moves must not turn tracker noise into a signal.
    floor = np.array([0.01] * 3 + [0.15] * 3)
    infinite = np.full(12, np.inf)
    middle, scale = torso.mean(0), np.maximum(torso.std(0), 1e-3)
    moved = (torso - middle) / scale
    code = PoseCode(
        mean,
        centre,
        np.maximum(values.std(0), floor),
        -infinite,
        infinite,
        middle,
        scale,
        np.stack([moved.min(0), moved.max(0)]),
        np.zeros((CODES, MOTION)),
        _seen_box(torso),
    )
    codes = pose_code(code, pose).astype(np.float64)
    within = codes.T @ codes + _RIDGE * len(codes) * np.eye(CODES)
    guess = np.linalg.solve(within, codes.T @ moved)
    return code._replace(least=codes.min(0), most=codes.max(0), torso_guess=guess)


def pose_code(fitted: PoseCode, pose: Pose, smooth=5.0) -> np.ndarray:
    """Codes [T, 12]: the pose now, and smoothed over time (in frames, +-), since a body
    follows its head slowly. Never outside of what the portrait has shown."""
    from scipy.ndimage import gaussian_filter1d

    values = _six(pose, fitted.rotation, fitted.translation) / fitted.scale
    slow = gaussian_filter1d(values, smooth, axis=0, mode="nearest")
    codes = np.concatenate([values, slow], -1)
    return np.clip(codes, fitted.least, fitted.most).astype(np.float32)


def guessed_torso(fitted: PoseCode, codes: np.ndarray) -> np.ndarray:
    """Motions [T, 6] of the torso, where the head's codes [T, 12] are all that is known."""
    return fitted.torso_mean + fitted.torso_scale * (codes @ fitted.torso_guess)


def torso_code(fitted: PoseCode, codes: np.ndarray, torso: np.ndarray):
    """What a torso's field is told of motions [T, 6], where the head has codes [T, 12].

    Returns:
        codes [T, 12]: the head's pose now, and the motion, in no direction further than it
        was seen; motions [T, 6] by which places of the picture become places of the field
        (pose.torso.undone), whose [0, 1] is all that was ever seen of the torso. float32.
    """
    moved = (torso - fitted.torso_mean) / fitted.torso_scale
    moved = np.clip(moved, *fitted.torso_range)
    told = np.concatenate([codes[:, : CODES - MOTION], moved], -1)
    low, high = fitted.torso_box
    turn = np.eye(2) + torso[:, :4].reshape(-1, 2, 2)
    turn = turn / (high - low)[:, None] - np.eye(2)
    shift = (0.5 + torso[:, 4:] - low) / (high - low) - 0.5
    boxed = np.concatenate([turn.reshape(-1, 4), shift], -1)
    return told.astype(np.float32), boxed.astype(np.float32)


def _seen_box(torso: np.ndarray) -> np.ndarray:
    """[2, 2] around the places of the torso at which a picture's corners were, of motions
    [T, 6]."""
    corners = np.array([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]])
    places = undone(torso.astype(np.float64), corners).reshape(-1, 2)
    return np.stack([places.min(0), places.max(0)])


def _six(pose, mean, centre):
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(mean.T @ pose.rotation).as_rotvec()
    return np.concatenate([turn, pose.translation - centre], -1)
