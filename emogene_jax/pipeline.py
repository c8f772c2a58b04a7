"""The paper on one page: speech -> neutral motion -> emotional motion -> frames.

    speech -> content, pitch      audio/
    -> neutral motion [T, 68, 3]  audio_to_motion/    (Paper: Sec. III-A)
    -> emotional motion           motion_to_emotion/  (Sec. III-B)
    + head poses                  pose/               (Sec. III-D, Algorithm 1)
    -> frames                     emotion_to_video/   (Sec. III-C)

Only this file and cli.py know all three stages.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax import trees
from emogene_jax.audio.mel import BANDS
from emogene_jax.audio_to_motion.fit import fit_person
from emogene_jax.audio_to_motion.vae import STRIDE, AudioToMotion, generate
from emogene_jax.avatar import Avatar, typed
from emogene_jax.data.pairs import Takes, added_by_emotion, takes_of
from emogene_jax.data.schema import Portrait
from emogene_jax.data.synthetic import make_take
from emogene_jax.emotion_to_video.fit import Plan as FieldPlan
from emogene_jax.emotion_to_video.fit import fit_fields
from emogene_jax.emotions import emotion_curve
from emogene_jax.motion_to_emotion.blink import add_blinks, natural_blinks, shut_lids
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.fit import fit_prior, fit_style
from emogene_jax.motion_to_emotion.manifold import fit_manifold, project
from emogene_jax.pose.join import join_poses
from emogene_jax.pose.sampler import head_path, sample_idle
from emogene_jax.signals import (
    EMOTIONS,
    NUM_LANDMARKS,
    AudioFeatures,
    Pose,
    UserError,
    landmarks_to_motion,
)

TEMPERATURE = 0.2  # of the VAE's latent; the official release's
CHUNK = 500  # frames of motion made at a time; a multiple of the latents' stride
CONTEXT = 64  # frames of speech on either side of a chunk; a multiple, too
PRIOR_TAKES = 40  # synthetic talkers that the generic deformation model learns from
KEEPING = 0.5  # how far motion is brought onto the person's manifold
SHORTEST_IDLE = 15  # frames; a shorter pause is part of the talking
FELT = tuple(name for name in EMOTIONS if name != "neutral")


class Performance(NamedTuple):
    """What a person does, before it is seen."""

    motion: np.ndarray  # [T, 68, 3] eye distances
    pose: Pose


def perform(
    avatar: Avatar,
    features: AudioFeatures,
    track: list[tuple[float, str, float]],
    seed: int = 0,
) -> Performance:
    """What the person does while saying `features`, with the emotions of `track`
    (emotions.parse_emotion)."""
    motion, pose = perform_in_stretches(avatar, features, track, seed)
    return Performance(np.concatenate(list(motion)), pose)


def perform_in_stretches(
    avatar: Avatar,
    features: AudioFeatures,
    track: list[tuple[float, str, float]],
    seed: int = 0,
) -> tuple[Iterator[np.ndarray], Pose]:
    """`perform`, with the motion in stretches [n, 68, 3] that are made when they are
    asked for: an hour takes the memory of a minute."""
    frames = len(features.speech)
    weights, intensity = emotion_curve(track, frames)
    blinks = natural_blinks(frames, np.random.default_rng([seed, 1]))

    def stretches():
        done = 0
        for motion in neutral_stretches(avatar, features, seed):
            part = slice(done, done + len(motion))
            done = part.stop
            motion = deform(avatar.deformation, motion, weights[part], intensity[part])
            motion = project(avatar.manifold, np.asarray(motion), KEEPING)
            yield add_blinks(motion, blinks[part], avatar.rest, avatar.shut)

    return stretches(), head_poses(avatar.pose, features.speech, seed)


def neutral_motion(avatar: Avatar, features: AudioFeatures, seed: int) -> np.ndarray:
    """Neutral motion [T, 68, 3] of speech; at rest, lips closed, where it is silent."""
    return np.concatenate(list(neutral_stretches(avatar, features, seed)))


def check_voice(avatar: Avatar) -> None:
    """Look at the person's audio-to-motion model, before anything is made with it.

    Raises:
        UserError: avatar.json does not describe one, or not that which is there.
    """
    try:
        sizes, content = avatar.info["audio_to_motion"], avatar.info["content"]
        for name, kind in (("type", str), ("channels", int)):
            if type(content[name]) is not kind:
                raise TypeError(f"content {name}: found {content[name]!r}")
        if content["type"] not in ("log_mel", "hubert"):
            raise TypeError(f"content type: found {content['type']!r}")
        if content["type"] == "log_mel" and content["channels"] != BANDS:
            raise TypeError(f"content channels: found {content['channels']}")
        model = typed(AudioToMotion, sizes)
        told = _misfit(model, content["channels"], avatar.audio_to_motion)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        told = str(error)
    if told:
        raise UserError(f"damaged avatar (audio_to_motion: {told}): make it again")


def _misfit(model: AudioToMotion, channels: int, trained: dict) -> str | None:
    """In words, what of `trained` does not fit its model; None = all fits."""
    if model.motion_channels != 3 * NUM_LANDMARKS:  # what the rest of an avatar speaks
        return f"motion_channels: found {model.motion_channels!r}"
    steps = jnp.zeros((1, 2 * STRIDE, channels)), jnp.zeros((1, 2 * STRIDE))
    frames = jnp.zeros((1, STRIDE, model.motion_channels)), jnp.ones((1, STRIDE))
    noise = jnp.zeros((1, 1, model.latent))
    made = jax.eval_shape(model.init, jax.random.key(0), *steps, *frames, noise)
    expected = {"params": made.pop("params"), "aux": made}
    return trees.difference(trained, expected)


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
        made = _generate(
            model,
            trained["params"],
            trained["aux"],
            content[None],
            np.pad(features.f0[2 * low : 2 * high], (0, missing), "edge")[None],
            jax.random.key(seed),
            low // STRIDE,
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


@jax.jit(static_argnums=0)
def _generate(model, params, aux, content, f0, key, first):
    return generate(model, params, aux, content, f0, key, TEMPERATURE, first=first)


def head_poses(source: Pose, speech: np.ndarray, seed: int) -> Pose:
    """[T] poses: the portrait's own while there is speech, turned back and forth where
    it outlasts them; the idle sampler's where it is silent."""
    return head_path(source, _stretches(speech), seed)


