"""What the tracker gets wrong, learned from the pictures.

Where a camera is thought too near, or a face too flat, a head that turns slides under its
tracked pose, and hair and ears smear. That error is a function of the pose, so it is
learned as one: six numbers (turn, shift), linear in the pose code (pose.code).
What the tracked mesh gets wrong about a face that moves is learned with it, as a
displacement linear in the condition (head.py). Both hold for what was never filmed, and
no frame that is held out is ever looked at.

Their gradient does not come through the field, which would make a step half as long
again, but off the true picture's slope (as Lucas and Kanade align images): a correction
moves what is seen, by `flow`, and the picture changes by its slope times that.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.parallel import full_precision
from emogene_jax.rigid import project, rotation_exp

# What a correction of 1 is: so the fields' learning rate suits it, too.
UNIT = np.array([0.02] * 3 + [0.2] * 3, np.float32)  # rad, cm


@full_precision
def aligned(correction, code, rotation, translation, xp=np):
    """Poses (rotation [..., 3, 3], translation [..., 3] cm) without the tracker's error.

    Args:
        correction: [C, 6], learned. code: [..., C] of the poses. xp: numpy or jax.numpy.
    """
    move = UNIT * (code @ correction)
    rotation = rotation @ rotation_exp(-move[..., :3], xp)
    shift = rotation @ move[..., 3:, None]
    return rotation, translation - shift[..., 0]


@full_precision
def flow(correction, code, displaced, points, pose, camera):
    """How far points [B, P, 3] cm, seen under aligned poses, move in the picture as the
    corrections change: [B, P, 2] px (column, row), zeros with their gradients.

    displaced: [B, P, 3] cm, by which the warp's correction moves them."""
    move = _ahead(UNIT * (code @ correction))[:, None]
    turn = jnp.broadcast_to(move[..., :3], points.shape)
    moved = points + _ahead(displaced) - jnp.cross(turn, points) - move[..., 3:]
    return _ahead(project(moved, *pose, camera))


def _ahead(x):
    """Zeros, with the gradient of x."""
    return x - jax.lax.stop_gradient(x)
