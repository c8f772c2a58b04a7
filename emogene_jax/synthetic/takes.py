"""The synthetic world: takes of people who speak, feel, blink and move, by seed.

It is the truth that tests measure against and what the demo learns from. A take of one
(speaker, sentence) has the same sounds at the same times in every emotion, so neutral
and emotional takes pair frame by frame.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.motion_to_emotion.blink import add_blinks, natural_blinks
from emogene_jax.motion_to_emotion.expressions import (
    add_expression,
    check_emotion,
    express,
)
from emogene_jax.signals import FPS, SAMPLE_RATE, Pose
from emogene_jax.synthetic import motion as synthetic_motion
from emogene_jax.synthetic import voice as synthetic_voice


class Take(NamedTuple):
    """One person saying one sentence in one emotion. T = ceil(samples / 640)."""

    waveform: np.ndarray  # [samples] float32 in [-1, 1], 16 kHz
    phonemes: list[synthetic_voice.Phoneme]
    neutral_motion: np.ndarray  # [T, 68, 3] float32, eye distances; the same blinks
    motion: np.ndarray  # [T, 68, 3] float32, with emotion and blinks
    blink: np.ndarray  # [T] float32, 0 = open .. 1 = lids meet
    pose: Pose  # T poses
    rest: np.ndarray  # [68, 3] float32 cm
    emotion: str
    intensity: float
    speaker: int
    sentence: int


def make_take(
    seed: int,
    speaker: int,
    sentence: int,
    emotion: str = "neutral",
    intensity: float = 1.0,
    sentence_seconds: float = 3.2,
    style: int | None = None,
    own_pace: bool = False,
) -> Take:
    """The take of a world (seed), a speaker, a sentence and an emotion; each part is a
    function of no more than it depends on, so that takes can be compared.

    Args:
        style: a seed: the emotion is shown in a way of their own (own_expression).
        own_pace: the emotion makes for slower or faster speech; neutral takes then don't
            pair frame by frame any more.
    """
    check_emotion(emotion)
    words = np.random.default_rng([seed, 1, sentence])
    body, voice_noise = np.random.default_rng([seed, 2, speaker, sentence]).spawn(2)
    voice = synthetic_voice.random_speaker(1000 * seed + speaker)
    phonemes = synthetic_voice.random_sentence(words, seconds=sentence_seconds)
    pace = synthetic_voice.PROSODY[emotion].rate if own_pace else 1.0
    phonemes = synthetic_voice.paced(phonemes, voice.rate * pace)
    waveform = synthetic_voice.speak(phonemes, voice, emotion, voice_noise)
    frames = -(-len(waveform) // (SAMPLE_RATE // FPS))
    rest = synthetic_motion.identity(1000 * seed + speaker)
    talking = synthetic_motion.talk(phonemes, frames, rest, body)
    blink = natural_blinks(frames, body)
    if style is None:
        felt = express(talking, emotion, intensity)
    else:
        shown = synthetic_motion.own_expression(emotion, style)
        felt = add_expression(talking, np.tile(intensity * shown, (frames, 1, 1)))
    return Take(
        waveform=waveform,
        phonemes=phonemes,
        neutral_motion=add_blinks(talking, blink, rest),
        motion=add_blinks(felt, blink, rest),
        blink=blink,
        pose=synthetic_motion.head_motion(frames, body),
        rest=rest,
        emotion=emotion,
        intensity=float(intensity),
        speaker=speaker,
        sentence=sentence,
    )
