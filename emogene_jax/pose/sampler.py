"""Idle head poses for silence: Algorithm 1, eq. 10 and figs. 5-6 of the paper
(arXiv:2410.17262), in NumPy, on the host, in float64.

A head that says nothing rests for a while, moves on, rests again. How long it rests and
how far apart is learned from the source's poses; the rests are frozen copies of a pose,
put into the source's own movement.

Where we depart from the paper: consecutive poses are compared with a stated tolerance,
not by how float32 rounds; where no two poses are equal (tracked poses never are) we
fall back to stillness in degrees and cm; movement eases into and out of a rest; the head
moves more slowly than in speech, which is what the source mostly shows; and the outcome
is as long as asked for.
"""

import warnings

import numpy as np

from emogene_jax.signals import FPS, Pose

TOLERANCE = 1e-12  # of 1 - cosine similarity: equal but for rounding in float64
STILL_DEGREES = 0.12  # per frame: slower than 3 degrees a second counts as still
STILL_CM = 0.03  # per frame
STILL_FRAMES = 8  # a head that turns back is still for less
CALM = 0.4  # of the speed in speech: who listens moves less than half as fast
EASE = 6  # frames to slow down in, and to pick up speed
_RESTLESS = (FPS // 2, 2 * FPS, 2.0 * FPS)  # for a source that never stands still


def idle_lengths(poses: Pose, tolerance: float = TOLERANCE) -> tuple[int, int, float]:
    """(min_len, max_len, mean_gap) of the source's idle stretches, in frames.

    Paper: Eq. 10. Pose i is idle where the cosine similarity of the flattened [R | t]
    of poses i and i + 1 is at least 1 - tolerance; a stretch is a run of such i, as in
    the official release. mean_gap = poses that are not idle / number of stretches.
    (0, 0, 0.0) where no pose is idle.
    """
    return _stretches(_is_idle(poses, tolerance))


def _is_idle(poses: Pose, tolerance: float) -> np.ndarray:
    """Whether pose i + 1 is pose i again: [T - 1]."""
    flat = np.concatenate([poses.rotation, poses.translation[..., None]], axis=-1)
    flat = flat.reshape(len(flat), 12).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=-1, keepdims=True)
    # 1 - cos = |a - b|^2 / 2 for unit vectors: exact where 1 - (a . b) would cancel.
    return 0.5 * ((flat[1:] - flat[:-1]) ** 2).sum(-1) <= tolerance


def still_lengths(
    poses: Pose,
    degrees: float = STILL_DEGREES,
    cm: float = STILL_CM,
    shortest: int = STILL_FRAMES,
) -> tuple[int, int, float]:
    """Like idle_lengths, where idle means: moved by less than so many degrees and cm
    from frame to frame, for no less than the shortest number of frames."""
    between = np.swapaxes(poses.rotation[:-1], -1, -2) @ poses.rotation[1:]
    # The chord |R - 1| stays exact for small angles, where arccos(trace) does not.
    chord = np.linalg.norm(between - np.eye(3), axis=(-2, -1)) / np.sqrt(8)
    angle = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    shift = np.linalg.norm(np.diff(poses.translation, axis=0), axis=-1)
    return _stretches((angle < degrees) & (shift < cm), shortest)


def _stretches(idle: np.ndarray, shortest: int = 1) -> tuple[int, int, float]:
    """(min, max, mean gap) of the runs of True in idle [T - 1], short ones ignored."""
    edges = np.flatnonzero(np.diff(np.r_[False, idle, False].astype(int)))
    lengths = edges[1::2] - edges[::2]
    lengths = lengths[lengths >= shortest]
    if len(lengths) == 0:
        return 0, 0, 0.0
    gap = (len(idle) + 1 - lengths.sum()) / len(lengths)
    return int(lengths.min()), int(lengths.max()), float(gap)


