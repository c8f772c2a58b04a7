"""Does the sound of a clip fit its picture, and when?

What a generic voice makes of the sound is compared with what the mouth is seen to do,
the one shifted against the other: opening and width of the mouth, correlated. The
lip-sync expert has to agree.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.audio.features import FRAME, audio_features
from emogene_jax.audio_to_motion.generic import (
    EXPERT_FILE,
    FILE,
    Voice,
    built_in,
    built_in_expert,
    spoken_motion,
    sync_of,
)
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.signals import FPS, landmarks_to_motion

FURTHEST = 15  # frames, either way; of a short clip a PARTth of its length
PART = 12
SAID = 2  # frames from which on a correction is worth a word
STRANGE = 0.2  # correlation below which they do not
FITS = 0.3  # correlation from which on sound and picture belong together
# How far the best correlation stands out of those that are APART frames or more from it.
CLEAR, APART = 0.15, 4
AGREED = 1  # frames by which voice and expert may differ


class Offset(NamedTuple):
    """How late a sound is."""

    frames: int  # > 0 = the sound is late
    fit: float  # correlation at that offset
    clear: bool  # whether other offsets fit much less

    def correction(self, least: int = 1) -> int:
        """By how many frames the sound should be moved forward; fewer than `least` do
        not count."""
        return self.frames if self.clear and abs(self.frames) >= least else 0

    def told(self, done: str = "corrected") -> str | None:
        """What people should know of it, and what is done about it."""
        frames = self.correction()
        if abs(frames) >= SAID:
            late = "late" if frames > 0 else "early"
            return f"the sound is {abs(frames)} frames {late}: {done}"
        if self.fit < STRANGE:
            return (
                f"the sound fits the lips nowhere within {FURTHEST / FPS:g} s "
                f"(correlation {self.fit:.2f}): dubbed, or another track?"
            )
        return None


def estimate(waveform: np.ndarray, landmarks: np.ndarray) -> Offset | None:
    """How late a clip's sound [640 * T] is behind its landmarks [T, 68, 3], as the
    built-in voice and expert hear it; None where it is too short to tell, or silent."""
    # They may just be being made.
    if not (FILE.is_file() and EXPERT_FILE.is_file()) or not np.any(waveform):
        return None
    heard = audio_features(waveform, built_in().content)
    motion = landmarks_to_motion(landmarks, np.median(landmarks, axis=0))
    found = sound_offset(built_in(), heard.content, heard.f0, motion)
    flat = motion.reshape(len(motion), -1)
    sync = found and sync_of(built_in_expert(), heard.content, flat)
    if sync and abs(sync.offset - found.frames) > AGREED:
        found = found._replace(clear=False)
    return found


def sound_offset(voice: Voice, content, f0, motion) -> Offset | None:
    """How late the sound of a clip is; None where it is too short to tell.

    Args:
      voice: hears what `content` is of.
      content: [2T, F]; f0: [2T]; motion: [T, 68, 3] or [T, 204] in eye distances.
    """
    frames = len(motion)
    furthest = min(FURTHEST, frames // PART)
    if furthest < APART:
        return None
    motion = np.asarray(motion).reshape(frames, -1)
    made = np.asarray(mouth_shape(spoken_motion(voice, content, f0)))
    seen = np.asarray(mouth_shape(motion))
    shifts = np.arange(-furthest, furthest + 1)
    fits = np.array([_fit(made, seen, shift) for shift in shifts])
    best = int(fits.argmax())
    others = fits[np.abs(shifts - shifts[best]) >= APART]
    clear = fits[best] >= FITS and fits[best] >= others.max(initial=-1.0) + CLEAR
    return Offset(int(shifts[best]), float(fits[best]), bool(clear))


def _fit(made: np.ndarray, seen: np.ndarray, late: int) -> float:
    """Mean correlation over [T, 2] where the sound is `late` frames late."""
    if late >= 0:
        made, seen = made[late:], seen[: len(seen) - late]
    else:
        made, seen = made[:late], seen[-late:]
    made, seen = made - made.mean(0), seen - seen.mean(0)
    spread = np.sqrt((made**2).sum(0) * (seen**2).sum(0))
    return float(np.mean((made * seen).sum(0) / np.maximum(spread, 1e-12)))


def moved(waveform: np.ndarray, frames: int) -> np.ndarray:
    """A waveform [samples] that is `frames` late, brought forward, as long as before; what
    is missing is silent."""
    late, silence = frames * FRAME, np.zeros(abs(frames) * FRAME, waveform.dtype)
    if late >= 0:
        return np.concatenate([waveform[late:], silence])[: len(waveform)]
    return np.concatenate([silence, waveform])[: len(waveform)]
