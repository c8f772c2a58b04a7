"""Parts of a portrait: stretches that show a face, what is learned from, and the end that
is held out."""

from collections.abc import Sequence

import numpy as np

from emogene_jax.face.fit import rest_of
from emogene_jax.portrait.schema import Portrait
from emogene_jax.signals import FPS, Pose, UserError

LONGEST_HOLDOUT = 20.0  # seconds, where nothing else is asked for
SHORTEST_TRAINING = 2.0  # seconds
SHORTEST_PART = 10  # frames with a face, that are worth having
_LONGEST_GAP = 5  # frames without one, that are interpolated


def faced_parts(
    found: np.ndarray, cuts: np.ndarray, lengths: Sequence[int]
) -> list[tuple[int, int, int]]:
    """(clip, first frame, last + 1), counted through all clips, of the stretches in which a
    face was found [T] but for a few frames, and no cut [T] lies (the first frame of another
    shot). A title or somebody who leaves is no part of a portrait, and never a face between
    two others."""
    parts, begin = [], 0
    for clip, length in enumerate(lengths):
        seen = found[begin : begin + length]
        edges = np.flatnonzero(np.diff(np.r_[True, seen, True].astype(int)))
        gaps = edges.reshape(-1, 2)[np.diff(edges.reshape(-1, 2))[:, 0] > _LONGEST_GAP]
        other = np.flatnonzero(cuts[begin : begin + length])
        ends = [*map(tuple, gaps), *((cut, cut) for cut in other), (length, length)]
        first = 0
        for lost, again in sorted(ends):
            parts.append((clip, begin + int(first), begin + int(lost)))
            first = max(first, again)
        begin += length
    return [part for part in parts if part[2] - part[1] >= SHORTEST_PART]


def left_out(parts: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """[(first, last + 1)] of a clip's frames that are in none of its parts."""
    edges = [0, *(edge for part in parts for edge in part), length]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(first, stop) for first, stop in gaps if stop > first]


def held_out(frames: int, seconds: float | None) -> int:
    """How many of so many frames, at the end, are never learned from.

    Args:
        seconds: of them; None = the last eleventh, at most LONGEST_HOLDOUT.

    Raises:
        UserError: less than SHORTEST_TRAINING would be left.
    """
    if seconds is None:
        seconds = min(frames / FPS / 11, LONGEST_HOLDOUT)
    held = round(seconds * FPS)
    if frames - held < SHORTEST_TRAINING * FPS:
        raise UserError(
            f"--holdout-seconds {held / FPS:g} of {frames / FPS:.1f} s of usable video: "
            f"expected at least {SHORTEST_TRAINING} s to be left to learn from"
        )
    return held


def learned_from(frames: int, seconds: float | None, calm: int) -> int:
    """How many of so many frames may be learned from: but for those held_out. Where nobody
    asks for seconds to be held out, of a few frames all; and of the `calm` ones, the
    neutral end of takes with emotions, a half: emotions are learned against them."""
    try:
        held = held_out(frames, seconds)
    except UserError:
        if seconds is not None:
            raise
        held = 0
    return frames - (held if seconds is not None else min(held, calm // 2))


def held_of(portrait: Portrait, seconds: float | None) -> int:
    """How many frames of a portrait are held out: as `seconds` say; None = as many as
    were when it was prepared.

    Raises:
        UserError: of held_out.
    """
    if seconds is None and "held_out" in portrait.info:
        return portrait.info["held_out"]
    return held_out(len(portrait.clip), seconds)


def parted(portrait: Portrait, held: int) -> tuple[Portrait, Portrait | None]:
    """(what is learned from, the last `held` frames or None). Nothing of the former was
    measured from the latter, as far as that can be mended here (see held_out_seen)."""
    if not held:
        return portrait, None
    known = len(portrait.clip) - held
    if portrait.info.get("held_out", 0) < held:
        portrait = _without_hindsight(portrait, known)
    return cut(portrait, slice(0, known)), cut(portrait, slice(known, None))


def _without_hindsight(portrait: Portrait, known: int) -> Portrait:
    """Rest and background from the first `known` frames, where it was prepared to be
    measured from more of them."""
    faces = (portrait.mesh, portrait.landmarks, portrait.emotion)
    rest_mesh, rest = rest_of(*(part[:known] for part in faces))
    portrait = portrait._replace(rest_mesh=rest_mesh, rest=rest)
    if not portrait.frames.size:  # it was read without pictures
        return portrait
    from emogene_jax.portrait.matting import fill_background

    layers = (portrait.frames, portrait.head_matte, portrait.torso_matte)
    background = fill_background(*(layer[:known] for layer in layers))
    return portrait._replace(background=background)


def cut(portrait: Portrait, part: slice) -> Portrait:
    """Some frames of a portrait, with their sound."""
    total = len(portrait.clip)
    start, stop, _ = part.indices(total)
    values = {}
    for name, value in portrait._asdict().items():
        if name == "pose":
            value = Pose(*(array[part] for array in value))
        elif name in ("content", "f0"):
            value = value[2 * start : 2 * stop]
        elif name == "waveform":
            value = value[start * 640 : stop * 640]
        elif isinstance(value, np.ndarray) and len(value) == total:
            if name not in ("rest", "rest_mesh", "background"):
                value = value[part]
        values[name] = value
    return Portrait(**values)


def some_frames(portrait: Portrait, rows: np.ndarray) -> Portrait:
    """Frames `rows` [N] of a portrait, in that order; their sound step by step, without
    the waveform."""
    steps = steps_of(rows)
    names = (
        *("frames", "head_matte", "torso_matte", "mesh", "landmarks", "torso"),
        *("speech", "clip", "source_frame", "emotion"),
    )
    return portrait._replace(
        pose=Pose(*(part[rows] for part in portrait.pose)),
        content=portrait.content[steps],
        f0=portrait.f0[steps],
        waveform=portrait.waveform[:0],
        **{name: getattr(portrait, name)[rows] for name in names},
    )


def steps_of(rows: np.ndarray) -> np.ndarray:
    """The numbers [2N] of the audio steps of frames [N]."""
    return (2 * np.asarray(rows)[:, None] + np.arange(2)).ravel()


def spread_rows(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def held_out_seen(portrait: Portrait, held: int) -> str:
    """A line for people where camera, shape and mattes of a portrait were measured from
    frames that are now held out; empty where they were not."""
    seen = held - portrait.info.get("held_out", 0)
    if seen <= 0 or not portrait.info.get("look"):
        return ""
    return (
        f"{seen / FPS:g} s of the {held / FPS:g} s that are held out were seen when "
        "camera, shape and mattes were measured: prepare again with "
        f"--holdout-seconds {held / FPS:g} for scores without hindsight"
    )
