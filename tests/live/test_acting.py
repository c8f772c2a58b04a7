"""What goes on from frame to frame is what a recording of it would be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax import pipeline
from emogene_jax.emotions import emotion_curve, parse_emotion
from emogene_jax.live import acting
from emogene_jax.motion_to_emotion.blink import natural_blinks
from emogene_jax.rigid import rotation_exp
from emogene_jax.signals import FPS, Posture


def nodding(frames=90):
    """Slow movement with a rest in its middle."""
    time = np.arange(frames) / 25
    still = np.clip(np.abs(time - 1.6) - 0.4, 0, None) * np.sign(time - 1.6)
    turn = np.stack([0.2 * np.sin(2 * still), 0.15 * still, 0 * still], -1)
    place = np.stack([np.sin(2 * still), 0 * still, -60 + 0 * still], -1)
    return Posture(rotation_exp(turn), place, np.tile(place, 2) / 100)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(0, 9),
    st.integers(1, 7),
    st.booleans(),
)
def test_a_live_head_goes_where_that_of_a_recording_goes(
    stretches, seed, at_once, end_is_known
):
    speech = np.concatenate([np.full(n, said) for said, n in stretches])
    source, total = nodding(), len(speech)
    expected = pipeline.postures(source, speech, seed)
    live, made, done = acting.LivePosture(source, seed), [], 0
    while done < total:
        count = min(at_once, total - done)
        known = done + count + acting.EASE + 1  # no more than that is heard ahead
        left = total - done if known >= total or end_is_known else None
        around = live.advance(speech[done:known], count, left)
        assert len(around.rotation) == count + 2 * acting.SMOOTH
        now = slice(acting.SMOOTH, acting.SMOOTH + count)
        made.append(Posture(*(part[now] for part in around)))
        done += count
    found = Posture(*(np.concatenate(parts) for parts in zip(*made, strict=True)))
    for part, same in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, same, atol=1e-9)


def test_what_is_around_a_pose_is_where_the_head_was_and_will_be():
    speech = np.ones(80, bool)
    expected = pipeline.postures(nodding(), speech, 0).translation
    live = acting.LivePosture(nodding(), 0)
    for start in range(0, 40, 4):
        around = live.advance(speech[start:], 4, None).translation
        low = start - acting.SMOOTH
        np.testing.assert_allclose(
            around[max(0, -low) :],
            expected[max(0, low) :][: len(around) - max(0, -low)],
            atol=1e-9,
        )


def test_a_pause_is_talk_until_it_is_long():
    speech = np.ones(60, bool)
    speech[10:20] = speech[30:50] = False
    talks = acting.talking(speech)
    assert talks[:44].all() and not talks[44:50].any() and talks[50:].all()
    assert not acting.talking(np.zeros(40, bool)).any()
    # In two parts the same.
    later = acting.talking(speech[35:], silent=5)
    np.testing.assert_array_equal(later, talks[35:])


def test_a_mood_follows_its_track_piece_by_piece():
    track = parse_emotion("0s=neutral,1s=happy:0.7,1.2s=sad,3s=fear:2")
    expected = emotion_curve(track, 100)
    mood = acting.Mood(track)
    pieces = [mood.curve(start, 4) for start in range(0, 100, 4)]
    for part, whole in zip(zip(*pieces, strict=True), expected, strict=True):
        np.testing.assert_allclose(np.concatenate(part), whole, atol=1e-6)
    assert len(mood._track) == 1  # what is over is forgotten


def test_a_mood_changes_from_where_it_is_without_a_jump():
    mood = acting.Mood(parse_emotion("sad"))
    before = mood.curve(0, 50)[0]
    mood.change(parse_emotion("0s=happy:0.5,1s=angry"))
    weights, intensity = mood.curve(50, 75)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(weights[0], before[-1], atol=1e-6)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.25
    happy, angry = (
        pipeline.emotion_curve([(0.0, n, 1.0)], 1)[0][0] for n in ("happy", "angry")
    )
    np.testing.assert_allclose(weights[15], happy, atol=1e-6)
    assert intensity[15] == pytest.approx(0.5) and intensity[-1] == pytest.approx(1)
    np.testing.assert_allclose(weights[-1], angry, atol=1e-6)


def test_blinks_are_those_of_a_recording():
    expected = natural_blinks(10 * FPS, np.random.default_rng([3, 1]))
    pieces = [acting.live_blinks(3, start, 5) for start in range(0, 10 * FPS, 5)]
    np.testing.assert_array_equal(np.concatenate(pieces), expected)
