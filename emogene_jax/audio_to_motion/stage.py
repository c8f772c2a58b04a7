"""The two stages of this folder, as signals.Stage: the lip-sync expert, then the VAE.

A batch is a dict: content [B, 2T, F], f0 [B, 2T] Hz, blink [B, T] int32, motion
[B, T, 204] eye distances, mask [B, T], speaker [B] int32. aux is the batch-norm
statistics. Resident data of one person: content [S, F], f0 [S], motion [T, 204],
blink [T], start_ok [n] int32, the frames from which a window may start.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.audio_to_motion.batch import (
    NEAR_OFFSETS,
    disturb,
    draw_neighbours,
    draw_starts,
    in_own_reach,
    masked,
    window_sampler,
)
from emogene_jax.audio_to_motion.initial import initial_variables
from emogene_jax.audio_to_motion.lip_sync import (
    WINDOW,
    LipSync,
    mouth_of,
    window_embeddings,
    windows,
)
from emogene_jax.audio_to_motion.loss import (
    closed,
    continuity,
    masked_mean,
    mouth_shape,
    mouth_weights,
    squared_error,
    sync_loss,
)
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate, latent_steps
from emogene_jax.audio_to_motion.wavenet import folded
from emogene_jax.signals import Stage
from emogene_jax.train.board import heatmap, motion_video

SMALLEST_OFFSET = 3  # frames from which on a pair has to be told from the true one


def _spoken(clips: int, share: float) -> np.ndarray:
    """[clips] bool: every n-th, so that each device has its share. A constant: devices
    would send each other the neighbours of theirs."""
    counts = np.arange(clips + 1, dtype=np.float32) * np.float32(share)
    return np.diff(np.floor(counts)) > 0


def audio_to_motion_stage(
    model: AudioToMotion,
    expert: LipSync | None = None,
    *,
    batch_size: int | None = None,
    frames: int | None = None,
    motion_weight: float = 1.0,
    mouth_weight: float = 1.0,
    continuity_weight: float = 3.0,
    kl_weight: float = 0.4,
    kl_warmup_steps: int = 1,
    shape_weight: float = 0.0,
    closing_weight: float = 0.0,
    sync_weight: float = 0.01,
    sync_windows: int = 4,
    spoken_share: float = 0.0,
    content_noise: float = 0.0,
    content_dropout: float = 0.0,
    pitch_dropout: float = 0.0,
    reach_prior: int = 0,
    face: np.ndarray | None = None,
) -> Stage:
    """The stage that trains the VAE (Paper: Sec. 3.1; weights as in GeneFace's release).

    Args:
      model: what is trained.
      expert: the lip-sync expert's module; its {"params", "aux"} come as `frozen`, and
        without them the sync loss is left out.
      batch_size, frames: of the windows that `sample` draws; None = batches come from
        outside.
      mouth_weight: what a mouth landmark counts against another.
      shape_weight: of the squared error of the mouth's opening and width, whose own
        motion is small beside what all points of a mouth do together.
      kl_warmup_steps: steps over which the weight of the KL rises from 0.
      closing_weight: of the squared error of how closed the lips are (loss.closed): p, b
        and m are short, and squared errors of an opening leave them half open.
      sync_windows: windows of 5 frames per clip that the expert judges.
      spoken_share: of the clips whose motion has to come from speech and the prior's
        mean alone, as when it is made. Without them a latent that carries much leaves
        speech unused, and the weight of the KL has to be so large that it carries
        nothing: then all seeds look the same.
      content_noise: standard deviation of noise on the content; content_dropout: share
        of its channels that a clip does without.
      pitch_dropout: share of clips without pitch. Where it is above 0, the others are
        transposed: in a few minutes of one person every pitch is a moment's own, and is
        learned by heart.
      reach_prior: above 0, each clip's motion is divided by how far its mouth moves, for
        which as many frames of the usual mouth count beside its own: what many people
        have in common is learned, and how far one goes is theirs (AudioToMotion.reach).
      face: rest landmarks [68, 3] in cm that TensorBoard shows motion on; None = none.
    """
    weights = mouth_weights(mouth_weight)

    def init(key, batch):
        noise = jnp.zeros(_noise_shape(model, batch))
        names = ("content", "f0", "motion", "mask")
        return initial_variables(model, key, *(batch[name] for name in names), noise)

    def sync(frozen, batch, motion, key):
        starts = draw_starts(key, batch["mask"], sync_windows)
        content = windows(batch["content"], 2 * starts, 2 * WINDOW)
        # A product: of a gather, the gradient would be added number by number.
        chosen = starts[..., None] + jnp.arange(WINDOW)
        chosen = jax.nn.one_hot(chosen, motion.shape[1])
        told = {"precision": jax.lax.Precision.HIGHEST}
        mouth = jnp.einsum("bkwt,btc->bkwc", chosen, mouth_of(motion), **told)
        audio, face = expert.apply(
            {"params": frozen["params"], **frozen["aux"]},
            content.reshape(-1, *content.shape[2:]),
            mouth.reshape(-1, *mouth.shape[2:]),
        )
        return sync_loss(jnp.sum(audio * face, axis=-1), 1.0).mean()

    def loss(params, aux, frozen, batch, key, step):
        noise_key, window_key, disturb_key = jax.random.split(key, 3)
        if content_noise or content_dropout or pitch_dropout:
            batch = disturb(
                disturb_key, batch, content_noise, content_dropout, pitch_dropout
            )
        batch = masked(in_own_reach(batch, reach_prior) if reach_prior else batch)
        spoken = _spoken(len(batch["mask"]), spoken_share) if spoken_share else None
        out, updated = model.apply(
            {"params": folded(params), **aux},
            batch["content"],
            batch["f0"],
            batch["motion"],
            batch["mask"],
            jax.random.normal(noise_key, _noise_shape(model, batch)),
            batch["blink"],
            train=True,
            spoken=spoken,
            mutable=["batch_stats"],
        )
        metrics = _errors(model, weights, out.motion, batch) | {"kl": out.kl}
        warmth = jnp.minimum(1.0, (step + 1) / kl_warmup_steps)
        total = (
            motion_weight * metrics["motion"]
            + continuity_weight * metrics["continuity"]
            + kl_weight * warmth * metrics["kl"]
            + shape_weight * metrics["shape"]
            + closing_weight * metrics["closing"]
        )
        if frozen is not None:
            metrics["sync"] = sync(frozen, batch, out.motion, window_key)
            total = total + sync_weight * metrics["sync"]
        return total, (updated, metrics)

    def evaluate(params, aux, frozen, batch):
        batch = masked(in_own_reach(batch, reach_prior) if reach_prior else batch)
        heard = batch["content"], batch["f0"]
        out = model.apply(
            {"params": params, **aux},
            *heard,
            batch["motion"],
            batch["mask"],
            jnp.zeros(_noise_shape(model, batch)),
            batch["blink"],
        )
        # What is made when it talks: of sound alone, through the prior's mean.
        latent = jnp.zeros(_noise_shape(model, batch))
        spoken = model.apply(
            {"params": params, **aux}, *heard, latent, batch["blink"], method="decode"
        )
        metrics = _errors(model, weights, spoken, batch)
        metrics["spoken"] = metrics["motion"]
        metrics |= {"motion": _errors(model, weights, out.motion, batch)["motion"]}
        metrics["kl"] = out.kl
        if frozen is not None:
            metrics["sync"] = sync(frozen, batch, spoken, jax.random.key(0))
        return metrics

    def images(params, aux, frozen, batch):
        # Motion over time of one clip, true above what its sound alone makes of it.
        one = {name: value[:1] for name, value in batch.items()}
        made = generate(
            model, params, aux, one["content"], one["f0"], jax.random.key(0), 0.0
        )
        kept = int(one["mask"][0].sum())
        true, made = one["motion"][0, :kept], made[0, :kept]
        both = jnp.concatenate([true, made], -1)
        pictures = {"motion_true_over_made": heatmap(both.T, zoom=2)}
        if face is not None:
            pictures["motion"] = motion_video(face, true, made)
        return pictures

    sample = batch_size and window_sampler(batch_size, frames)
    return Stage(init, loss, sample, images, evaluate)


def _errors(model: AudioToMotion, weights, made, batch) -> dict:
    """Squared errors of motion made [B, T, 204], of how it changes, of the mouth's shape
    and of how closed its lips are, in the network's unit."""
    scale, mask = model.unit(), batch["mask"]
    both = made * scale, batch["motion"] * scale
    shapes = [mouth_shape(motion) for motion in both]
    lips = [closed(shape[..., :1] / model.motion_scale) for shape in shapes]
    return {
        "motion": squared_error(*both, mask, weights),
        "continuity": continuity(*both, mask, weights),
        "shape": squared_error(*shapes, mask, 1.0),
        "closing": squared_error(*lips, mask, 1.0),
    }


def _noise_shape(model: AudioToMotion, batch) -> tuple[int, int, int]:
    """Of the posterior's noise, [B, ceil(T/4), L]."""
    size, frames = batch["mask"].shape
    return size, latent_steps(frames), model.latent


def lip_sync_stage(
    model: LipSync,
    *,
    batch_size: int | None = None,
    frames: int | None = None,
    windows_per_clip: int = 16,
    content_noise: float = 0.0,
    content_dropout: float = 0.0,
) -> Stage:
    """The stage that trains the lip-sync expert.

    `windows_per_clip` windows are drawn from each clip, half of them anywhere and half
    2 to 5 frames from those, and every audio is compared with every mouth: with its own
    (positives); with near ones of the same clip (2 to 5 frames off), far ones, and
    other speakers'. Each of these kinds of negatives counts the same. content_noise and
    content_dropout are as in audio_to_motion_stage.
    """

    def init(key, batch):
        content, mouth = batch["content"], mouth_of(batch["motion"])
        inputs = content[:, : 2 * WINDOW], mouth[:, :WINDOW]
        return initial_variables(model, key, *inputs)

    def pairs(batch, key):
        any_key, near_key = jax.random.split(key)
        starts = draw_starts(any_key, batch["mask"], -(-windows_per_clip // 2))
        near = draw_neighbours(near_key, batch["mask"], starts)
        starts = jnp.concatenate([starts, near], 1)[:, :windows_per_clip]
        content = windows(batch["content"], 2 * starts, 2 * WINDOW)
        mouth = windows(mouth_of(batch["motion"]), starts, WINDOW)
        flat = [part.reshape(-1, *part.shape[2:]) for part in (content, mouth)]
        return *flat, starts

    def loss(params, aux, frozen, batch, key, step):
        del frozen, step
        if content_noise or content_dropout:
            key, disturb_key = jax.random.split(key)
            batch = disturb(disturb_key, batch, content_noise, content_dropout, 0.0)
        content, mouth, starts = pairs(batch, key)
        (audio, face), updated = model.apply(
            {"params": params, **aux},
            content,
            mouth,
            train=True,
            mutable=["batch_stats"],
        )
        total, metrics = pair_losses(audio @ face.T, starts, batch["speaker"])
        return total, (updated, metrics)

    def evaluate(params, aux, frozen, batch):
        # Always the same windows.
        content, mouth, starts = pairs(batch, jax.random.key(0))
        audio, face = model.apply({"params": params, **aux}, content, mouth)
        total, metrics = pair_losses(audio @ face.T, starts, batch["speaker"])
        return metrics | {"loss": total}

    def images(params, aux, frozen, batch):
        # Every window's audio against every window's mouth: a bright diagonal is good.
        kept = int(batch["mask"][0].sum())
        content, motion = batch["content"][0, : 2 * kept], batch["motion"][0, :kept]
        audio, face = window_embeddings(model, params, aux, content, motion)
        return {"confidence": heatmap(audio @ face.T)}

    sample = batch_size and window_sampler(batch_size, frames)
    return Stage(init, loss, sample, images, evaluate)


def pair_losses(confidence: jax.Array, starts: jax.Array, speaker: jax.Array):
    """(loss, metrics) of confidence [N, N], audio windows against mouth windows.

    Windows are B clips' in turn: starts [B, K], speaker [B], N = B * K.
    """
    clips, count = starts.shape
    clip = jnp.repeat(jnp.arange(clips), count)
    start = starts.reshape(-1)
    person = jnp.repeat(speaker, count)
    same_clip = clip[:, None] == clip
    distance = jnp.abs(start[:, None] - start)
    nearest, furthest = NEAR_OFFSETS
    off = same_clip & (distance >= SMALLEST_OFFSET)
    kinds = (
        same_clip & (distance >= nearest) & (distance <= furthest),
        same_clip & (distance > furthest),
        person[:, None] != person,
    )
    # As a gather's, the diagonal's gradient would be added number by number.
    own = jnp.where(jnp.eye(len(confidence), dtype=bool), confidence, 0.0).sum(1)
    positive = sync_loss(own, 1.0).mean()
    each = sync_loss(confidence, 0.0)
    # A kind that a batch has none of (one person, short clips) does not count.
    present = jnp.array([kind.any() for kind in kinds], jnp.float32)
    negatives = jnp.array([masked_mean(each, kind) for kind in kinds])
    negative = masked_mean(negatives, present)
    metrics = {
        "accuracy": masked_mean(confidence < own[:, None], off),
        "confidence": own.mean(),
        "confidence_off": masked_mean(confidence, off),
    }
    return (positive + negative) / 2, metrics
