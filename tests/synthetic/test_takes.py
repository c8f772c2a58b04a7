"""Takes of the synthetic world agree where they must, and differ where they must."""

import time

import numpy as np
import pytest

from emogene_jax.landmarks import LOWER_LIDS, UPPER_LIDS
from emogene_jax.motion_to_emotion.expressions import emotion_displacement, signature
from emogene_jax.signals import EMOTIONS, UserError, motion_to_landmarks
from emogene_jax.synthetic.takes import make_take


def test_shapes_and_lengths():
    take = make_take(0, 1, 2, "happy", 0.5)
    frames = -(-len(take.waveform) // 640)
    assert take.motion.shape == take.neutral_motion.shape == (frames, 68, 3)
    assert take.motion.dtype == take.neutral_motion.dtype == np.float32
    assert take.blink.shape == (frames,)
    assert take.pose.rotation.shape == (frames, 3, 3)
    assert take.rest.shape == (68, 3)
    assert (take.emotion, take.intensity, take.speaker, take.sentence) == (
        "happy",
        0.5,
        1,
        2,
    )
    assert 2.5 < len(take.waveform) / 16000 < 5


def test_emotional_takes_pair_with_neutral_ones_frame_by_frame():
    neutral, angry = make_take(3, 1, 2), make_take(3, 1, 2, "angry")
    assert neutral.phonemes == angry.phonemes
    assert len(neutral.waveform) == len(angry.waveform)
    assert np.any(neutral.waveform != angry.waveform)
    np.testing.assert_array_equal(neutral.motion, neutral.neutral_motion)
    np.testing.assert_array_equal(neutral.neutral_motion, angry.neutral_motion)
    np.testing.assert_array_equal(neutral.blink, angry.blink)
    np.testing.assert_array_equal(neutral.pose.rotation, angry.pose.rotation)
    added = (angry.motion - angry.neutral_motion)[:, 17:27]
    np.testing.assert_allclose(
        added,
        np.tile(emotion_displacement("angry")[17:27], (len(added), 1, 1)),
        atol=1e-6,
    )


def test_everything_else_differs():
    take = make_take(0, 0, 0)
    other_speaker, other_sentence, other_world = (
        make_take(*key) for key in ((0, 1, 0), (0, 0, 1), (1, 0, 0))
    )
    symbols = [p.symbol for p in take.phonemes]
    assert symbols == [p.symbol for p in other_speaker.phonemes]
    assert symbols != [p.symbol for p in other_sentence.phonemes]
    assert symbols != [p.symbol for p in other_world.phonemes]
    np.testing.assert_array_equal(take.rest, other_sentence.rest)
    assert np.any(take.rest != other_speaker.rest)
    assert np.any(take.rest != other_world.rest)


def test_blinks_close_the_eyes_in_every_emotion():
    for emotion in EMOTIONS:
        shut = 0
        for sentence in range(3):
            take = make_take(0, 0, sentence, emotion)
            face = motion_to_landmarks(take.motion, take.rest)
            lids = (face[:, UPPER_LIDS, 1] - face[:, LOWER_LIDS, 1]).mean(-1)
            assert lids.min() > -1e-4
            shut += np.sum(take.blink == 1)
            assert np.all(lids[take.blink == 1] < 1e-3)
            assert np.all(lids[take.blink == 0] > 0.3)
        assert shut >= 1


@pytest.mark.parametrize("intensity", [0.6, 1.0])
def test_the_nearest_emotion_is_the_true_one(intensity):
    names = [name for name in EMOTIONS if name != "neutral"]
    known = np.array(
        [list(signature(emotion_displacement(n, intensity)).values()) for n in names]
    )
    for sentence, name in enumerate(names):
        take = make_take(0, 2, sentence, name, intensity)
        mean = np.array([v.mean() for v in signature(take.motion).values()])
        speech = np.array([v.mean() for v in signature(take.neutral_motion).values()])
        distance = np.linalg.norm(known - (mean - speech), axis=-1)
        assert names[distance.argmin()] == name


def test_sentence_seconds():
    short = make_take(0, 0, 0, sentence_seconds=2.0)
    long = make_take(0, 0, 0, sentence_seconds=6.0)
    assert len(long.waveform) > 2 * len(short.waveform)


def test_a_take_is_made_fast():
    make_take(0, 0, 0)
    start = time.perf_counter()
    for sentence in range(4):
        make_take(0, 0, sentence, "fear")
    assert (time.perf_counter() - start) / 4 < 0.5  # .03 s on an idle core


def test_unknown_emotion_is_refused():
    with pytest.raises(UserError, match="'bored'"):
        make_take(0, 0, 0, "bored")
