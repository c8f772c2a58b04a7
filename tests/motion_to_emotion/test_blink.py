"""Blinks come when a person's do, and shut the eyes."""

import numpy as np

from emogene_jax.landmarks import LOWER_LIDS, UPPER_LIDS
from emogene_jax.motion_to_emotion.blink import (
    add_blinks,
    natural_blinks,
    open_lids,
    shut_lids,
)
from emogene_jax.motion_to_emotion.expressions import (
    canonical_rest,
    emotion_displacement,
)
from emogene_jax.signals import motion_to_landmarks


def aperture(motion, rest):
    face = motion_to_landmarks(motion, rest)
    return face[:, UPPER_LIDS, 1] - face[:, LOWER_LIDS, 1]


def test_blinks_are_short_and_seconds_apart():
    closure = natural_blinks(3000, np.random.default_rng(0))
    assert closure.dtype == np.float32 and closure.min() == 0 and closure.max() == 1
    peaks = np.flatnonzero(closure == 1)
    gaps = np.diff(peaks) / 25
    assert gaps.min() > 1.9 and gaps.max() < 6.1
    edges = np.flatnonzero(np.diff((closure > 0).astype(int)))
    lengths = np.diff(edges)[::2]  # frames in which the lids move
    assert lengths.min() >= 4 and lengths.max() <= 9
    # The lids fall faster than they rise.
    before = [np.sum(closure[p - 6 : p]) for p in peaks[1:-1]]
    after = [np.sum(closure[p + 1 : p + 7]) for p in peaks[1:-1]]
    assert np.mean(before) < 0.8 * np.mean(after)


def test_blinks_repeat_by_seed():
    first, again = (natural_blinks(500, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != natural_blinks(500, np.random.default_rng(4)))


def test_any_length():
    for frames in (0, 1, 2, 7):
        assert natural_blinks(frames, np.random.default_rng(1)).shape == (frames,)


def test_lids_meet_and_never_cross():
    rest = canonical_rest()
    motion = np.repeat(emotion_displacement("surprise")[None], 5, axis=0)
    motion[4, UPPER_LIDS, 1] -= 0.5  # a tracker's slip: lids crossed
    closure = np.array([0.0, 0.5, 1.0, 1.0, 0.0], np.float32)
    gaps = aperture(add_blinks(motion, closure, rest), rest)
    np.testing.assert_allclose(gaps[1], 0.5 * gaps[0], rtol=1e-4)
    np.testing.assert_allclose(gaps[2:], 0.0, atol=1e-5)


def test_eyes_shut_as_they_were_filmed_shut():
    rest = canonical_rest()
    filmed = np.zeros((50, 68, 3), np.float32)
    filmed[20:23] = add_blinks(filmed[20:23], np.array([0.3, 0.7, 0.4]), rest)
    filmed[20:23, 36, 0] += 0.01  # and their corners move
    shut = shut_lids(filmed, rest)
    np.testing.assert_allclose(shut, filmed[21, 36:48], atol=1e-6)
    wide = np.repeat(emotion_displacement("surprise")[None], 3, axis=0)
    blinked = add_blinks(wide, np.array([0.0, 0.5, 1.0]), rest, shut)
    np.testing.assert_allclose(blinked[0], wide[0], atol=1e-7)
    np.testing.assert_allclose(blinked[2, 36:48], shut, atol=1e-6)
    middle = (blinked[0] + blinked[2]) / 2
    np.testing.assert_allclose(blinked[1], middle, atol=1e-6)


def test_who_was_never_seen_to_blink_shuts_the_eyes_whole():
    rest = canonical_rest()
    still = np.zeros((9, 68, 3), np.float32)
    blinked = add_blinks(still, np.ones(9), rest, shut_lids(still, rest))
    np.testing.assert_allclose(aperture(blinked, rest), 0.0, atol=1e-5)


def test_open_eyes_and_the_rest_of_the_face_stay():
    rest = canonical_rest()
    motion = np.random.default_rng(0).normal(0, 0.01, (3, 68, 3)).astype(np.float32)
    blinked = add_blinks(motion, np.array([0.0, 0.7, 1.0]), rest)
    np.testing.assert_allclose(blinked[0], motion[0], atol=1e-7)
    lids = np.r_[UPPER_LIDS, LOWER_LIDS]
    np.testing.assert_array_equal(
        np.delete(blinked, lids, axis=1), np.delete(motion, lids, axis=1)
    )


def test_blinks_can_be_taken_out_again():
    rest = canonical_rest()
    motion = np.zeros((100, 68, 3), np.float32)
    motion[:, UPPER_LIDS, 1] = np.linspace(0, 0.01, 100)[:, None]
    closure = natural_blinks(100, np.random.default_rng(0))
    assert closure.max() == 1
    opened = open_lids(add_blinks(motion, closure, rest), rest)
    np.testing.assert_allclose(opened, motion, atol=5e-3)
    for frames in (1, 3):
        np.testing.assert_array_equal(open_lids(motion[:frames], rest), motion[:frames])
