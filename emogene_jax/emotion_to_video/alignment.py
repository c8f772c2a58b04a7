"""What the tracker gets wrong about a pose, learned from the pictures.

Where a camera is thought too near, or a face too flat, a head that turns slides under its
tracked pose, and hair and ears smear. That error is a function of the pose, so it is
learned as one: six numbers (turn, shift), linear in the pose code (torso.pose_code).
What is learned from training frames then holds for any pose, and no frame that is held
out is ever looked at.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.rigid import project, rotation_exp

# What a correction of 1 is: so the fields' learning rate suits it, too.
UNIT = np.array([0.02] * 3 + [0.2] * 3, np.float32)  # rad, cm


def aligned(correction, code, rotation, translation, xp=np):
    """Poses (rotation [..., 3, 3], translation [..., 3] cm) without the tracker's error.

    Args:
        correction: [C, 6], learned. code: [..., C] of the poses. xp: numpy or jax.numpy.
    """
    move = UNIT * (code @ correction)
    rotation = rotation @ rotation_exp(-move[..., :3], xp)
    shift = rotation @ move[..., 3:, None]
    return rotation, translation - shift[..., 0]


def flow(correction, code, points, pose, camera):
    """How far points [B, P, 3] cm, seen under aligned poses, move in the picture as the
    correction changes: [B, P, 2] px (column, row), zeros with its gradient."""
    move = UNIT * (code @ correction)
    ahead = (move - jax.lax.stop_gradient(move))[:, None]
    turn = jnp.broadcast_to(ahead[..., :3], points.shape)
    moved = points - jnp.cross(turn, points) - ahead[..., 3:]
    seen = project(moved, *pose, camera)
    return seen - jax.lax.stop_gradient(seen)
