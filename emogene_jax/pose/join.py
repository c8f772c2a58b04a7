"""Pieces of head motion, one after the other, without a jump."""

import numpy as np

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
        turn = rotation_vector(rotations[-1][-1] @ piece.rotation[0].T)
        rotations.append(rotation_matrix(left[:, None] * turn) @ piece.rotation)
        translations.append(piece.translation + left[:, None] * shift)
    return Pose(np.concatenate(rotations), np.concatenate(translations))


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Axis times angle [3] in radians, of a rotation [3, 3] by less than pi."""
    skew = np.array(
        [
            matrix[2, 1] - matrix[1, 2],
            matrix[0, 2] - matrix[2, 0],
            matrix[1, 0] - matrix[0, 1],
        ]
    )
    sine = np.linalg.norm(skew) / 2
    angle = np.arctan2(sine, (np.trace(matrix) - 1) / 2)
    return skew / 2 * (angle / sine if sine > 1e-9 else 1.0)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] of axis-times-angle vectors [T, 3] (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=-1)[:, None, None]
    zero = np.zeros(len(vector))
    x, y, z = vector.T
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    safe = np.maximum(angle, 1e-9)
    return (
        np.eye(3)
        + np.sinc(angle / np.pi) * cross
        + (1 - np.cos(angle)) / safe**2 * (cross @ cross)
    )
