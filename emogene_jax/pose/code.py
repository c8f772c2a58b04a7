"""A pose as the fields see it: a small code, measured from the portrait's mean pose."""

from typing import NamedTuple

import numpy as np

from emogene_jax.signals import Pose

CODES = 12  # numbers that a pose code has


class PoseCode(NamedTuple):
    """How poses become the torso's code: measured from the portrait's mean pose."""

    rotation: np.ndarray  # [3, 3] the mean
    translation: np.ndarray  # [3] cm
    scale: np.ndarray  # [6] standard deviations
    least: np.ndarray  # [12]: the range of the portrait's codes
    most: np.ndarray  # [12]


def fit_pose_code(pose: Pose) -> PoseCode:
    """The code of a portrait's poses."""
    from scipy.spatial.transform import Rotation

    mean = Rotation.from_matrix(pose.rotation).mean().as_matrix()
    centre = pose.translation.mean(0)
    values = _six(pose, mean, centre)
    # A portrait that hardly moves must not turn tracker noise into a signal.
    floor = np.array([0.01] * 3 + [0.15] * 3)
    infinite = np.full(12, np.inf)
    code = PoseCode(mean, centre, np.maximum(values.std(0), floor), -infinite, infinite)
    codes = pose_code(code, pose)
    return code._replace(least=codes.min(0), most=codes.max(0))


def pose_code(fitted: PoseCode, pose: Pose, smooth=5.0) -> np.ndarray:
    """Codes [T, 12]: the pose now, and smoothed over time (in frames, +-), since a body
    follows its head slowly. Never outside of what the portrait has shown."""
    from scipy.ndimage import gaussian_filter1d

    values = _six(pose, fitted.rotation, fitted.translation) / fitted.scale
    slow = gaussian_filter1d(values, smooth, axis=0, mode="nearest")
    codes = np.concatenate([values, slow], -1)
    return np.clip(codes, fitted.least, fitted.most).astype(np.float32)


def _six(pose, mean, centre):
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(mean.T @ pose.rotation).as_rotvec()
    return np.concatenate([turn, pose.translation - centre], -1)