def one_after_the_other(portrait: Portrait) -> Pose:
    """The head poses [T] of a portrait of several clips, as if the head had gone on from
    where the last clip left it."""
    starts = np.flatnonzero(np.diff(portrait.clip)) + 1
    parts = (np.split(part, starts) for part in portrait.pose)
    return join_poses([Pose(*clip) for clip in zip(*parts, strict=True)])


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
    return Performance(motion, sample_idle(avatar.pose, frames, seed))


class Lesson(NamedTuple):
    """How long to learn a person."""

    fields: FieldPlan
    audio_steps: int


def learn_prior(workdir: Path, seed: int = 0):
    """Parameters of the generic deformation model: what the facial-action prior does to
    synthetic talkers; kept in `workdir`."""
    takes = [make_take(seed, speaker, speaker) for speaker in range(PRIOR_TAKES)]
    motion = np.concatenate([take.neutral_motion for take in takes])
    return fit_prior(motion, workdir, seed=seed).ema_params


def learn_style(takes: Takes, prior, workdir: Path, seed: int = 0):
    """Parameters of a deformation model that knows how this person shows the emotions
    that were filmed, and does as `prior` does in the others."""
    if not takes.filmed:
        return prior
    return fit_style(prior, added_by_emotion(takes), workdir, seed=seed).ema_params


def random_expressions(
    motion, deformation, rng: np.random.Generator, emotions: Sequence[str] = FELT
) -> np.ndarray:
    """Motion [T, 68, 3] with a random emotion, one of `emotions`, of random strength in
    each frame."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)
    others = [EMOTIONS.index(name) for name in emotions]
    weights = weights[rng.choice(others, len(motion))]
    intensity = rng.uniform(0.3, 1.15, len(motion)).astype(np.float32)
    return np.asarray(deform(deformation, jnp.asarray(motion), weights, intensity))


def learn(
    portrait: Portrait,
    lesson: Lesson,
    workdir: Path,
    deformation,
    audio_to_motion=None,
    content: dict | None = None,
    varied: Portrait | None = None,
    takes: Takes | None = None,
    seed: int = 0,
) -> tuple[Avatar, dict]:
    """Learn a person from the training frames of a portrait: all that an avatar is.

    Args:
        deformation: parameters of a deformation model.
        audio_to_motion: (sizes, {"params", "aux"}) in place of learning the person's.
        content: which content features it hears (audio.features); None = the portrait's.
        varied: augmented frames (face.augment).
        takes: of the portrait, where they were made before (data.pairs.takes_of).

    Returns:
        the avatar, and {stage: TrainResult}.
    """
    workdir = Path(workdir)
    fields, results = fit_fields(
        portrait, lesson.fields, workdir, varied=varied, seed=seed
    )
    if audio_to_motion is None:
        # Of an emotional take the neutral motion behind it, or nothing.
        takes = takes_of(portrait) if takes is None else takes
        steps = np.repeat(takes.known, 2)
        sizes, result = fit_person(
            portrait.content[steps],
            portrait.f0[steps],
            takes.neutral[takes.known],
            portrait.clip[takes.known],
            workdir / "audio_to_motion",
            lesson.audio_steps,
            seed=seed,
        )
        results["audio_to_motion"] = result
        audio_to_motion = sizes, {"params": result.ema_params, "aux": result.aux}
    sizes, trained = audio_to_motion
    content = content or portrait.info["content"]
    info = {"audio_to_motion": sizes, "content": content}
    both = [portrait] if varied is None else [portrait, varied]
    landmarks = np.concatenate([part.landmarks for part in both])
    motion = landmarks_to_motion(landmarks, portrait.rest)
    shut = shut_lids(motion[: len(portrait.landmarks)], portrait.rest)
    poses = one_after_the_other(portrait)
    person = (fit_manifold(motion), portrait.rest, shut, poses)
    avatar = Avatar(fields, trained, deformation, *person, info)
    return avatar, results
