"""Rigid motion and projection, for every part that has a head and a camera.

Axes and units are those of signals.Pose and signals.Camera.
"""

import numpy as np

from emogene_jax.signals import Camera

_FLIP = np.array([-1.0, 1.0])  # what is seen has z < 0, and rows go down


def project(points, rotation, translation, camera: Camera):
    """Pixels [..., P, 2] (column, row) of head-space points [..., P, 3] in cm, under
    poses [..., 3, 3] and [..., 3]. NumPy in, NumPy out; works on jax arrays as well."""
    seen = points @ rotation.swapaxes(-1, -2) + translation[..., None, :]
    scale = camera.focal / seen[..., 2:]
    return seen[..., :2] * scale * _FLIP + np.array([camera.cx, camera.cy])


def rotation_exp(vector, xp=np):
    """Rotations [..., 3, 3] of axis-times-angle vectors [..., 3] (Rodrigues).

    xp: numpy or jax.numpy."""
    angle = xp.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = xp.moveaxis(vector, -1, 0)
    zero = xp.zeros_like(x)
    cross = xp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    cross = cross.reshape(*vector.shape[:-1], 3, 3)
    half = xp.sinc(angle / (2 * np.pi)) ** 2 / 2
    return xp.eye(3) + xp.sinc(angle / np.pi) * cross + half * (cross @ cross)


def mean_rotation(rotation: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] in the middle of rotations [T, 3, 3]."""
    u, _, vt = np.linalg.svd(rotation.mean(0))
    return u @ vt


def rotation_log(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle [..., 3] of rotations [..., 3, 3] by less than pi."""
    skew = rotation - np.swapaxes(rotation, -1, -2)
    vector = np.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1) / 2
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    cosine = (np.trace(rotation, axis1=-2, axis2=-1)[..., None] - 1) / 2
    angle = np.arctan2(sine, cosine)
    return vector * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-12), 1.0)
