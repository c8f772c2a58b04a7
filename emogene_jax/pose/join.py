"""Pieces of head motion, one after the other, without a jump."""

import numpy as np

from emogene_jax.rigid import rotation_exp, rotation_log
from emogene_jax.signals import Pose

EASE = 20  # frames over which a piece gives way to its own poses


def join_poses(pieces: list[Pose]) -> Pose:
    """The pieces in a row. Each begins where the last one ended, and goes over to its
    own poses within EASE frames. NumPy only, on the host."""
    rotations, translations = [pieces[0].rotation], [pieces[0].translation]
    for piece in pieces[1:]:
        left = 1 - np.clip(np.arange(len(piece.rotation)) / EASE, 0, 1)
        left = left * left * (3 - 2 * left)  # how much of the difference is left
        shift = translations[-1][-1] - piece.translation[0]
        turn = rotation_log(rotations[-1][-1] @ piece.rotation[0].T)
        rotations.append(rotation_exp(left[:, None] * turn) @ piece.rotation)
        translations.append(piece.translation + left[:, None] * shift)
    return Pose(np.concatenate(rotations), np.concatenate(translations))
