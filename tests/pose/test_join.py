"""Pieces of movement meet without a jump and end as they are."""

import numpy as np

from emogene_jax.pose.join import EASE, join_poses
from emogene_jax.rigid import rotation_exp
from emogene_jax.signals import Posture


def held(frames, turn, place):
    return Posture(
        rotation_exp(np.tile(turn, (frames, 1)).astype(float)),
        np.tile(place, (frames, 1)).astype(float),
        np.tile(place, (frames, 2)) / 100,
    )


def test_one_piece_stays_as_it_is():
    piece = held(5, [0.1, 0, 0], [1, 2, -60])
    joined = join_poses([piece])
    np.testing.assert_array_equal(joined.rotation, piece.rotation)
    np.testing.assert_array_equal(joined.translation, piece.translation)


def test_the_second_begins_where_the_first_ended_and_ends_as_itself():
    first = held(10, [0, 0.3, 0], [0, 0, -60])
    second = held(50, [0.2, -0.2, 0], [2, -1, -55])
    joined = join_poses([first, second])
    assert len(joined.rotation) == len(joined.translation) == 60
    np.testing.assert_allclose(joined.rotation[10], first.rotation[-1], atol=1e-9)
    np.testing.assert_allclose(joined.translation[10], first.translation[-1])
    settled = slice(10 + EASE, None)
    np.testing.assert_allclose(
        joined.rotation[settled], second.rotation[EASE:], atol=1e-9
    )
    np.testing.assert_allclose(joined.translation[settled], second.translation[EASE:])
    # From one to the other on the way: never back, never beyond.
    way = joined.translation[9 : 11 + EASE, 0]
    assert (np.diff(way) >= 0).all() and way.min() == 0 and way.max() == 2
    assert np.diff(way).max() < 2 * 2 / EASE
    # The torso goes the same way.
    np.testing.assert_allclose(joined.torso[:, 0], joined.translation[:, 0] / 100)


def test_short_pieces_chain():
    pieces = [held(3, [0, 0.1 * n, 0], [n, 0, -60]) for n in range(5)]
    joined = join_poses(pieces)
    assert len(joined.rotation) == 15
    assert np.abs(np.diff(joined.translation[:, 0])).max() < 0.5
