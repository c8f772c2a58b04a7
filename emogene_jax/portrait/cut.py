"""Parts of a prepared portrait: what is learned from, and the end that is held out."""

import numpy as np

from emogene_jax.face.fit import rest_of
from emogene_jax.portrait.schema import Portrait
from emogene_jax.signals import FPS, Pose, UserError

LONGEST_HOLDOUT = 20.0  # seconds, where nothing else is asked for
SHORTEST_TRAINING = 2.0  # seconds


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
