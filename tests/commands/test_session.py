"""One clock for what comes and what leaves."""

import threading

import numpy as np
import pytest

from emogene_jax.commands import session
from emogene_jax.commands.session import Intake, live, resampled
from emogene_jax.pipeline import Shown
from emogene_jax.signals import UserError


class Clock:
    """Stands still until it is told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def ramp(blocks, size=640):
    return np.arange(blocks * size, dtype=np.float32)


def test_sound_leaves_in_blocks_as_it_came():
    intake = Intake(16_000, clock=Clock())
    for piece in np.array_split(ramp(3), 7):
        intake.give(piece)
    intake.give(np.float32([5, 6]))
    intake.end()
    blocks = list(intake.blocks())
    assert [len(block) for block in blocks] == [640] * 4
    np.testing.assert_array_equal(np.concatenate(blocks[:3]), ramp(3))
    np.testing.assert_array_equal(blocks[3][:4], [5, 6, 0, 0])


def test_where_nothing_comes_there_is_silence_and_nothing_is_lost():
    clock = Clock()
    intake = Intake(16_000, clock=clock)
    intake.give(np.ones(700, np.float32))
    taken = intake.blocks()
    assert next(taken).all()
    clock.now += 0.08 + session.SLACK  # the second block is due, and was not whole
    late = next(taken)
    assert late[:60].all() and not late[60:].any()
    intake.give(2 * np.ones(640, np.float32))
    assert (next(taken) == 2).all()


def test_blocks_do_not_leave_long_before_they_are_due():
    clock = Clock()
    intake = Intake(16_000, lead=0.1, clock=clock)
    intake.give(ramp(20))
    taken = intake.blocks()
    for _ in range(3):
        next(taken)
    assert not intake._ready()
    clock.now += 0.04
    assert intake._ready()


def test_who_gives_too_much_waits_and_who_stops_lets_go():
    intake = Intake(8_000)
    intake.give(np.zeros(8_000 * 10, np.float32))
    assert intake.full
    waits = threading.Thread(target=intake.give, args=(np.zeros(1, np.float32),))
    waits.start()
    waits.join(0.05)
    assert waits.is_alive()
    intake.stop()
    waits.join(5)
    assert not waits.is_alive() and list(intake.blocks()) == []


def test_nothing_at_all_has_no_blocks():
    intake = Intake(16_000)
    intake.end()
    assert list(intake.blocks()) == []


def test_what_waits_can_be_forgotten():
    intake = Intake(16_000, clock=Clock())
    intake.give(ramp(5))
    intake.forget()
    intake.give(7 * np.ones(640, np.float32))
    intake.end()
    (block,) = intake.blocks()
    assert (block == 7).all()


def test_frames_are_late_by_the_clock():
    clock = Clock()
    intake = Intake(16_000, clock=clock)
    intake.give(ramp(1))
    clock.now += 1.0
    assert intake.late(4, 0.5) and not intake.late(12, 0.5) and not intake.late(4, 0.81)


def test_a_rate_of_no_whole_frames_is_refused():
    with pytest.raises(UserError, match="11025 Hz: expected one of 8000, 16000"):
        Intake(11_025)


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_other_rates_are_heard_where_they_were(rate):
    tone = np.zeros(rate, np.float32)
    tone[rate // 2 : rate // 2 + rate // 100] = 0.5
    blocks = iter(np.split(tone, 25))
    heard = np.concatenate(list(resampled(blocks, rate)))
    assert abs(len(heard) - 16_000) < 50
    assert abs(np.argmax(np.abs(heard) > 0.25) - 8_000) <= 3


def test_frames_leave_with_their_own_sound_and_missing_ones_are_told(monkeypatch):
    def stream(avatar, sound, *args, skip, **more):
        for number, _ in enumerate(sound):
            late = skip(number)
            yield Shown(number, None if late else np.full((2, 2, 3), number, np.uint8))

    monkeypatch.setattr(session, "stream", stream)
    clock, said = Clock(), []
    intake = Intake(16_000, clock=clock)
    intake.give(ramp(40))
    intake.end()

    class Person:
        info = {"content": {"type": "log_mel"}}

    clips = []
    for clip in live(Person, intake, say=said.append):
        clips.append(clip)
        clock.now += 2.0 if clip.number == 2 else 0.0
    np.testing.assert_array_equal(np.concatenate([c.sound for c in clips]), ramp(40))
    shown = [clip.number for clip in clips if clip.frame is not None]
    # One a second, however late; and, by the clock, from 38 on they are in time.
    assert shown == [0, 1, 2, 27, *range(38, 40)]
    assert "frames were left out, their sound was not" in said[-1]
