"""Lessons of closed lips: synthetic speech of which it is known when p, b and m are.

Trackers see lips that part by a little where they are closed for 60 ms, and of few people
a voice learns only roughly at which sounds they close. Here a voice's own motion, with lips
closed wherever a phone says so, is what it goes on to learn: of speakers that are no
people, so that nothing else about a mouth is learned from them.
"""

from collections.abc import Iterable

import numpy as np

from emogene_jax.audio.features import AudioFeatures, audio_features
from emogene_jax.audio_to_motion.generic import Voice, spoken_motion
from emogene_jax.corpora import clips
from emogene_jax.landmarks import INNER_LOWER, INNER_UPPER, LOWER_RIM, UPPER_RIM
from emogene_jax.signals import FPS, motion_to_landmarks
from emogene_jax.synthetic.flite import LIPS, Phone, say
from emogene_jax.synthetic.motion import identity

EASED = 1.0  # frames over which lips close and open
# Pairs of lips' points, one above the other, and how much of a closing's way they go.
PAIRS = ((INNER_UPPER, INNER_LOWER, 1.0), (UPPER_RIM, LOWER_RIM[::-1], 0.9))


def write_lessons(voice: Voice, speakers: Iterable[str], texts, out) -> None:
    """Adds a clip of each text by each speaker of flite to an extraction (clips.extract)
    of `corpora.portrait_videos`, for training."""
    rest = identity(0)
    for speaker in speakers:
        for number, text in enumerate(texts):
            waveform, phones = say(text, speaker)
            heard = audio_features(waveform, voice.content)
            motion = spoken_motion(voice, heard.content, heard.f0).reshape(-1, 68, 3)
            shut = closed_lips(motion, closure(phones, len(motion)))
            path = f"train/flite_{speaker}/{number:03}.mp4"
            clips.write_clip(out, path, _clip(motion_to_landmarks(shut, rest), heard))


def closure(phones: list[Phone], frames: int) -> np.ndarray:
    """[T]: 1 at frames where lips are closed, by their phones, 0 where nothing is said of
    them; frame t is at t / 25 s."""
    shut = np.zeros(frames)
    for phone in phones:
        if phone.name in LIPS:
            start, end = phone.start * FPS, phone.end * FPS
            middle, half = (start + end) / 2, (end - start) / 2
            beyond = np.abs(np.arange(frames) - middle) - max(half, 0.5)
            shut = np.maximum(shut, np.clip(1 - beyond / EASED, 0, 1))
    return shut


def closed_lips(motion: np.ndarray, shut: np.ndarray) -> np.ndarray:
    """Motion [T, 68, 3] whose lips part by no more than at rest where shut [T] is 1."""
    motion = motion.copy()
    for upper, lower, share in PAIRS:
        apart = np.maximum(motion[:, upper, 1] - motion[:, lower, 1], 0)
        move = share * shut[:, None] * apart / 2
        motion[:, upper, 1] -= move
        motion[:, lower, 1] += move
    return motion


def _clip(landmarks: np.ndarray, heard: AudioFeatures) -> dict[str, np.ndarray]:
    """What clips.ARRAYS names, of a head that stands still before a made-up camera."""
    frames = len(landmarks)
    seen = {
        "landmarks": landmarks,
        "found": np.ones(frames),
        "rotation": np.broadcast_to(np.eye(3), (frames, 3, 3)),
        "translation": np.broadcast_to((0.0, 0.0, -60.0), (frames, 3)),
        "camera": (512.0, 128.0, 128.0, 256.0),
        "source_fps": FPS,
        "sound_offset": 0,
    }
    return seen | heard._asdict()