def generate_segments(
    n: int, min_len: int, max_len: int, fixed_gap: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Idle segments [(start, end)] in n poses, both ends inclusive.

    Paper: Algorithm 1. Lengths are uniform in min_len..max_len (cut by what is left),
    fixed_gap poses lie between two segments; it stops where fewer than min_len poses
    are left, or where a segment and its gap would run past the end.
    """
    if not 1 <= min_len <= max_len:
        raise ValueError(f"1 <= min_len <= max_len, not {min_len} and {max_len}")
    if fixed_gap < 0:
        raise ValueError(f"fixed_gap must not be negative, not {fixed_gap}")
    segments = []
    position = 0
    while n - position >= min_len:
        length = int(rng.integers(min_len, min(max_len, n - position) + 1))
        end = position + length - 1
        if end + fixed_gap >= n:
            break
        segments.append((position, end))
        position = end + 1 + fixed_gap
    return segments


def insert_idle(poses: Pose, segments: list[tuple[int, int]]) -> Pose:
    """The poses with each segment's first pose held for the segment's length, put in
    after the non-idle part that leads to it; nothing of the source is lost.

    Paper: Figs. 5-6.
    """
    return _take(poses, _held_index(len(poses.rotation), segments))


def _held_index(n: int, segments: list[tuple[int, int]]) -> np.ndarray:
    """Which source pose each pose of insert_idle is: [n + idle]."""
    times = np.ones(n, int)
    for start, end in segments:
        times[start] += end - start + 1
    return np.repeat(np.arange(n), times)


def sample_idle(poses: Pose, frames: int, seed: int, gap: int | None = None) -> Pose:
    """Idle poses, exactly `frames` of them, for any source with at least one pose.

    The movement is the source's, without its own rests, CALM times as fast, and played
    back and forth where it is short; the rests are as long and, unless gap (frames) is
    given, as far apart as the source's. Deterministic by seed.
    """
    if len(poses.rotation) == 0:
        raise ValueError("idle poses need a source of at least one pose")
    path = idle_path(poses, frames, seed, gap)
    idle = _is_idle(poses, TOLERANCE)
    moving = _take(poses, np.r_[True, ~idle])
    # Without its rests the source is faster than it was on the whole.
    path = (1 - idle.mean()) * path if len(idle) else path
    return _at(moving, _fold_softly(path, len(moving.rotation)))


def idle_path(poses: Pose, frames: int, seed: int, gap: int | None = None):
    """How far an idle head has come in its source's movement, in poses: [frames] float
    from 0 on, never falling, constant in rests (Algorithm 1)."""
    min_len, max_len, mean_gap = _rests(poses)
    fixed_gap = round(mean_gap) if gap is None else gap
    # Rests and gaps beyond the end: the path of a shorter time is the beginning of it.
    length = frames + 2 * (max_len + fixed_gap + 1)
    rng = np.random.default_rng(seed)
    segments = generate_segments(length, min_len, max_len, fixed_gap, rng)
    return CALM * _ease_between_rests(_held_index(length, segments))[:frames]


def head_path(poses: Pose, stretches: list[tuple[int, int, bool]], seed: int) -> Pose:
    """The poses of a head that talks and is idle by turns, back and forth along its
    source's movement: as it was in speech, along idle_path in between. It never leaves
    that path, and changes its speed within a few frames, so nothing jumps.

    Args:
        stretches: (first frame, last + 1, whether there is speech), one after another.
    """
    speed = np.ones(stretches[-1][1])  # poses of the source in a frame
    for start, stop, talking in stretches:
        if not talking:
            path = idle_path(poses, stop - start, seed + start)
            speed[start:stop] = np.diff(path, prepend=path[:1])
    speed[0] = 0  # it begins where the source does
    window = np.ones(2 * EASE + 1) / (2 * EASE + 1)
    eased = np.convolve(np.pad(speed, EASE, "edge"), window, "valid")
    for _, joint, _ in stretches[:-1]:
        near = slice(max(1, joint - EASE), joint + EASE)
        speed[near] = eased[near]
    return poses_along(poses, np.cumsum(speed))


def poses_along(poses: Pose, way: np.ndarray) -> Pose:
    """The poses [T] of who has gone so far [T] (in poses, fractions too) along the
    source's movement, back and forth."""
    return _at(poses, _fold(way, len(poses.rotation)))


def _rests(poses: Pose) -> tuple[int, int, float]:
    """Lengths and gap of the source's rests, by the first measure that finds any."""
    if len(poses.rotation) == 1:
        return 1, 1, 0.0
    lengths = idle_lengths(poses)
    if lengths[0]:
        return lengths
    lengths = still_lengths(poses)
    if lengths[0]:
        warnings.warn(
            "no two poses of the source are equal: taking stretches in which the head "
            f"turns < {STILL_DEGREES} degrees and shifts < {STILL_CM} cm a frame",
            stacklevel=3,
        )
        return lengths
    warnings.warn(
        "the source's head never rests: taking rests of half a second to two",
        stacklevel=3,
    )
    return _RESTLESS


def _ease_between_rests(index: np.ndarray) -> np.ndarray:
    """Re-times the movement between two rests, so that it starts and ends at rest:
    source indices [T] int -> [T] float, the rests and the length unchanged."""
    eased = index.astype(np.float64)
    held = np.diff(index) == 0
    resting = np.r_[held, False] | np.r_[False, held]
    edges = np.flatnonzero(np.diff(np.r_[True, resting, True].astype(int)))
    # Poses first .. last - 1 move.
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        steps = last - first + 1  # from the rest before to the rest after
        ramp = min(EASE, steps // 2)
        time = np.arange(steps + 1)
        from_rest = time if first > 0 else np.full(steps + 1, ramp)
        to_rest = time[::-1] if last < len(index) else np.full(steps + 1, ramp)
        near = np.minimum(from_rest, to_rest) / max(ramp, 1)
        speed = np.clip(0.5 * (near[1:] + near[:-1]), 0, 1)
        way = np.cumsum(speed)[:-1] / speed.sum()
        before = index[first - 1] if first else index[0] - 1
        after = index[last] if last < len(index) else index[-1] + 1
        eased[first:last] = before + way * (after - before)
    return np.clip(eased, index[0], index[-1])


def ping_pong(poses: Pose, frames: int, start: int = 0) -> Pose:
    """`frames` poses of the source from `start` on, turned back at either end: for
    speech that outlasts the portrait."""
    n = len(poses.rotation)
    return _take(poses, _fold(np.arange(start, start + frames), n).astype(int))


def _fold(index: np.ndarray, n: int) -> np.ndarray:
    """Any indices -> 0..n - 1, running back and forth."""
    period = max(2 * (n - 1), 1)
    index = np.mod(index, period)
    return np.minimum(index, period - index) if n > 1 else np.zeros_like(index)


def _fold_softly(index: np.ndarray, n: int) -> np.ndarray:
    """Like _fold, but slows down where it turns back (and stops short of the ends)."""
    ramp = min(EASE, (n - 1) / 2)
    if n == 1:
        return np.zeros_like(index)
    index = _fold(index, n)
    for sign, end in ((1, 0), (-1, n - 1)):
        away = sign * (index - end)
        index = np.where(
            away < ramp, end + sign * (away**2 + ramp**2) / (2 * ramp), index
        )
    return index


def _take(poses: Pose, index: np.ndarray) -> Pose:
    return poses._replace(**{n: part[index] for n, part in poses._asdict().items()})


def _at(poses: Pose, index: np.ndarray) -> Pose:
    """Poses at fractional indices [T]; whole ones are the source's own, to the bit."""
    low = np.floor(index).astype(int)
    high = np.minimum(low + 1, len(poses.rotation) - 1)
    w = index - low

    def between(values):
        part = w.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - part) * values[low] + part * values[high]

    mixed = {name: between(values) for name, values in poses._asdict().items()}
    # Neighbours are close, so the nearest rotation to their mean is the one between.
    u, _, vt = np.linalg.svd(mixed["rotation"])
    whole = (w == 0)[:, None, None]
    mixed["rotation"] = np.where(whole, mixed["rotation"], u @ vt)
    return poses._replace(**mixed)
