"""The paper on one page: speech -> neutral motion -> emotional motion -> frames.

    speech -> content, pitch      audio/
    -> neutral motion [T, 68, 3]  audio_to_motion/    (Paper: Sec. III-A)
    -> emotional motion           motion_to_emotion/  (Sec. III-B)
    + head poses                  pose/               (Sec. III-D, Algorithm 1)
    -> frames                     emotion_to_video/   (Sec. III-C)

What is here makes a performance of an avatar; training is in recipes/, and what was
trained becomes an avatar in avatar/assemble.py.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from emogene_jax.audio.frames import HOP as STEP
from emogene_jax.audio_to_motion.vae import STRIDE, AudioToMotion, generate
from emogene_jax.avatar.file import Avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotions import emotion_curve
from emogene_jax.live.acting import SMOOTH, LivePosture, Mood, live_blinks, talking
from emogene_jax.live.hearing import REACH, Hearing, must_hear_live
from emogene_jax.motion_to_emotion.blink import add_blinks, natural_blinks
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.manifold import project
from emogene_jax.pose.code import pose_code
from emogene_jax.pose.sampler import head_path, sample_idle
from emogene_jax.signals import (
    FPS,
    NUM_LANDMARKS,
    SAMPLE_RATE,
    AudioFeatures,
    Pose,
    Posture,
)

TEMPERATURE = 0.2  # of the VAE's latent; the official release's
CHUNK = 500  # frames of motion made at a time; a multiple of the latents' stride
CONTEXT = 64  # frames of speech on either side of a chunk; a multiple, too
KEEPING = 0.5  # how far motion is brought onto the person's manifold
AT_ONCE = 2  # frames that are made at a time of speech that goes on
# Frames of features beyond them that are waited for, by what features hear themselves.
AHEAD = {"log_mel": 8, "speech_embedding": 4}


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
            yield _felt(avatar, motion, weights[part], intensity[part], blinks[part])

    posture = postures(avatar.pose, features.speech, seed)
    return Performance(stretches(), posture.head, posture.torso)


def express(avatar: Avatar, motion, weights, intensity, deform=deform) -> np.ndarray:
    """Emotional motion [T, 68, 3] of neutral motion [T, 68, 3], as the person shows it.

    Args:
        weights: [T, 8] over signals.EMOTIONS; intensity: [T].
    """
    felt = deform(avatar.deformation, motion, weights, intensity)
    return project(avatar.manifold, np.asarray(felt), KEEPING)


def _felt(avatar, motion, weights, intensity, blinks, deform=deform) -> np.ndarray:
    """Motion [n, 68, 3] with an emotion's weights [n, 8], its intensity and blinks [n]."""
    motion = express(avatar, motion, weights, intensity, deform)
    return add_blinks(motion, blinks, avatar.rest, avatar.shut)


def neutral_motion(avatar: Avatar, features: AudioFeatures, seed: int) -> np.ndarray:
    """Neutral motion [T, 68, 3] of speech; at rest, lips closed, where it is silent."""
    return np.concatenate(list(neutral_stretches(avatar, features, seed)))


def neutral_stretches(avatar, features: AudioFeatures, seed) -> Iterator[np.ndarray]:
    """neutral_motion in stretches [n, 68, 3]."""
    frames, speaking = len(features.speech), _speaking(features.speech)
    for start in range(0, frames, CHUNK):
        stop = min(start + CHUNK, frames)
        low, high = max(0, start - CONTEXT), min(frames, stop + CONTEXT)
        # Padded to one length: one compilation, whatever is said.
        missing = 2 * (CHUNK + 2 * CONTEXT - (high - low))
        content = np.pad(
            features.content[2 * low : 2 * high], ((0, missing), (0, 0)), "edge"
        )
        f0 = np.pad(features.f0[2 * low : 2 * high], (0, missing), "edge")
        motion = _voiced(avatar, content, f0, seed, low)[start - low : stop - low]
        yield motion * speaking[start:stop, None, None]


def _voiced(avatar, content, f0, seed, first: int) -> np.ndarray:
    """Motion [T, 68, 3] of content [2T, F] and f0 [2T] from frame `first` on, a multiple
    of the latents' stride, whether there is speech or not."""
    trained = avatar.audio_to_motion
    made = generate(
        AudioToMotion(**avatar.info["audio_to_motion"]),
        trained["params"],
        trained["aux"],
        content[None],
        f0[None],
        jax.random.key(seed),
        TEMPERATURE,
        first=first // STRIDE,
    )
    return np.asarray(made)[0].reshape(-1, NUM_LANDMARKS, 3)


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
    """(start, stop, talking) of the stretches of speech [T]; a pause is talk until it is
    as long as idling takes, so that a live person can do the same."""
    talks = talking(speech)
    edges = [0, *(np.flatnonzero(np.diff(talks)) + 1).tolist(), len(speech)]
    return [(a, b, bool(talks[a])) for a, b in zip(edges, edges[1:], strict=False)]


def perform_idle(avatar: Avatar, frames: int, seed: int = 0) -> Performance:
    """`frames` frames of listening: closed lips, blinks, the idle sampler's poses."""
    still = np.zeros((frames, NUM_LANDMARKS, 3), np.float32)
    blinks = natural_blinks(frames, np.random.default_rng([seed, 1]))
    motion = add_blinks(still, blinks, avatar.rest, avatar.shut)
    posture = sample_idle(avatar.pose, frames, seed)
    return Performance(motion, posture.head, posture.torso)


