"""What is heard of portrait videos: sound as long as its pictures, on their clock, and the
features of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emogene_jax.audio.features import FRAME, audio_features, fitted
from emogene_jax.audio.load import StoredSound
from emogene_jax.audio_to_motion.offset import estimate, moved
from emogene_jax.media.stretch import ALL
from emogene_jax.signals import FPS

_ENDS_EARLY = 1.0  # s before the picture does, from which on it is said


def load_sounds(
    files: Sequence[Path], looks: Sequence[dict], say: Callable, part: slice = ALL
) -> dict:
    """{file: its StoredSound} of those that have any, or of a part of their frames. Damage
    is told here, before anything takes long; a sound that ends before its picture is said.
    """
    sounds = {}
    samples = slice(part.start * FRAME, part.stop and part.stop * FRAME)
    for file, look in zip(files, looks, strict=True):
        if not look["sound"]:
            continue
        sounds[file] = StoredSound(file, samples)
        heard = part.start * FRAME + len(sounds[file])
        if told := ends_early(heard, part.start / FPS + look["seconds"]):
            say(f"{file}: {told}")
    return sounds


def ends_early(samples: int, seconds: float) -> str | None:
    """In words, that a sound ends before its picture of so many seconds does."""
    heard = samples / (FPS * FRAME)
    if heard >= seconds - _ENDS_EARLY:
        return None
    return f"its sound ends after {heard:.1f} s: silent from there on"


def listen(clips, sounds: dict, landmarks, content: dict, sound_offset, say) -> tuple:
    """(the Portrait's audio fields, by how many frames each clip's sound was late).

    Args:
        clips: prepare's. sounds: of load_sounds. content: which features.
        landmarks: [T, 68, 3] of the frames that may be learned from.
        sound_offset: frames; None = found out.
    """
    waveforms = [_heard(sounds, clip) for clip in clips]
    each = np.split(landmarks, np.cumsum([clip.length for clip in clips])[:-1])
    late = _late([clip.file for clip in clips], waveforms, each, sound_offset, say)
    waveforms = list(map(moved, waveforms, late))
    heard = [audio_features(waveform, content) for waveform in waveforms]
    whole = np.round(np.concatenate(waveforms) * 32767).astype(np.int16)
    if not sounds:
        whole = whole[:0]
    fields = {
        "content": np.concatenate([part.content for part in heard]),
        "f0": np.concatenate([part.f0 for part in heard]),
        "speech": np.concatenate([part.speech for part in heard]),
        "waveform": whole,
    }
    return fields, late


def say_late(clips, sounds: dict, landmarks, say: Callable) -> None:
    """Says where the sound of clips does not fit their landmarks [T, 68, 3], by the longest
    of them; it stays as it is."""
    longest = int(np.argmax([clip.length for clip in clips]))
    each = np.split(landmarks, np.cumsum([clip.length for clip in clips])[:-1])
    clip = clips[longest]
    found = estimate(_heard(sounds, clip), each[longest])
    if found and (told := found.told("kept so")):
        say(f"{clip.file}: {told}")


def _heard(sounds: dict, clip) -> np.ndarray:
    """The sound of a clip's frames, silent where there is none."""
    sound, first = sounds.get(clip.file), clip.first - clip.look["first"]
    if sound is None:
        return np.zeros(clip.length * FRAME, np.float32)
    return fitted(sound[first * FRAME : (first + clip.length) * FRAME], clip.length)


def _late(files, waveforms, landmarks, given: int | None, say) -> list[int]:
    """By how many frames the sound of each clip is late: as `given`, or as those of its
    landmarks show that may be learned from."""
    if given is not None:
        return [given] * len(files)
    found = []
    for file, waveform, seen in zip(files, waveforms, landmarks, strict=True):
        offset = estimate(fitted(waveform, len(seen)), seen)
        found.append(offset.correction() if offset else 0)
        if offset and offset.told():
            say(f"{file}: {offset.told()}")
    return found
