"""The paper on one page: speech -> neutral motion -> emotional motion -> frames.

    speech -> content, pitch      audio/
    -> neutral motion [T, 68, 3]  audio_to_motion/    (Paper: Sec. III-A)
    -> emotional motion           motion_to_emotion/  (Sec. III-B)
    + head poses                  pose/               (Sec. III-D, Algorithm 1)
    -> frames                     emotion_to_video/   (Sec. III-C)

What is here makes a performance of an avatar; training is in recipes/, and what was
trained becomes an avatar in avatar/assemble.py.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from emogene_jax.audio_to_motion.vae import STRIDE, AudioToMotion, generate
from emogene_jax.avatar.file import Avatar
from emogene_jax.emotions import emotion_curve
from emogene_jax.motion_to_emotion.blink import add_blinks, natural_blinks
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.manifold import project
from emogene_jax.pose.sampler import head_path, sample_idle
from emogene_jax.signals import NUM_LANDMARKS, AudioFeatures, Pose, Posture

TEMPERATURE = 0.2  # of the VAE's latent; the official release's
CHUNK = 500  # frames of motion made at a time; a multiple of the latents' stride
CONTEXT = 64  # frames of speech on either side of a chunk; a multiple, too
KEEPING = 0.5  # how far motion is brought onto the person's manifold
SHORTEST_IDLE = 15  # frames; a shorter pause is part of the talking


class Performance(NamedTuple):
    """What a person does, before it is seen."""

    motion: np.ndarray  # [T, 68, 3] eye distances
    pose: Pose
    torso: np.ndarray | None = None  # [T, 6]; None = as the head's pose lets expect


def perform(
    avatar: Avatar,
    features: AudioFeatures,
    track: list[tuple[float, str, float]],
    seed: int = 0,
) -> Performance:
    """What the person does while saying `features`, with the emotions of `track`
    (emotions.parse_emotion)."""
    made = perform_in_stretches(avatar, features, track, seed)
    return made._replace(motion=np.concatenate(list(made.motion)))


def perform_in_stretches(
    avatar: Avatar,
    features: AudioFeatures,
    track: list[tuple[float, str, float]],
    seed: int = 0,
) -> Performance:
    """`perform`, with the motion in stretches [n, 68, 3], an iterator, that are made when
    they are asked for: an hour takes the memory of a minute."""
    frames = len(features.speech)
    weights, intensity = emotion_curve(track, frames)
    blinks = natural_blinks(frames, np.random.default_rng([seed, 1]))

    def stretches():
        done = 0
        for motion in neutral_stretches(avatar, features, seed):
            part = slice(done, done + len(motion))
            done = part.stop
            motion = express(avatar, motion, weights[part], intensity[part])
            yield add_blinks(motion, blinks[part], avatar.rest, avatar.shut)

    posture = postures(avatar.pose, features.speech, seed)
    return Performance(stretches(), posture.head, posture.torso)


def express(avatar: Avatar, motion, weights, intensity) -> np.ndarray:
    """Emotional motion [T, 68, 3] of neutral motion [T, 68, 3], as the person shows it.

    Args:
        weights: [T, 8] over signals.EMOTIONS; intensity: [T].
    """
    felt = deform(avatar.deformation, motion, weights, intensity)
    return project(avatar.manifold, np.asarray(felt), KEEPING)


def neutral_motion(avatar: Avatar, features: AudioFeatures, seed: int) -> np.ndarray:
    """Neutral motion [T, 68, 3] of speech; at rest, lips closed, where it is silent."""
    return np.concatenate(list(neutral_stretches(avatar, features, seed)))


def neutral_stretches(avatar, features: AudioFeatures, seed) -> Iterator[np.ndarray]:
    """neutral_motion in stretches [n, 68, 3]."""
    model = AudioToMotion(**avatar.info["audio_to_motion"])
    trained = avatar.audio_to_motion
    frames, speaking = len(features.speech), _speaking(features.speech)
    for start in range(0, frames, CHUNK):
        stop = min(start + CHUNK, frames)
        low, high = max(0, start - CONTEXT), min(frames, stop + CONTEXT)
        # Padded to one length: one compilation, whatever is said.
        missing = 2 * (CHUNK + 2 * CONTEXT - (high - low))
        content = np.pad(
            features.content[2 * low : 2 * high], ((0, missing), (0, 0)), "edge"
        )
        made = generate(
            model,
            trained["params"],
            trained["aux"],
            content[None],
            np.pad(features.f0[2 * low : 2 * high], (0, missing), "edge")[None],
            jax.random.key(seed),
            TEMPERATURE,
            first=low // STRIDE,
        )
        motion = np.asarray(made)[0, start - low : stop - low]
        motion = motion.reshape(-1, NUM_LANDMARKS, 3)
        yield motion * speaking[start:stop, None, None]


def _speaking(speech: np.ndarray) -> np.ndarray:
    """[T] from 0 (silent) to 1 (speech), eased over some frames."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d

    # Lips part before the sound, and close after it.
    wide = maximum_filter1d(speech.astype(np.float32), 5)
    return gaussian_filter1d(wide, 1.5, mode="nearest")


def postures(source: Posture, speech: np.ndarray, seed: int) -> Posture:
    """[T] of them: the portrait's own while there is speech, turned back and forth where
    it outlasts them; the idle sampler's where it is silent."""
    return head_path(source, _stretches(speech), seed)


def _stretches(speech: np.ndarray):
    """(start, stop, talking) of the stretches of speech [T]; short pauses are talk."""
    edges = np.flatnonzero(np.diff(speech.astype(np.int8))) + 1
    edges = [0, *edges.tolist(), len(speech)]
    merged: list[tuple[int, int, bool]] = []
    for start, stop in zip(edges, edges[1:], strict=False):
        talking = bool(speech[start]) or (
            stop - start < SHORTEST_IDLE and 0 < start and stop < len(speech)
        )
        if merged and merged[-1][2] == talking:
            start = merged.pop()[0]
        merged.append((start, stop, talking))
    return merged


def perform_idle(avatar: Avatar, frames: int, seed: int = 0) -> Performance:
    """`frames` frames of listening: closed lips, blinks, the idle sampler's poses."""
    still = np.zeros((frames, NUM_LANDMARKS, 3), np.float32)
    blinks = natural_blinks(frames, np.random.default_rng([seed, 1]))
    motion = add_blinks(still, blinks, avatar.rest, avatar.shut)
    posture = sample_idle(avatar.pose, frames, seed)
    return Performance(motion, posture.head, posture.torso)