class Shown(NamedTuple):
    """A frame of speech that goes on."""

    number: int  # it begins number / 25 s after the sound did
    frame: np.ndarray | None  # [H, W, 3] uint8; None = left out


def look_ahead(content: dict) -> float:
    """How much of the sound (s) after a frame's own must be there before `stream` shows
    the frame: 0.37 s with log_mel, 0.4 s with speech_embedding.

    Raises:
        UserError: others can't be live.
    """
    must_hear_live(content)
    kind = content["type"]
    return (AHEAD[kind] + AT_ONCE - 1) / FPS + REACH[kind] / SAMPLE_RATE


def stream(
    avatar: Avatar,
    sound: Iterable[np.ndarray],
    mood: Mood | None = None,
    seed: int = 0,
    background: np.ndarray | None = None,
    renderer: Renderer | None = None,
    skip: Callable[[int], bool] | None = None,
) -> Iterator[Shown]:
    """What `perform` and a Renderer make of a recording, of sound that goes on, in
    constant memory: frames as soon as the sound is there that they need (look_ahead).

    What is not known yet makes the difference: the level and the mean spectrum of a
    recording's end (live.hearing), and what is said later than `look_ahead`, of which
    lips take little notice.

    Args:
        sound: [n] float32 at 16 kHz each, of any n.
        mood: neutral by default; it can be changed as it goes.
        background: uint8 [H, W, 3].
        renderer: of live_renderer, where it is there already.
        skip: asked before frames are made whether they may be left out: whoever is late
            drops frames, never sound.

    Raises:
        UserError: the avatar hears through what can't be heard live.
    """
    content = avatar.info["content"]
    hearing = Hearing(content, AT_ONCE)
    renderer = renderer or live_renderer(avatar)
    mood = mood or Mood([(0.0, "neutral", 1.0)])
    act = _Live(avatar, hearing, mood, seed)
    for piece in sound:
        # A step of 20 ms at a time: the pieces that sound comes in make no difference.
        for start in range(0, len(piece), STEP):
            hearing.hear(piece[start : start + STEP])
            yield from act.ready(AHEAD[content["type"]], renderer, background, skip)
    hearing.close()
    yield from act.ready(0, renderer, background, skip)


def live_renderer(avatar: Avatar) -> Renderer:
    """A Renderer for `stream` that is ready to show any frame, and keeps ready."""
    renderer = Renderer(avatar.fields, batch=AT_ONCE)
    renderer.make_room(avatar.pose.head)
    return renderer


class _Live:
    """A person who is live, from frame to frame."""

    def __init__(self, avatar: Avatar, hearing: Hearing, mood: Mood, seed: int):
        self._avatar, self._hearing, self._mood = avatar, hearing, mood
        self._seed, self._done = seed, 0
        self._posture = LivePosture(avatar.pose, seed)
        ahead = AHEAD[avatar.info["content"]["type"]]
        self._ahead = ahead
        self._window = CONTEXT + STRIDE + -(-(AT_ONCE + ahead) // STRIDE) * STRIDE

    def ready(self, ahead: int, renderer, background, skip) -> Iterator[Shown]:
        """Frames of which `ahead` more are heard."""
        fields = self._avatar.fields
        while self._done < (heard := self._hearing.heard - ahead):
            count = min(AT_ONCE, heard - self._done)
            if count < AT_ONCE and ahead:
                return
            first, left = self._done, self._hearing.total
            left = None if left is None else left - first
            low = max(0, (first - CONTEXT) // STRIDE * STRIDE)
            features = self._hearing.features(
                low, low + self._window, first + count + self._ahead
            )
            speech = features.speech[first - low :]
            around = self._posture.advance(speech, count, left)
            feeling = self._mood.curve(first, AT_ONCE)
            self._done += count
            if skip is not None and skip(first):
                yield from (Shown(first + n, None) for n in range(count))
                continue
            motion = self._motion(features, first, low, count, feeling)
            now = slice(SMOOTH, SMOOTH + count)
            codes = pose_code(fields.code, around.head)[now]
            here = Posture(*(part[now] for part in around))
            shown = renderer.frames(
                motion, here.head, here.torso, background, codes=codes
            )
            yield from (Shown(first + n, frame) for n, frame in enumerate(shown))

    def _motion(self, features, first, low, count, feeling) -> np.ndarray:
        """Motion [count, 68, 3] of frames from `first` on."""
        part = slice(first - low, first - low + AT_ONCE)
        motion = np.zeros((AT_ONCE, NUM_LANDMARKS, 3), np.float32)
        speaking = _speaking(features.speech)[part, None, None]
        if speaking.any():
            made = _voiced(self._avatar, *features[:2], self._seed, low)
            motion = made[part] * speaking
        blinks = live_blinks(self._seed, first, AT_ONCE)
        return _felt(self._avatar, motion, *feeling, blinks, _deform)[:count]


# Of a few frames each: its operations one by one take longer than a frame lasts. Of
# stretches, whose lengths differ, it would be compiled each time.
_deform = jax.jit(deform)
