"""Emotional takes meet the neutral motion of the same moments, by what is heard."""

import numpy as np
import pytest

from emogene_jax.landmarks import MOUTH
from emogene_jax.motion_to_emotion.blink import open_lids
from emogene_jax.portrait import takes as pairs
from emogene_jax.portrait.cut import cut
from emogene_jax.signals import EMOTIONS, landmarks_to_motion
from emogene_jax.synthetic.motion import own_expression
from emogene_jax.synthetic.takes import make_take

HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")


def felt(sentence, emotion, intensity=1.0, speaker=3):
    """An emotional take in a rhythm and a way of its own."""
    return make_take(0, speaker, sentence, emotion, intensity, style=5, own_pace=True)


def error(a, b):
    return np.sqrt(((a - b) ** 2).sum(-1).mean())


@pytest.fixture(scope="module")
def takes(heard_of):
    """Two neutral sentences; the first one happily, a third one sadly."""
    neutral = [make_take(0, 3, sentence) for sentence in (0, 1)]
    return pairs.takes_of(heard_of([*neutral, felt(0, "happy", 2 / 3), felt(7, "sad")]))


def test_without_labels_all_is_neutral(heard_of):
    portrait = heard_of([make_take(0, 3, 0), make_take(0, 3, 1)])
    takes = pairs.takes_of(portrait)
    motion = landmarks_to_motion(portrait.landmarks, portrait.rest)
    np.testing.assert_array_equal(takes.neutral, open_lids(motion, portrait.rest))
    assert takes.known.all() and takes.filmed == [] and takes.told == ""


def test_without_neutral_frames_nothing_can_be_told_apart(heard_of):
    takes = pairs.takes_of(heard_of([felt(0, "happy"), felt(1, "sad")]))
    assert takes.known.all() and takes.filmed == []
    assert "built-in" in takes.told
    np.testing.assert_array_equal(takes.neutral, takes.motion)


def test_the_same_sentence_is_found_and_aligned(takes):
    assert takes.filmed == ["happy", "sad"]
    assert "happy" in takes.told and "0.0 s with a neutral take" in takes.told
    known = [takes.known[takes.clip == clip] for clip in range(4)]
    assert all(k.all() for k in known[:3]) and not known[3].any()
    happy = takes.clip == 2
    truth = felt(0, "happy", 2 / 3).neutral_motion[:, MOUTH]
    frames = np.minimum(np.arange(happy.sum()), (takes.clip == 0).sum() - 1)
    unaligned = takes.neutral[takes.clip == 0][frames][:, MOUTH]
    assert error(takes.neutral[happy][:, MOUTH], truth) < 0.6 * error(unaligned, truth)
    np.testing.assert_array_equal(takes.neutral[~happy], takes.motion[~happy])


def test_what_an_emotion_adds_is_found(takes):
    shown = pairs.added_by_emotion(takes)
    assert {name: len(array) for name, array in shown.items()} == dict.fromkeys(
        shown, len(shown["emotion"])
    )
    for index, level in ((HAPPY, 2 / 3), (SAD, 1.0)):
        mine = shown["emotion"] == index
        np.testing.assert_allclose(shown["intensity"][mine], level, rtol=1e-6)
        added = level * own_expression(EMOTIONS[index], 5)
        found = shown["added"][mine].mean(0)
        assert error(found, added) < 0.3 * error(0, added)


def test_own_emotions_are_those_of_what_is_not_held_out(filmed):
    first = int(np.argmax(filmed.emotion != pairs.NEUTRAL))
    takes = pairs.takes_of(filmed)
    assert takes.filmed == ["happy"] and "happy" in takes.told
    # Held out but for half a second: too little to tell.
    takes = pairs.takes_of(cut(filmed, slice(0, first + 12)))
    assert takes.filmed == [] and len(takes.motion) == first + 12
    assert takes.known.sum() == first and "built-in" in takes.told
