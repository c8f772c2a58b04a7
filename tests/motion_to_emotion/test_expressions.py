"""What each emotion does to a face, and that speech keeps its lips."""

import numpy as np
import pytest

from emogene_jax.landmarks import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIDS,
    MIRROR,
    UPPER_LIDS,
)
from emogene_jax.motion_to_emotion.expressions import (
    EMOTION_ACTIONS,
    canonical_rest,
    emotion_displacement,
    express,
    signature,
)
from emogene_jax.signals import EMOTIONS, UserError, eye_distance


def measured(emotion):
    return {k: float(v) for k, v in signature(emotion_displacement(emotion)).items()}


def opened(gap):
    """A frame whose inner lips are `gap` eye distances apart: [1, 68, 3]."""
    motion = np.zeros((1, 68, 3), np.float32)
    motion[:, INNER_UPPER, 1] = 0.25 * gap
    motion[:, INNER_LOWER, 1] = -0.75 * gap
    return motion


def lip_gap(motion):
    return motion[:, INNER_UPPER, 1] - motion[:, INNER_LOWER, 1]


def test_rest_is_a_symmetric_face_of_plausible_proportions():
    rest = canonical_rest()
    assert rest.shape == (68, 3) and rest.dtype == np.float32
    assert np.array_equal(np.sort(MIRROR), np.arange(68))
    np.testing.assert_array_equal(rest[MIRROR] * np.float32([-1, 1, 1]), rest)
    assert eye_distance(rest) == pytest.approx(9.0)
    assert len(np.unique(rest.round(4), axis=0)) == 68  # no two points coincide
    assert rest[:, 2].argmax() == 30  # the tip of the nose
    inner = rest[INNER_UPPER, 1] - rest[INNER_LOWER, 1]
    assert np.all(inner >= 0) and inner.max() < 0.01 * 9  # lips closed
    assert np.all(rest[UPPER_LIDS, 1] - rest[LOWER_LIDS, 1] > 0.06 * 9)  # eyes open
    # From the top: brows, eyes, nose, upper lip, lower lip, chin.
    order = [rest[i, 1].mean() for i in ([17, 21], [36, 39], [30], [51], [57], [8])]
    assert order == sorted(order, reverse=True)


def test_every_emotion_is_what_the_literature_says():
    happy, surprise = measured("happy"), measured("surprise")
    angry, sad, fear = measured("angry"), measured("sad"), measured("fear")
    disgust, contempt = measured("disgust"), measured("contempt")
    assert happy["mouth_corners"] >= 0.05 and happy["mouth_width"] >= 0.05
    assert happy["lid_aperture"] < -0.01  # lower lids up
    assert emotion_displacement("happy")[54, 2] < -0.02  # corners back
    assert 0.07 <= surprise["brow_height"] <= 0.17
    assert surprise["lid_aperture"] > 0.02 and surprise["jaw"] > 0.05
    inner = emotion_displacement("angry")[[21, 22], 1]
    assert np.all(inner <= -0.05) and angry["brow_distance"] <= -0.05
    assert angry["lid_aperture"] < -0.01 and angry["mouth_width"] < -0.04
    assert sad["inner_brow_raise"] >= 0.055 and sad["mouth_corners"] <= -0.04
    assert fear["brow_height"] > 0.02 and fear["brow_distance"] < -0.03
    assert fear["lid_aperture"] > 0.015 and fear["mouth_width"] > 0.08
    assert disgust["nose_to_lip"] < -0.02 and disgust["brow_height"] < -0.02
    assert contempt["asymmetry"] > 0.04
    assert abs(contempt["brow_height"]) < 1e-6


# What a tracker saw filmed actors do (one of CREMA-D against his own neutral take, four of
# MEAD against the usual face), over the share that it sees of a known warp, in eye
# distances.
FILMED = {
    ("angry", "brow_distance"): -0.014 / 0.05,
    ("disgust", "brow_height"): -0.053 / 0.4,
    ("disgust", "nose_to_lip"): -0.048 / 0.7,
    ("happy", "mouth_corners"): 0.080 / 0.75,
    ("happy", "mouth_width"): 0.112 / 0.6,
    ("sad", "inner_brow_raise"): 0.036 / 0.4,
    ("sad", "mouth_corners"): -0.105 / 0.75,
    ("surprise", "brow_height"): 0.058 / 0.4,
    ("surprise", "lid_aperture"): 0.054 / 0.4,
    ("surprise", "mouth_width"): -0.059 / 0.6,
}


@pytest.mark.parametrize(("emotion", "measure"), FILMED)
def test_emotions_are_as_strong_as_filmed_actors(emotion, measure):
    share = measured(emotion)[measure] / FILMED[emotion, measure]
    assert 0.5 < share < 1.6


def test_only_contempt_is_one_sided():
    for emotion in EMOTIONS:
        move = emotion_displacement(emotion)
        difference = np.abs(move[MIRROR] * [-1, 1, 1] - move).max()
        assert (difference > 0.05) == (emotion == "contempt"), emotion
    assert np.all(emotion_displacement("contempt")[[48, 60]] == 0)


def test_no_two_emotions_are_alike():
    moves = np.stack([emotion_displacement(e).ravel() for e in EMOTIONS])
    apart = np.abs(moves[:, None] - moves[None]).max(-1)
    assert np.all(apart[~np.eye(8, dtype=bool)] > 0.04)
    assert set(EMOTION_ACTIONS) == set(EMOTIONS)


def test_intensity_scales_and_may_change_over_time():
    once = emotion_displacement("sad")
    np.testing.assert_allclose(emotion_displacement("sad", 0.5), 0.5 * once)
    motion = np.repeat(opened(0.1), 3, axis=0)
    moved = express(motion, "surprise", np.array([0.0, 0.5, 1.0])) - motion
    np.testing.assert_array_equal(moved[0], 0)
    np.testing.assert_allclose(moved[2], 2 * moved[1], atol=1e-6)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_closed_lips_stay_closed_and_never_cross(emotion):
    for intensity in (1.0, 30.0):  # however absurd
        for gap in (0.0, 0.005, 0.02, 0.06, 0.15):
            gaps = lip_gap(express(opened(gap), emotion, intensity))
            assert np.all(gaps >= -1e-5)
            if gap == 0.0:
                assert np.all(gaps < 1e-5)


def test_wide_open_lips_take_the_whole_expression():
    motion = opened(0.15)
    moved = express(motion, "surprise")[0] - motion[0]
    np.testing.assert_allclose(moved, emotion_displacement("surprise"), atol=1e-6)


def test_opening_follows_speech():
    gaps = [
        lip_gap(express(opened(g), "surprise")).mean() for g in np.linspace(0, 0.15, 16)
    ]
    assert np.all(np.diff(gaps) > 0)


def test_a_blink_shuts_wide_eyes():
    rest = canonical_rest() / 9.0
    motion = np.zeros((1, 68, 3), np.float32)
    motion[:, UPPER_LIDS] = rest[LOWER_LIDS] - rest[UPPER_LIDS]
    lids = express(motion, "surprise")[0] + rest
    np.testing.assert_allclose(lids[UPPER_LIDS, 1], lids[LOWER_LIDS, 1], atol=2e-3)


def test_express_leaves_its_input_alone():
    motion = opened(0.01)
    before = motion.copy()
    express(motion, "fear")
    np.testing.assert_array_equal(motion, before)


def test_unknown_emotion_is_named():
    with pytest.raises(UserError, match="'joy'.*happy"):
        express(opened(0.1), "joy")
