"""An emotion track, frame by frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogene_jax.emotions import emotion_curve, never_reached, parse_emotion
from emogene_jax.signals import EMOTIONS, FPS, UserError

NEUTRAL, HAPPY, SAD = (EMOTIONS.index(name) for name in ("neutral", "happy", "sad"))


def test_one_emotion_holds_throughout():
    weights, intensity = emotion_curve([(0.0, "sad", 0.7)], 30)
    assert weights.shape == (30, 8) and weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.eye(8)[[SAD] * 30])
    np.testing.assert_allclose(intensity, 0.7)


def test_a_step_is_faded_around_its_time():
    track = [(0.0, "neutral", 1.0), (2.0, "happy", 0.5)]
    weights, intensity = emotion_curve(track, 100, fade=0.4)
    middle = 2 * FPS
    np.testing.assert_allclose(weights[middle, [NEUTRAL, HAPPY]], 0.5)
    np.testing.assert_allclose(intensity[middle], 0.75)
    assert (weights[: middle - 5, NEUTRAL] == 1).all()
    assert (weights[middle + 6 :, HAPPY] == 1).all()
    assert (np.diff(weights[:, HAPPY]) >= 0).all()
    assert np.diff(weights[:, HAPPY]).max() < 0.25


names = st.sampled_from(EMOTIONS)
later = st.lists(
    st.tuples(st.floats(0.1, 5), names, st.floats(0, 3)),
    max_size=4,
    unique_by=lambda step: step[0],
)


@given(names, st.floats(0, 3), later, st.integers(1, 150))
def test_weights_are_shares_whatever_is_asked_for(name, amount, steps, frames):
    track = [(0.0, name, amount), *sorted(steps)]
    weights, intensity = emotion_curve(track, frames)
    assert weights.shape == (frames, 8) and intensity.shape == (frames,)
    assert (weights >= -1e-6).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    amounts = [amount for _, _, amount in track]
    assert intensity.min() >= min(amounts) - 1e-5
    assert intensity.max() <= max(amounts) + 1e-5


def test_a_step_in_the_very_first_frame_counts():
    weights, _ = emotion_curve([(0.0, "neutral", 1.0), (0.1, "sad", 1.0)], 50)
    assert weights[-1, SAD] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hapy", "did you mean happy"),
        ("happy:5", "found intensity 5, expected 0 to 2"),
        ("0s=happy:2.5,1s=sad", "found intensity 2.5"),
        ("3s=happy,1s=sad", "must rise"),
        ("0s=happy,2s=sad,2s=fear", "must rise"),
    ],
)
def test_what_can_not_be_is_told_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as error:
        parse_emotion(text)
    assert "\n" not in str(error.value)


def test_what_a_track_asks_for_after_the_end_is_told():
    track = parse_emotion("0s=neutral,3s=happy,9s=sad:2")
    assert never_reached(track, 10 * FPS) == ""
    assert never_reached(track, 9 * FPS).endswith("9.0 s of speech: no 9s=sad")
    assert never_reached(track, FPS).endswith("no 3s=happy, 9s=sad")
    weights, _ = emotion_curve(track, FPS)
    assert (weights[:, NEUTRAL] == 1).all()


def test_mixtures_have_their_parts():
    (step,) = parse_emotion(" Happy*3 + surprise:0.8")
    assert step == (0.0, "happy*3+surprise", 0.8)
    weights, intensity = emotion_curve([step], 2)
    assert weights[0, EMOTIONS.index("happy")] == 0.75
    assert weights[0, EMOTIONS.index("surprise")] == 0.25 and intensity[0] == 0.8
    for bad in (
        "happy+",
        "happy*0",
        "happy*-1+sad",
        "happy*x",
        "happy*1e39",
        "happy*1e400",
        "sad*1e-50",
        "+",
    ):
        with pytest.raises(UserError):
            parse_emotion(bad)


words = st.sampled_from(
    [*EMOTIONS, "+", "*", ":", "=", "s", ",", "0", "1.5", "-", "nan", " "]
)


@given(st.one_of(st.text(max_size=30), st.lists(words, max_size=12).map("".join)))
def test_whatever_is_typed_is_a_track_or_one_line(text):
    try:
        track = parse_emotion(text)
    except UserError as error:
        assert str(error)
        return
    assert track[0][0] == 0 and [step[0] for step in track] == sorted(
        step[0] for step in track
    )
    weights, intensity = emotion_curve(track, 5)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert np.isfinite(intensity).all() and (intensity <= 2.0001).all()
