"""How an emotion is written, on the command line and in the names of files, and what it
means frame by frame."""

import difflib
import math
import re
from pathlib import Path

import numpy as np

from emogene_jax.signals import EMOTIONS, FPS, UserError, listed

FADE = 0.4  # s from one emotion of a track to the next
MOST_PARTS = 1000  # of one emotion in a mixture
STRONGEST = 2.0  # intensity; faces are learned up to about 1.2, then they are stretched

_STEP = re.compile(r"(?:(?P<seconds>[^=]*)s=)?(?P<name>[^:=]*)(?::(?P<intensity>.*))?")


def parse_emotion(text: str) -> list[tuple[float, str, float]]:
    """A track [(from second, emotion, intensity)], in order of time, from second 0.

    Args:
      text: `happy`, `happy:0.7`, a mixture `happy*3+surprise:0.7` (three parts of one and
        one of the other), or steps `0s=neutral,3s=happy:0.8`. The intensity is a number
        from 0 to STRONGEST (1 = as learned); an emotion holds until the next step, the
        first one from the start.
    """
    steps = text.split(",")
    track = [_parse_step(step.strip(), timed=len(steps) > 1) for step in steps]
    times = [seconds for seconds, _, _ in track]
    if sorted(set(times)) != times:
        raise UserError(f"emotion '{text}': the steps' times must rise")
    return [(0.0, *track[0][1:]), *track[1:]]


def _parse_step(step: str, timed: bool) -> tuple[float, str, float]:
    match = _STEP.fullmatch(step)
    if match is None or (timed and match["seconds"] is None):
        raise UserError(
            f"emotion '{step}': expected happy, happy:0.7 or 0s=neutral,3s=happy:0.8"
        )
    seconds, intensity = match["seconds"] or "0", match["intensity"]
    begins = _number(seconds, f"emotion '{step}': the time '{seconds}'")
    name, amount = _mixed(match["name"].lower(), step), 1.0
    if intensity is not None:
        amount = _number(intensity, f"emotion '{step}': the intensity '{intensity}'")
    if amount > STRONGEST:
        raise UserError(
            f"emotion '{step}': found intensity {amount:g}, expected 0 to {STRONGEST:g} "
            "(1 is the whole expression)"
        )
    return begins, name, amount


def never_reached(track: list[tuple[float, str, float]], frames: int) -> str:
    """A line on the steps of a track that begin after so many frames; empty if none."""
    seconds = frames / FPS
    late = [f"{start:g}s={name}" for start, name, _ in track if start >= seconds > 0]
    if not late:
        return ""
    return (
        f"the emotion track outlasts the {seconds:.1f} s of speech: no {listed(late)}"
    )


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{what} is not a finite number >= 0")
    return value


def _mixed(text: str, step: str) -> str:
    """An emotion or a mixture of some, each of which is known."""
    parts = []
    for part in text.split("+"):
        name, times, share = (word.strip() for word in part.partition("*"))
        what = f"emotion '{step}': the part '{share}'"
        if times and not 1 / MOST_PARTS <= _number(share, what) <= MOST_PARTS:
            raise UserError(f"{what}: expected {1 / MOST_PARTS:g} to {MOST_PARTS}")
        parts.append(_known(name) + times + share)
    return "+".join(parts)


def mixture(text: str) -> np.ndarray:
    """Weights [8] over EMOTIONS, summing to 1, of an emotion or a mixture in a track."""
    weights = np.zeros(len(EMOTIONS), np.float32)
    for part in text.split("+"):
        name, _, share = part.partition("*")
        weights[EMOTIONS.index(name)] += float(share or 1)
    return weights / weights.sum()


def _known(name: str) -> str:
    if name in EMOTIONS:
        return name
    near = difflib.get_close_matches(name, EMOTIONS, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(
        f"unknown emotion '{name}'{hint}; expected one of {', '.join(EMOTIONS)}"
    )


def emotion_curve(
    track: list[tuple[float, str, float]], frames: int, fade: float = FADE
) -> tuple[np.ndarray, np.ndarray]:
    """What a track asks for in each frame: weights [T, 8] over EMOTIONS, summing to 1,
    and intensity [T]; from step to step faded over `fade` seconds."""
    seconds = np.arange(frames) / FPS
    weights = np.tile(mixture(track[0][1]), (frames, 1))
    intensity = np.full(frames, track[0][2], np.float32)
    for start, name, amount in track[1:]:
        share = np.clip((seconds - start) / fade + 0.5, 0, 1)
        share = (share * share * (3 - 2 * share)).astype(np.float32)
        weights *= 1 - share[:, None]
        weights += share[:, None] * mixture(name)
        intensity += share * (amount - intensity)
    return weights, intensity


_LEVEL = re.compile(r"level_([123])")  # MEAD's folders of one intensity
# Other names by which data sets and people call the emotions.
ALIASES = {
    "anger": "angry",
    "ang": "angry",
    "disgusted": "disgust",
    "dis": "disgust",
    "fearful": "fear",
    "fea": "fear",
    "happiness": "happy",
    "hap": "happy",
    "neu": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
} | {name: name for name in EMOTIONS}


def emotion_of(path) -> str:
    """The emotion of a clip by its folder's name or a part of its own (MEAD:
    happy/level_3/001.mp4, M030_sad_3_001.mp4); neutral where none is told."""
    path = Path(path)
    folder = path.parent.parent if _LEVEL.fullmatch(path.parent.name) else path.parent
    parts = [folder.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
    return next((ALIASES[part] for part in parts if part in ALIASES), "neutral")


def intensity_of(path) -> float:
    """How strong a clip's emotion is by its MEAD name (level 1, 2 or 3: a third, two
    thirds, 1); 1 where none is told."""
    path = Path(path)
    level = _LEVEL.fullmatch(path.parent.name)
    for name in ALIASES:
        level = level or re.search(rf"_{name}_([123])_", path.stem.lower())
    return int(level[1]) / 3 if level and emotion_of(path) != "neutral" else 1.0
