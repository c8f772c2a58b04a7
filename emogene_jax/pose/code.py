"""How a person holds themselves, as the fields see it: small codes, measured from what the
portrait shows in the mean."""

from typing import NamedTuple

import numpy as np

from emogene_jax.pose.torso import MOTION
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
    torso_guess: (
        np.ndarray
    )  # [12, 6] what a pose's code tells of them, in the same unit


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


def torso_code(fitted: PoseCode, codes: np.ndarray, torso: np.ndarray) -> np.ndarray:
    """Codes [T, 12] of what a torso shows beside its motion [T, 6]: the head's pose now, of
    its codes [T, 12], and that motion, in no direction further than it was seen."""
    moved = (torso - fitted.torso_mean) / fitted.torso_scale
    moved = np.clip(moved, *fitted.torso_range)
    return np.concatenate([codes[:, : CODES - MOTION], moved], -1).astype(np.float32)


def _six(pose, mean, centre):
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(mean.T @ pose.rotation).as_rotvec()
    return np.concatenate([turn, pose.translation - centre], -1)
