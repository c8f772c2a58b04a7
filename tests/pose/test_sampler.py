"""The idle pose sampler: Algorithm 1, eq. 10, figs. 5-6, and any source."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax.pose.sampler import (
    CALM,
    generate_segments,
    head_path,
    idle_lengths,
    insert_idle,
    ping_pong,
    sample_idle,
    still_lengths,
)
from emogene_jax.signals import Pose
from emogene_jax.synthetic.motion import head_motion

quick = settings(deadline=None, max_examples=60)


def turning(steps):
    """Poses that turn and shift by steps [T - 1], in degrees and tenths of a cm."""
    angle = np.radians(np.concatenate([[0.0], np.cumsum(steps)]))
    cos, sin, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    rotation = np.stack(
        [cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], axis=-1
    ).reshape(-1, 3, 3)
    translation = np.stack([np.degrees(angle) / 10, zero, zero - 60], axis=-1)
    return Pose(rotation, translation)


def runs(*lengths):
    """Steps that move and stand by turns: moving, still, moving, ..."""
    return np.concatenate(
        [np.full(n, float(i % 2 == 0)) for i, n in enumerate(lengths)]
    )


def is_same(poses, other):
    return np.array_equal(poses.rotation, other.rotation) and np.array_equal(
        poses.translation, other.translation
    )


def is_rigid(poses):
    product = poses.rotation @ np.swapaxes(poses.rotation, -1, -2)
    return np.allclose(product, np.eye(3), atol=1e-9) and np.all(
        np.linalg.det(poses.rotation) > 0
    )


def test_idle_lengths_of_known_runs():
    # 5 moving, 3 still, 7 moving, 6 still, 4 moving: 26 poses, 9 of them idle.
    poses = turning(runs(5, 3, 7, 6, 4))
    assert idle_lengths(poses) == (3, 6, (26 - 9) / 2)
    assert still_lengths(poses, shortest=1) == idle_lengths(poses)
    assert still_lengths(poses, shortest=4) == (6, 6, 26 - 6)


def test_a_small_turn_far_away_is_no_rest():
    # In float32, a head 60 cm away that turns by .02 degrees looks like a resting one.
    poses = turning(np.full(30, 0.02))
    assert idle_lengths(poses) == (0, 0, 0.0)
    assert idle_lengths(poses, tolerance=1e-6)[0] == 30
    assert still_lengths(poses)[0] == 30  # slower than .12 degrees a frame


def test_rounding_does_not_break_a_rest():
    poses = turning(runs(3, 20, 3))
    noisy = poses._replace(translation=poses.translation * (1 + 1e-15))
    assert idle_lengths(noisy)[:2] == (20, 20)


@quick
@given(
    n=st.integers(0, 400),
    min_len=st.integers(1, 40),
    extra=st.integers(0, 40),
    gap=st.integers(0, 60),
    seed=st.integers(0, 2**31),
)
def test_segments_keep_their_bounds(n, min_len, extra, gap, seed):
    def draw():
        return generate_segments(
            n, min_len, min_len + extra, gap, np.random.default_rng(seed)
        )

    segments = draw()
    assert segments == draw()
    for start, end in segments:
        assert 0 <= start <= end and end + gap < n
        assert min_len <= end - start + 1 <= min_len + extra
    for (_, end), (start, _) in zip(segments[:-1], segments[1:], strict=True):
        assert start - end - 1 == gap
    if segments:
        assert segments[0][0] == 0
    # It goes on for as long as the longest segment and its gap would fit.
    position = segments[-1][1] + 1 + gap if segments else 0
    assert n - position < min_len + extra + gap


def test_segments_of_every_small_case():
    """Every n, min, max and gap: no two overlap, none is outside, and where there is
    one way only, it is taken."""
    for n, low, high, gap in itertools.product(
        range(13), range(1, 6), range(1, 6), (0, 1, 3)
    ):
        if low > high:
            continue
        segments = generate_segments(n, low, high, gap, np.random.default_rng(n))
        covered = [i for start, end in segments for i in range(start, end + 1)]
        assert len(set(covered)) == len(covered) and set(covered) <= set(range(n))
        assert all(low <= end - start + 1 <= high for start, end in segments)
        if low == high:
            fits = max(0, (n - low - gap) // (low + gap) + 1) if n >= low + gap else 0
            starts = [k * (low + gap) for k in range(fits)]
            assert segments == [(start, start + low - 1) for start in starts]


def test_lengths_are_uniform():
    rng = np.random.default_rng(0)
    segments = generate_segments(200_000, 5, 9, 2, rng)
    counts = np.bincount([end - start + 1 for start, end in segments], minlength=10)
    assert counts[:5].sum() == 0
    np.testing.assert_allclose(counts[5:], len(segments) / 5, rtol=0.05)


@quick
@given(
    n=st.integers(1, 300),
    min_len=st.integers(1, 20),
    extra=st.integers(0, 20),
    gap=st.integers(0, 40),
    seed=st.integers(0, 2**31),
)
def test_inserting_loses_and_invents_nothing(n, min_len, extra, gap, seed):
    rng = np.random.default_rng(seed)
    segments = generate_segments(n, min_len, min_len + extra, gap, rng)
    poses = turning(np.full(n - 1, 1.0))
    idle = insert_idle(poses, segments)
    held = sum(end - start + 1 for start, end in segments)
    assert len(idle.rotation) == len(idle.translation) == n + held
    place = np.round(10 * idle.translation[:, 0]).astype(
        int
    )  # of turning: .1 cm a pose
    assert np.all(np.diff(place) >= 0) and set(place) == set(range(n))
    times = np.bincount(place, minlength=n) - 1
    assert {int(start): int(times[start]) for start in np.flatnonzero(times)} == {
        start: end - start + 1 for start, end in segments
    }


def test_segments_refuse_impossible_bounds():
    rng = np.random.default_rng(0)
    for bounds in ((0, 3, 1), (4, 3, 1), (1, 3, -1)):
        with pytest.raises(ValueError, match=r"min_len|fixed_gap"):
            generate_segments(50, *bounds, rng)


def test_insert_holds_a_pose_where_it_was_reached():
    poses = turning(np.full(9, 1.0))
    idle = insert_idle(poses, [(2, 4), (7, 8)])
    order = [0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9]
    assert is_same(idle, Pose(poses.rotation[order], poses.translation[order]))


@quick
@given(
    still=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    frames=st.integers(0, 300),
    seed=st.integers(0, 99),
)
def test_any_source_gives_exactly_the_frames(still, frames, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = turning(runs(*still))
        idle = sample_idle(source, frames, seed)
        again = sample_idle(source, frames, seed)
    assert len(idle.rotation) == len(idle.translation) == frames
    assert is_same(idle, again) and is_rigid(idle)
    low, high = source.translation.min(0), source.translation.max(0)
    assert np.all(idle.translation >= low - 1e-9)
    assert np.all(idle.translation <= high + 1e-9)


def test_one_pose_and_a_head_that_never_moves():
    for steps in (np.zeros(0), np.zeros(40)):
        source = turning(steps)
        idle = sample_idle(source, 33, 0)
        assert is_same(idle, ping_pong(source, 33))
        assert np.ptp(idle.translation, axis=0).max() == 0


def test_no_pose_is_refused():
    with pytest.raises(ValueError, match="at least one pose"):
        sample_idle(turning(np.zeros(3))._replace(rotation=np.zeros((0, 3, 3))), 5, 0)


def test_a_restless_source_gets_rests_and_a_warning():
    with pytest.warns(UserWarning, match="never rests"):
        idle = sample_idle(turning(np.full(120, 0.8)), 200, 1)
    assert idle_lengths(idle)[0] >= 3
    tracked = turning(np.where(np.arange(120) % 40 < 20, 0.01, 0.8))
    with pytest.warns(UserWarning, match="no two poses"):
        sample_idle(tracked, 200, 1)


def test_rests_are_as_long_and_as_rare_as_the_sources():
    source = head_motion(500, np.random.default_rng(2))
    min_len, max_len, gap = idle_lengths(source)
    idle = sample_idle(source, 2000, 5)
    still = np.all(np.diff(idle.translation, axis=0) == 0, axis=-1)
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(int)))
    inner = (edges[1::2] - edges[::2])[1:-1]  # the last may be cut
    assert inner.min() >= min_len and inner.max() <= max_len
    gaps = edges[2::2] - edges[1:-1:2]
    assert np.all(np.abs(gaps[:-1] - gap) < max_len + 2)
    other = sample_idle(source, 2000, 6)
    assert not is_same(idle, other)


def test_movement_eases_into_rests_out_of_them_and_around():
    source = turning(np.full(60, 1.0))
    with pytest.warns(UserWarning):
        idle = sample_idle(source, 400, 3)
    speed = np.diff(idle.translation[:, 0])
    # The source moves .1 cm a frame; a rest must not begin or end at idle's share of
    # that speed, nor must the head bounce where the source ends.
    assert np.abs(np.diff(speed)).max() < 0.4 * 0.1 * CALM
    assert 0.09 * CALM < np.abs(speed).max() < 0.16 * CALM


def speeds(poses):
    """Of the head from frame to frame: radians and cm, [T - 1] each."""
    chord = np.linalg.norm(np.diff(poses.rotation, axis=0), axis=(1, 2)) / np.sqrt(8)
    turn = 2 * np.arcsin(np.clip(chord, 0, 1))
    return turn, np.linalg.norm(np.diff(poses.translation, axis=0), axis=-1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rests", [True, False])
def test_an_idle_head_moves_less_than_half_as_fast(seed, rests):
    source = head_motion(500, np.random.default_rng(seed))
    if not rests:  # as a tracker sees it
        noise = np.random.default_rng(seed).normal(0, 1e-3, (500, 3))
        source = source._replace(translation=source.translation + noise)
    idle = sample_idle(source, 750, seed)
    for own, other in zip(speeds(source), speeds(idle), strict=True):
        assert 0.1 * own.mean() < other.mean() < 0.5 * own.mean()
        assert other.max() < np.percentile(own, 99)


stretch = st.tuples(st.integers(15, 90), st.integers(15, 90))


@pytest.mark.filterwarnings("ignore::UserWarning")
@quick
@given(st.lists(stretch, min_size=1, max_size=3), st.booleans(), st.integers(0, 99))
def test_between_speech_and_silence_nothing_jumps(lengths, first, seed):
    """At each joint, and a quarter of a second around it, no step is larger than the
    99th percentile of the source's own."""
    source = head_motion(400, np.random.default_rng(3))
    ends = np.cumsum(np.ravel(lengths)).tolist()
    stretches = [
        (start, stop, (k % 2 == 0) == first)
        for k, (start, stop) in enumerate(zip([0, *ends], ends, strict=False))
    ]
    poses = head_path(source, stretches, seed)
    assert len(poses.rotation) == ends[-1] and is_rigid(poses)
    assert is_same(poses, head_path(source, stretches, seed))
    for own, steps in zip(speeds(source), speeds(poses), strict=True):
        assert steps.max(initial=0) <= own.max() + 1e-9
        for joint in ends[:-1]:
            near = steps[max(0, joint - 3) : joint + 2]
            assert near.max() <= np.percentile(own, 99)


def test_speech_alone_is_the_source_back_and_forth():
    source = head_motion(60, np.random.default_rng(0))
    assert is_same(head_path(source, [(0, 200, True)], 5), ping_pong(source, 200))


def test_ping_pong_turns_back():
    source = turning(np.full(3, 1.0))
    index = [1, 2, 3, 2, 1, 0, 1, 2]
    expected = Pose(source.rotation[index], source.translation[index])
    assert is_same(ping_pong(source, 8, start=1), expected)
    assert len(ping_pong(turning(np.zeros(0)), 4, start=9).rotation) == 4
