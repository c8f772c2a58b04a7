"""Pieces of movement, one after the other, without a jump."""

import numpy as np

from emogene_jax.rigid import rotation_exp, rotation_log
from emogene_jax.signals import Posture

EASE = 20  # frames over which a piece gives way to its own poses


def join_poses(pieces: list[Posture]) -> Posture:
    """The pieces in a row. Each begins where the last one ended, and goes over to its
    own poses within EASE frames. NumPy only, on the host."""
    joined = pieces[0]
    for piece in pieces[1:]:
        left = 1 - np.clip(np.arange(len(piece.rotation)) / EASE, 0, 1)
        left = left * left * (3 - 2 * left)  # how much of the difference is left
        turn = rotation_log(joined.rotation[-1] @ piece.rotation[0].T)
        eased = Posture(
            rotation_exp(left[:, None] * turn) @ piece.rotation,
            *(
                own + left[:, None] * (before[-1] - own[0])
                for before, own in zip(joined[1:], piece[1:], strict=True)
            ),
        )
        both = zip(joined, eased, strict=True)
        joined = Posture(*(np.concatenate(parts) for parts in both))
    return joined
