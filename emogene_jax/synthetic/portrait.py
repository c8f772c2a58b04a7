"""A prepared portrait of the synthetic world: what `emogene prepare` would make of a
video of its character, with the truth in place of what a tracker sees."""

import numpy as np

from emogene_jax.audio.features import LOG_MEL, audio_features
from emogene_jax.portrait.schema import Portrait
from emogene_jax.pose.torso import MOTION
from emogene_jax.signals import EMOTIONS, FPS, SAMPLE_RATE, Pose, motion_to_landmarks
from emogene_jax.synthetic import video as synthetic_video
from emogene_jax.synthetic.takes import Take, make_take

SPEAKER = 0


def portrait_takes(
    seed: int, sentences: int, sentence_seconds: float = 3.2
) -> list[Take]:
    """Takes of one speaker: `sentences` neutral ones, and one of each emotion."""
    says = ["neutral"] * sentences + [name for name in EMOTIONS if name != "neutral"]
    return [
        make_take(seed, SPEAKER, number, name, sentence_seconds=sentence_seconds)
        for number, name in enumerate(says)
    ]


def synthetic_portrait(
    seed: int = 0, size: int = 64, sentences: int = 5, takes: list[Take] | None = None
) -> Portrait:
    """The portrait of the character that says `takes` (default: portrait_takes)."""
    takes = portrait_takes(seed, sentences) if takes is None else takes
    rest = takes[0].rest
    camera = synthetic_video.camera(size)
    character = synthetic_video.character(seed)
    landmarks = np.concatenate([motion_to_landmarks(t.motion, rest) for t in takes])
    pose = Pose(*(np.concatenate(parts) for parts in zip(*(t.pose for t in takes))))
    video = synthetic_video.render(landmarks, rest, pose, camera, character)
    heard = [audio_features(take.waveform) for take in takes]
    lengths = [len(take.motion) for take in takes]
    return Portrait(
        frames=video.frames,
        head_matte=video.head_matte,
        torso_matte=video.torso_matte,
        background=video.background,
        mesh=landmarks,
        landmarks=landmarks,
        rest_mesh=rest,
        rest=rest,
        pose=pose,
        torso=_torso_motion(pose, camera),
        camera=camera,
        content=np.concatenate([features.content for features in heard]),
        f0=np.concatenate([features.f0 for features in heard]),
        speech=np.concatenate([features.speech for features in heard]),
        waveform=np.concatenate([_sound(take) for take in takes]),
        clip=np.repeat(np.arange(len(takes)), lengths).astype(np.int32),
        source_frame=np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        emotion=np.repeat([EMOTIONS.index(t.emotion) for t in takes], lengths).astype(
            np.int32
        ),
        info={"sources": ["synthetic"], "content": LOG_MEL},
    )


def _torso_motion(pose: Pose, camera) -> np.ndarray:
    """Motions [T, 6] of the character's torso (pose.torso): it follows the head's shifts a
    part of the way."""
    shift = synthetic_video.FOLLOWS * (pose.translation - synthetic_video.HOME)
    shift = shift / synthetic_video.DISTANCE
    motion = np.zeros((len(shift), MOTION), np.float32)
    motion[:, [0, 3]] = -shift[:, 2:]  # nearer is larger
    motion[:, 4:] = shift[:, :2] * [-1, 1] * camera.focal / camera.size
    return motion


def _sound(take: Take) -> np.ndarray:
    """The take's sound as int16, as long as its frames."""
    samples = np.zeros(len(take.motion) * SAMPLE_RATE // FPS, np.int16)
    sound = np.round(take.waveform * 32767).clip(-32768, 32767)
    samples[: len(sound)] = sound
    return samples
