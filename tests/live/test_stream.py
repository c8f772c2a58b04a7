"""A person who is live is the one of a recording, a little later."""

import numpy as np
import pytest

from emogene_jax import pipeline
from emogene_jax.audio.features import audio_features
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.live.acting import Mood
from emogene_jax.synthetic.takes import make_take


@pytest.fixture(scope="module")
def speech():
    return make_take(0, 3, 0, "neutral", sentence_seconds=2.5).waveform


@pytest.fixture(scope="module")
def renderer(person):
    return pipeline.live_renderer(person)


def chunks(waveform, size=1000):
    return [waveform[start : start + size] for start in range(0, len(waveform), size)]


def pictures(shown):
    return np.stack([part.frame for part in shown]).astype(int)


@pytest.fixture(scope="module")
def offline(person, speech):
    made = pipeline.perform(person, audio_features(speech), [(0.0, "happy", 1.0)], 5)
    return np.stack(list(Renderer(person.fields).frames(*made))).astype(int)


@pytest.fixture(scope="module")
def live(person, renderer, speech):
    mood = Mood([(0.0, "happy", 1.0)])
    return list(pipeline.stream(person, chunks(speech), mood, 5, renderer=renderer))


def test_frames_are_those_of_the_recording(live, offline):
    assert [part.number for part in live] == list(range(len(offline)))
    difference = np.abs(pictures(live) - offline).mean((1, 2, 3))
    assert difference.mean() < 0.5 and difference.max() < 2
    # It is these frames, and no neighbours of theirs.
    moved = np.abs(pictures(live)[1:] - offline[:-1]).mean()
    assert moved > 2 * difference.mean()


def test_the_pieces_that_sound_comes_in_make_no_difference(
    person, renderer, speech, live
):
    mood = Mood([(0.0, "happy", 1.0)])
    again = pipeline.stream(
        person, chunks(speech[:16_000], 77), mood, 5, renderer=renderer
    )
    np.testing.assert_array_equal(pictures(again)[:12], pictures(live)[:12])


def test_a_frame_comes_as_soon_as_its_look_ahead_is_there(person, renderer, speech):
    given = 0

    def sound():
        nonlocal given
        for piece in chunks(speech, 160):
            given += len(piece)
            yield piece

    ahead = pipeline.look_ahead(person.info["content"])
    for part in pipeline.stream(person, sound(), renderer=renderer):
        if given == len(speech):
            break
        waited = given / 16_000 - (part.number + 1) / 25
        assert waited <= ahead + 0.021  # a step of 20 ms, and a piece
    assert part.number > 30


def test_frames_that_are_skipped_change_nothing_of_the_others(
    person, renderer, speech, live
):
    mood = Mood([(0.0, "happy", 1.0)])
    some = pipeline.stream(
        person, chunks(speech), mood, 5, renderer=renderer, skip=lambda n: n % 8 >= 4
    )
    for part, whole in zip(some, live, strict=True):
        if part.number % 8 >= 4:
            assert part.frame is None
        else:
            np.testing.assert_array_equal(part.frame, whole.frame)


def test_silence_idles(person, renderer):
    silence = np.zeros(2 * 16_000, np.float32)
    shown = pictures(pipeline.stream(person, [silence], renderer=renderer))
    assert len(shown) == 50 and np.abs(np.diff(shown, axis=0)).max() > 0
