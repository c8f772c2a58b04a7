"""Parts of a portrait: a cut is whole, and what is held out has been seen by nothing."""

import chex
import numpy as np
import pytest

from emogene_jax.portrait.cut import (
    cut,
    held_out,
    held_out_seen,
    learned_from,
    parted,
    some_frames,
    spread_rows,
)
from emogene_jax.portrait.takes import NEUTRAL
from emogene_jax.signals import FPS, UserError

ROWS = ("frames", "head_matte", "torso_matte", "mesh", "landmarks", "speech")


@pytest.mark.parametrize(
    ("seconds", "asked", "held"),
    [(11, None, 1), (110, None, 10), (600, None, 20), (10, 3, 3), (10, 0, 0)],
)
def test_how_much_is_held_out(seconds, asked, held):
    assert held_out(seconds * FPS, asked) == held * FPS


@pytest.mark.parametrize(("frames", "asked"), [(40, None), (100, 2.5), (0, None)])
def test_too_little_to_learn_from_is_refused(frames, asked):
    with pytest.raises(UserError, match=r"at least 2\.0 s"):
        held_out(frames, asked)


@pytest.mark.parametrize(
    ("frames", "asked", "calm", "left"),
    [
        (313, None, 313, 285),
        (313, None, 50, 288),  # six takes of two seconds, one of them neutral
        (313, 2, 50, 263),  # who asks is told otherwise, if it is too much
        (60, None, 60, 55),
        (40, None, 40, 40),
    ],
)
def test_of_what_is_learned(frames, asked, calm, left):
    assert learned_from(frames, asked, calm) == left


def test_a_cut_is_all_of_some_frames(filmed):
    total = len(filmed.frames)
    part, rest = cut(filmed, slice(10, 30)), cut(filmed, slice(30, None))
    assert len(rest.frames) == total - 30
    for name in ROWS:
        np.testing.assert_array_equal(getattr(part, name), getattr(filmed, name)[10:30])
    np.testing.assert_array_equal(part.content, filmed.content[20:60])
    np.testing.assert_array_equal(part.f0, filmed.f0[20:60])
    np.testing.assert_array_equal(part.waveform, filmed.waveform[6400:19200])
    np.testing.assert_array_equal(part.pose.rotation, filmed.pose.rotation[10:30])
    for name in ("rest", "rest_mesh", "background"):
        np.testing.assert_array_equal(getattr(part, name), getattr(filmed, name))
    assert part.camera == filmed.camera


def test_a_cut_does_not_mistake_other_lengths_for_frames(filmed):
    """68 landmarks, 68 frames: rest is no row of frames."""
    short = cut(filmed, slice(0, 68))
    shorter = cut(short, slice(0, 10))
    assert shorter.rest.shape == (68, 3) and shorter.rest_mesh.shape == (68, 3)
    assert shorter.frames.shape[0] == 10


def test_some_frames_keep_what_is_theirs(filmed):
    rows = np.array([3, 40, 41, 7])
    some = some_frames(filmed, rows)
    for name in (*ROWS, "clip", "source_frame", "emotion"):
        np.testing.assert_array_equal(getattr(some, name), getattr(filmed, name)[rows])
    np.testing.assert_array_equal(some.pose.rotation, filmed.pose.rotation[rows])
    np.testing.assert_array_equal(some.content[2:4], filmed.content[80:82])
    np.testing.assert_array_equal(some.f0[6:], filmed.f0[14:16])
    assert not len(some.waveform)


def test_rows_are_spread_from_end_to_end():
    assert spread_rows(5, 100).tolist() == [0, 1, 2, 3, 4]
    rows = spread_rows(1000, 60)
    assert len(rows) == 60 and (rows[0], rows[-1]) == (0, 999)
    assert set(np.diff(rows)) == {16, 17}


def other_end(portrait, held):
    """The same portrait, with another end: another face, and nobody in the picture."""
    changes = {}
    for name, values in portrait._asdict().items():
        if name in ROWS or name in ("content", "f0"):
            rate = len(values) // len(portrait.clip)
            values = values.copy()
            end = values[-held * rate :]
            end[:] = ~end if end.dtype == bool else 0 if "matte" in name else end + 1
        changes[name] = values
    return portrait._replace(**changes)


@pytest.mark.parametrize("pictures", [True, False])
def test_nothing_that_is_learned_from_knows_the_held_out_end(filmed, pictures):
    """Whatever happens there; its rest shape and the background are measured anew."""
    filmed = filmed._replace(emotion=np.full_like(filmed.emotion, NEUTRAL))
    if not pictures:
        none = np.zeros((len(filmed.clip), 0, 0), np.uint8)
        bare = {"frames": none[..., None], "head_matte": none, "torso_matte": none}
        filmed = filmed._replace(**bare)
    training, held = parted(filmed, 12)
    other_training, other_held = parted(other_end(filmed, 12), 12)
    chex.assert_trees_all_equal(
        *(part._replace(info={}) for part in (training, other_training))
    )
    assert len(held.clip) == len(other_held.clip) == 12
    assert (held.landmarks != other_held.landmarks).all()
    for name in ("rest", "rest_mesh", "background"):
        np.testing.assert_array_equal(getattr(held, name), getattr(training, name))
    assert np.abs(training.rest - filmed.rest).max() > 0
    assert np.abs(training.rest - filmed.rest).max() < 1


def test_what_was_prepared_without_hindsight_is_left_as_it_is(filmed):
    prepared = filmed._replace(info={"held_out": 12})
    for asked in (12, 8):
        training, _ = parted(prepared, asked)
        for name in ("rest", "rest_mesh", "background"):
            np.testing.assert_array_equal(
                getattr(training, name), getattr(filmed, name)
            )
    whole, nothing = parted(filmed, 0)
    assert whole is filmed and nothing is None


def test_hindsight_is_told(filmed):
    """Of a video's look, which was decided when it was prepared."""
    look = filmed._replace(info={"held_out": 10, "look": {"focal": 1.0}})
    assert held_out_seen(look, 10) == held_out_seen(look, 5) == ""
    told = held_out_seen(look, 35)
    assert told.startswith("1 s of the 1.4 s that are held out were seen")
    assert "--holdout-seconds 1.4" in told and "\n" not in told
    assert held_out_seen(filmed, 35) == ""  # the synthetic one has its truth
