"""A pinhole camera: its rays and pixels, and layers of a picture.

Camera axes are x right, y up, z towards the viewer, so what is seen has z < 0; a pixel's
centre is its index + 0.5 (signals.Camera).
"""

import jax
import jax.numpy as jnp

from emogene_jax.signals import Camera, Rays


def pixel_rays(rows, columns, rotation, translation, camera: Camera) -> Rays:
    """Rays in head space through the centres of pixels [..., P] (indices, float or int)
    under poses [..., 3, 3] and [..., 3]."""
    x = (columns + 0.5 - camera.cx) / camera.focal
    y = (camera.cy - rows - 0.5) / camera.focal
    # Sums over three, written out: one pass over the rays, and in full precision.
    turn = rotation[..., None, :, :]
    directions = (  # R^T d
        x[..., None] * turn[..., 0, :]
        + y[..., None] * turn[..., 1, :]
        - turn[..., 2, :]
    )
    directions = directions * jax.lax.rsqrt(x * x + y * y + 1)[..., None]
    origin = -(translation[..., None] * rotation).sum(-2)  # -R^T t
    return Rays(jnp.broadcast_to(origin[..., None, :], directions.shape), directions)


def pixel_place(rows, columns, camera):
    """Pixel centres as places [..., 2] in [0, 1] (column, row)."""
    return (jnp.stack([columns, rows], -1) + 0.5) / camera.size


def over(colour, opacity, behind):
    """Straight colour [..., 3] with opacity [...] over what is behind."""
    return opacity[..., None] * colour + (1 - opacity[..., None]) * behind


def to_bytes(picture):
    """uint8 of a picture in 0..1."""
    return jnp.round(jnp.clip(picture, 0, 1) * 255).astype(jnp.uint8)
