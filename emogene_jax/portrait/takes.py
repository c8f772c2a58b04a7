"""A portrait's emotional takes beside the neutral motion of the same moments (Eq. 4).

A neutral take of the same sentence by the same person is brought to the emotional one's
time (align.py), so that every frame has its pair. Where there is none, what the emotion
adds is known on average only: the mean of its frames less the mean of the neutral ones.
(Medians, and neutral frames of the nearest sounds, were no better on the synthetic world.)
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emogene_jax.audio.align import aligned_frames, at_frames, same_words
from emogene_jax.motion_to_emotion.blink import open_lids
from emogene_jax.portrait.cut import steps_of
from emogene_jax.portrait.schema import Portrait
from emogene_jax.signals import EMOTIONS, FPS, landmarks_to_motion

NEUTRAL = EMOTIONS.index("neutral")
LEAST = FPS  # frames of an emotion, from which on it counts as filmed
# Frames over which what an emotion adds is averaged: a face holds an expression longer
# than a sound, so what changes faster is the alignment's error.
_HOLD = 4.0


class Takes(NamedTuple):
    """A portrait's motion, eye distances, lids open, and the neutral motion behind it."""

    motion: np.ndarray  # [T, 68, 3] as filmed
    neutral: np.ndarray  # [T, 68, 3] of the same moments
    known: np.ndarray  # [T] bool: whether `neutral` is; else it is `motion`
    speech: np.ndarray  # [T] bool
    clip: np.ndarray  # [T] int32
    emotion: np.ndarray  # [T] int32, an index into EMOTIONS
    intensity: np.ndarray  # [T] float32

    @property
    def filmed(self) -> list[str]:
        """The emotions to be learned from them; none without neutral frames."""
        counts = np.bincount(self.emotion, minlength=len(EMOTIONS))
        if counts[NEUTRAL] < LEAST:
            return []
        felt = [i for i in range(len(EMOTIONS)) if i != NEUTRAL and counts[i] >= LEAST]
        return [EMOTIONS[i] for i in felt]

    @property
    def told(self) -> str:
        """A line for people; empty where all is neutral."""
        if (self.emotion == NEUTRAL).all():
            return ""
        if not self.filmed:
            return (
                "labelled as emotional, but not with a second each of an emotion and of "
                "neutral frames: the built-in emotions are used"
            )
        told = []
        for name in self.filmed:
            mine = self.emotion == EMOTIONS.index(name)
            paired = self.known[mine].sum() / FPS
            told.append(
                f"{name} {mine.sum() / FPS:.1f} s, {paired:.1f} s with a neutral take"
            )
        return f"the person's own emotions: {'; '.join(told)}"


def takes_of(portrait: Portrait) -> Takes:
    """The takes of a portrait. In one without labels all is neutral."""
    motion = landmarks_to_motion(portrait.landmarks, portrait.rest)
    calm = portrait.emotion == NEUTRAL
    levels = portrait.info.get("intensity") or [1.0] * (portrait.clip.max() + 1)
    known = np.ones_like(calm) if calm.sum() < LEAST else calm.copy()
    clips = [np.flatnonzero(portrait.clip == k) for k in np.unique(portrait.clip)]
    alike = [np.arange(len(motion))] if known.all() else clips
    opened = [open_lids(motion[rows], portrait.rest) for rows in alike]
    motion = np.concatenate(opened)
    neutral = motion.copy()
    if not known.all():
        heard = [portrait.content[steps_of(rows)] for rows in clips]
        models = [k for k, rows in enumerate(clips) if calm[rows].all()]
        for rows, content in zip(clips, heard, strict=True):
            if not calm[rows].all():
                partner = nearest_take(content, [heard[k] for k in models])
                if partner is not None:
                    frames = aligned_frames(heard[models[partner]], content)
                    neutral[rows] = at_frames(motion[clips[models[partner]]], frames)
                    known[rows] = True
    return Takes(
        motion,
        neutral,
        known,
        portrait.speech,
        portrait.clip,
        portrait.emotion,
        np.array(levels, np.float32)[portrait.clip],
    )


def nearest_take(content: np.ndarray, others: Sequence[np.ndarray]) -> int | None:
    """Which of the takes, content [2T, F] each, is of the same sentence as content
    [2U, F]: the one most alike in length of those that are; None = none."""
    order = np.argsort([abs(np.log(len(x) / len(content))) for x in others])
    return next((int(k) for k in order if same_words(others[k], content)), None)


def added_by_emotion(takes: Takes) -> dict[str, np.ndarray]:
    """What the filmed emotions add to a neutral face, frame by frame.

    Returns:
        neutral [N, 68, 3], added [N, 68, 3] (eye distances), emotion [N] int32 (an index
        into EMOTIONS), intensity [N].
    """
    parts = []
    for name in takes.filmed:
        index = EMOTIONS.index(name)
        mine = takes.emotion == index
        for level in np.unique(takes.intensity[mine]):
            parts += list(_added(takes, mine & (takes.intensity == level)))
    names = ("neutral", "added", "emotion", "intensity")
    joined = {name: np.concatenate([p[name] for p in parts]) for name in names}
    return joined


def _added(takes: Takes, mine: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Of the frames `mine` [T] bool, of one emotion and intensity."""

    def part(neutral, added):
        return {
            "neutral": neutral,
            "added": added.astype(np.float32),
            "emotion": np.full(len(added), takes.emotion[mine][0], np.int32),
            "intensity": np.full(len(added), takes.intensity[mine][0], np.float32),
        }

    for clip in np.unique(takes.clip[mine & takes.known]):
        rows = mine & takes.known & (takes.clip == clip)
        added = takes.motion[rows] - takes.neutral[rows]
        added = gaussian_filter1d(added, _HOLD, axis=0, mode="nearest")
        yield part(takes.neutral[rows], added)
    alone = mine & ~takes.known
    if alone.any():
        calm = takes.emotion == NEUTRAL
        added = _mean(takes, alone) - _mean(takes, calm)
        some = np.flatnonzero(calm)
        some = some[np.linspace(0, len(some) - 1, alone.sum()).astype(int)]
        yield part(takes.motion[some], np.tile(added, (len(some), 1, 1)))


def _mean(takes: Takes, rows: np.ndarray) -> np.ndarray:
    """Mean motion [68, 3] of the frames `rows` in which there is speech, if any."""
    spoken = rows & takes.speech
    return takes.motion[spoken if spoken.any() else rows].mean(0)
