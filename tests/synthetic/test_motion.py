"""Faces differ, mouths follow the sounds, heads move and stand."""

import numpy as np
import pytest

from emogene_jax.landmarks import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIDS,
    MIRROR,
    UPPER_LIDS,
)
from emogene_jax.signals import eye_distance, motion_to_landmarks
from emogene_jax.synthetic.motion import head_motion, identity, talk
from emogene_jax.synthetic.voice import (
    BILABIALS,
    FRICATIVES,
    PAUSE,
    Phoneme,
    random_sentence,
)


def spoken(*symbols, each=0.2, rest=None):
    phonemes = [Phoneme(s, i * each, (i + 1) * each) for i, s in enumerate(symbols)]
    rest = identity(0) if rest is None else rest
    frames = round(len(symbols) * each * 25)
    return talk(phonemes, frames, rest, np.random.default_rng(0))


def gap(motion, rest):
    """Between the inner lips, eye distances: [T, 3]."""
    face = motion_to_landmarks(motion, rest)
    return (face[:, INNER_UPPER, 1] - face[:, INNER_LOWER, 1]) / eye_distance(rest)


def test_identities_are_faces_that_differ():
    faces = np.stack([identity(seed) for seed in range(12)])
    for face in faces:
        np.testing.assert_allclose(face[MIRROR] * [-1, 1, 1], face, atol=1e-5)
        assert 8 < eye_distance(face) < 10
        closed = face[INNER_UPPER, 1] - face[INNER_LOWER, 1]
        assert np.all(closed >= 0) and closed.max() < 0.1
        assert np.all(face[UPPER_LIDS, 1] - face[LOWER_LIDS, 1] > 0.6)
        assert face[[19, 24], 1].min() > face[UPPER_LIDS, 1].max()
        assert np.all(np.diff(face[48:55, 0]) > 0)
    apart = np.abs(faces[:, None] - faces[None]).mean((2, 3))
    assert apart[~np.eye(12, dtype=bool)].min() > 0.04  # cm
    np.testing.assert_array_equal(faces[3], identity(3))


def test_every_bilabial_closes_the_lips_in_some_frame():
    for seed in range(6):
        phonemes = random_sentence(np.random.default_rng(seed))
        rest = identity(seed)
        frames = int(np.ceil(phonemes[-1].end * 25))
        motion = talk(phonemes, frames, rest, np.random.default_rng(seed))
        gaps = gap(motion, rest).max(-1)
        moments = (np.arange(frames) + 0.5) / 25
        for p in phonemes:
            inside = gaps[(moments > p.start) & (moments < p.end)]
            if p.symbol in BILABIALS:
                assert inside.min() < 0.006, p
            elif p.symbol in FRICATIVES:
                assert inside.min() < 0.05, p
        assert gap(motion, rest).min() > -1e-5  # lips never cross
        assert gaps.max() > 0.07


def test_vowels_open_round_and_spread():
    rest = identity(1)
    shape = {}
    for vowel in "aiu":
        middle = spoken("t", vowel, "t", each=0.3, rest=rest)[10:13].mean(0)
        shape[vowel] = middle
    assert gap(shape["a"][None], rest).max() > 0.1
    assert gap(shape["a"][None], rest).max() > 2 * gap(shape["i"][None], rest).max()
    width = {v: m[54, 0] - m[48, 0] for v, m in shape.items()}
    assert width["i"] > 0.05 and width["u"] < -0.08
    assert shape["u"][[51, 57], 2].min() > shape["i"][[51, 57], 2].max() + 0.03
    assert shape["a"][8, 1] < -0.06 < shape["i"][8, 1]  # the chin goes down


def test_neighbours_colour_a_sound():
    between_i, between_u = (spoken(v, "t", v)[7] for v in "iu")
    assert between_i[54, 0] > between_u[54, 0] + 0.01


def test_silence_is_a_living_rest():
    motion = spoken(PAUSE, PAUSE, PAUSE, each=1.0)
    assert gap(motion, identity(0)).max() < 0.006
    assert np.abs(motion).max() < 0.03
    assert np.abs(np.diff(motion[:, 19, 1])).max() > 1e-5  # brows are not frozen


def test_motion_is_smooth():
    phonemes = random_sentence(np.random.default_rng(8))
    motion = talk(phonemes, 80, identity(2), np.random.default_rng(0))
    assert np.abs(np.diff(motion, axis=0)).max() < 0.11  # eye distances a frame


@pytest.mark.parametrize("frames", [1, 40, 700])
def test_head_poses_are_rigid_small_and_about_60_cm_away(frames):
    pose = head_motion(frames, np.random.default_rng(1))
    assert pose.rotation.shape == (frames, 3, 3)
    assert pose.translation.shape == (frames, 3)
    product = pose.rotation @ np.swapaxes(pose.rotation, 1, 2)
    np.testing.assert_allclose(product, np.tile(np.eye(3), (frames, 1, 1)), atol=1e-12)
    cosine = np.clip((np.trace(pose.rotation, axis1=1, axis2=2) - 1) / 2, -1, 1)
    assert np.degrees(np.arccos(cosine)).max() < 16
    assert np.abs(pose.translation - [0, 0, -60]).max() < 2.5


def test_heads_stand_truly_still_and_move_on():
    pose = head_motion(700, np.random.default_rng(3))
    same = np.all(pose.rotation[1:] == pose.rotation[:-1], axis=(1, 2)) & np.all(
        pose.translation[1:] == pose.translation[:-1], axis=1
    )
    edges = np.flatnonzero(np.diff(np.r_[False, same, False].astype(int)))
    lengths = edges[1::2] - edges[::2]
    assert len(lengths) >= 5 and lengths.max() >= 12
    assert 0.15 < same.mean() < 0.7
    turned = np.degrees(np.ptp(np.arcsin(pose.rotation[:, 0, 2])))
    assert turned > 3
