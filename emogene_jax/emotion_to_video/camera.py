"""Pinhole cameras and rays.

Camera axes are x right, y up, z towards the viewer, so what is seen has z < 0; a pixel's
centre is its index + 0.5 (signals.Camera).
"""

import jax.numpy as jnp
import numpy as np

from emogene_jax.signals import Camera, Rays


def project(points, rotation, translation, camera: Camera):
    """Pixels [..., P, 2] (column, row) of head-space points [..., P, 3] in cm, under
    poses [..., 3, 3] and [..., 3]. NumPy in, NumPy out; works on jax arrays as well."""
    seen = points @ rotation.swapaxes(-1, -2) + translation[..., None, :]
    scale = camera.focal / seen[..., 2:]
    return seen[..., :2] * scale * _FLIP + _centre(camera)


def pixel_rays(rows, columns, rotation, translation, camera: Camera) -> Rays:
    """Rays in head space through the centres of pixels [..., P] (indices, float or int)
    under poses [..., 3, 3] and [..., 3]."""
    x = (columns + 0.5 - camera.cx) / camera.focal
    y = (camera.cy - rows - 0.5) / camera.focal
    directions = jnp.stack([x, y, -jnp.ones_like(x)], -1)
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    directions = jnp.einsum("...pi,...ij->...pj", directions, rotation)  # R^T d
    origin = -jnp.einsum("...i,...ij->...j", translation, rotation)  # -R^T t
    return Rays(jnp.broadcast_to(origin[..., None, :], directions.shape), directions)


_FLIP = np.array([-1.0, 1.0], np.float32)


def _centre(camera):
    return np.array([camera.cx, camera.cy], np.float32)
