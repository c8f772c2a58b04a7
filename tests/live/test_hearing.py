"""What is heard live is what a recording says, as soon as it can be known."""

import numpy as np
import pytest

from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.live.hearing import REACH, Hearing, Tail
from emogene_jax.signals import SAMPLE_RATE, AudioFeatures, UserError
from emogene_jax.synthetic.takes import make_take


@pytest.fixture(scope="module")
def speech():
    """Twelve seconds of a synthetic voice, with a pause."""
    parts = [make_take(0, n, 0, "neutral", sentence_seconds=5).waveform for n in (0, 1)]
    return np.concatenate([parts[0], np.zeros(SAMPLE_RATE, np.float32), parts[1]])


def heard(hearing, waveform, piece, ahead=4):
    """AudioFeatures of all of a waveform, two frames at a time, each asked for as soon as
    `ahead` more are heard."""
    found, done = [], 0

    def ask(more):
        nonlocal done
        while done < hearing.heard - more:
            stop = min(done + 2, hearing.heard)
            found.append(hearing.features(done, stop, stop))
            done = stop

    for start in range(0, len(waveform), piece):
        hearing.hear(waveform[start : start + piece])
        ask(ahead + 1)
    hearing.close()
    ask(0)
    return AudioFeatures(*(np.concatenate(part) for part in zip(*found, strict=True)))


@pytest.mark.parametrize("kind", sorted(REACH))
def test_features_are_soon_those_of_the_whole_recording(speech, kind):
    content = choose_content(kind)
    expected = audio_features(speech, content)
    found = heard(Hearing(content, 2), speech, 320)
    assert found.content.shape == expected.content.shape
    for start, least in ((0, 0.9), (250, 0.97)):
        pair = (part.content[start:].ravel() for part in (found, expected))
        assert np.corrcoef(*pair)[0, 1] > least
    # Not a step early or late.
    for shift in (-1, 1):
        moved = np.roll(found.content, shift, axis=0)[250:].ravel()
        other = np.corrcoef(moved, expected.content[250:].ravel())[0, 1]
        assert (
            other
            < np.corrcoef(found.content[250:].ravel(), expected.content[250:].ravel())[
                0, 1
            ]
        )
    assert np.mean(np.abs(found.f0 - expected.f0) < 1) > 0.95
    assert np.mean(found.speech == expected.speech) > 0.9


def test_the_pieces_it_comes_in_make_no_difference(speech):
    content = choose_content("log_mel")
    short = speech[: 3 * SAMPLE_RATE + 123]
    one, other = (heard(Hearing(content, 2), short, piece) for piece in (320, 80))
    for part, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(part, same)
    assert len(one.speech) == -(-len(short) // 640)


def test_silence_is_no_speech_and_memory_stays():
    hearing = Hearing(choose_content("log_mel"), 2)
    noise = np.random.default_rng(0).normal(0, 1e-4, 60 * SAMPLE_RATE)
    for start in range(0, len(noise), 1600):
        hearing.hear(noise[start : start + 1600].astype(np.float32))
    last = hearing.heard
    assert not hearing.features(last - 100, last, last).speech.any()
    assert all(len(x.rest()) < 120_000 for x in (hearing._sound, hearing._content))
    with pytest.raises(IndexError, match="forgotten"):
        hearing.features(0, 2, 2)


def test_what_hears_a_whole_window_ahead_is_refused():
    with pytest.raises(UserError, match="hubert hears the rest of its window"):
        Hearing({"type": "hubert", "channels": 1024}, 2)


def test_a_tail_counts_all_that_there_was():
    tail = Tail(3, np.zeros(0))
    for number in range(5):
        tail.append(np.array([number]))
    assert len(tail) == 5 and tail.first == 2
    np.testing.assert_array_equal(tail.part(2, 4), [2, 3])


@pytest.mark.parametrize("below", [30, 8, 3])  # dB
def test_speech_over_music_is_no_pause(speech, below):
    """As in a recording: a mouth that stays shut is worse than one that moves in a pause.
    Music that goes on when nobody speaks any more, far below, and steady noise are none."""
    time = np.arange(len(speech)) / SAMPLE_RATE
    tones = [
        (1 + 0.5 * np.sin(7 * n * time)) * np.sin(1500 * n * time) for n in (1, 2, 3)
    ]
    music = sum(tones) / np.std(sum(tones)) * speech.std()
    content = choose_content("log_mel")
    spoken = heard(Hearing(content, 2), speech, 320).speech
    mixed = (speech + 10 ** (-below / 20) * music).astype(np.float32)
    found = heard(Hearing(content, 2), mixed, 320).speech
    assert found[spoken].mean() > 0.95
    if below == 30:
        assert found[~spoken].mean() < 0.2
        noise = 0.01 * np.random.default_rng(0).normal(size=12 * SAMPLE_RATE)
        after = [mixed, 10 ** (-below / 20) * music, noise]
        found = heard(Hearing(content, 2), np.concatenate(after), 320).speech
        assert not found[len(spoken) + 10 : 2 * len(spoken) - 10].any()
        assert not found[-50:].any()  # it is known by then
