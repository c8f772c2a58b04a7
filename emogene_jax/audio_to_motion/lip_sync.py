"""The lip-sync expert: do 5 frames of a mouth and 10 steps of audio belong together?

Two towers of 1-D convolutions end in vectors of unit length without negative entries,
so their cosine, the confidence, is in [0, 1]. mouth [N, 5, 60] is the motion of
landmarks 48..67, content [N, 10, F]. Defaults are the official release's sizes, and
the parameter tree keeps its names (import_weights.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emogene_jax.landmarks import MOUTH

WINDOW = 5  # frames; 10 audio steps
FURTHEST = 15  # frames: how late or early a sound is looked for
# Of each layer after a tower's first: parts of the full width, stride, residual. The
# stride of the layer marked None is the tower's own.
LAYERS = (
    (1 / 4, 1, False),
    (1 / 4, 1, True),
    (1 / 4, 1, True),
    (1 / 2, 2, False),
    (1 / 2, 1, True),
    (1 / 2, 1, True),
    (1, None, False),
    (1, 1, True),
    (1, 1, True),
    (1, 1, False),
)


class Sync(NamedTuple):
    """How well the lips of a clip say its sound."""

    confidence: float  # at that offset, above the median of all offsets; in [0, 1]
    offset: int  # frames; > 0 = the sound is late
    distance: (
        float  # mean, at that offset, between embeddings of length 1; in [0, 1.42]
    )


class ConvNorm(nn.Module):
    """conv - batch norm - (+ input) - ReLU."""

    features: int
    width: int = 3
    stride: int = 1
    pad: int = 1
    residual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[N, T', features] of x [N, T, C]."""
        y = nn.Conv(
            self.features,
            (self.width,),
            self.stride,
            padding=((self.pad, self.pad),),
            name="conv",
        )(x)
        y = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(y)
        return nn.relu(y + x if self.residual else y)


class Tower(nn.Module):
    """A window [N, T, C] -> an embedding [N, channels] of unit length."""

    channels: int
    first: int  # channels of the first layer
    stride: int  # of the last layer that may shorten

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Embeddings [N, channels] of windows x [N, T, C]."""
        x = ConvNorm(self.first, name="layers_0")(x, train)
        for i, (part, stride, residual) in enumerate(LAYERS, 1):
            features, stride = int(self.channels * part), stride or self.stride
            layer = ConvNorm(
                features, stride=stride, residual=residual, name=f"layers_{i}"
            )
            x = layer(x, train)
        # Three steps are left; a kernel of 3 without padding makes them one.
        x = ConvNorm(self.channels, pad=0, name="layers_11")(x, train)
        x = ConvNorm(self.channels, width=1, pad=0, name="layers_12")(x, train)
        x = x[:, 0]
        # The bound under the root keeps the gradient of an all-zero vector finite.
        square = jnp.sum(x**2, axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


class LipSync(nn.Module):
    """Both towers. motion_scale: the network's unit of motion per eye distance."""

    channels: int = 512
    motion_scale: float = 1.0

    def setup(self):
        quarter = self.channels // 4
        self.hubert_encoder = Tower(self.channels, quarter, stride=2)
        self.mouth_encoder = Tower(self.channels, 3 * quarter // 4, stride=1)

    def __call__(self, content: jax.Array, mouth: jax.Array, train: bool = False):
        """Audio and mouth embeddings [N, channels]; content [N, 10, F], mouth
        [N, 5, 60] in eye distances."""
        audio = self.hubert_encoder(content, train)
        return audio, self.mouth_encoder(mouth * self.motion_scale, train)


def mouth_of(motion: jax.Array) -> jax.Array:
    """Mouth motion [..., 60] of motion [..., 204]."""
    points = motion.reshape(*motion.shape[:-1], 68, 3)[..., MOUTH, :]
    return points.reshape(*motion.shape[:-1], 60)


def windows(x: jax.Array, starts: jax.Array, length: int) -> jax.Array:
    """Stretches [B, K, length, C] of x [B, N, C] from starts [B, K]."""
    steps = starts[..., None] + jnp.arange(length)
    return jax.vmap(lambda row, index: row[index])(x, steps)


def sync_confidence(
    model: LipSync, params, aux, content: jax.Array, mouth_motion: jax.Array
) -> jax.Array:
    """Confidence [T - 4] in [0, 1] that each window's mouth says its audio.

    Args:
      content: [2T, F]; mouth_motion: [T, 60] or [T, 20, 3] in eye distances, or the
        whole motion [T, 68, 3].
    """
    audio, mouth = window_embeddings(model, params, aux, content, mouth_motion)
    return jnp.sum(audio * mouth, axis=-1)


@jax.jit(static_argnums=0)
def window_embeddings(model: LipSync, params, aux, content, mouth_motion):
    """Audio and mouth embeddings [T - 4, channels] of every window; see
    sync_confidence."""
    frames = mouth_motion.shape[0]
    mouth = mouth_motion.reshape(frames, -1)
    if mouth.shape[-1] == 204:
        mouth = mouth_of(mouth)
    starts = jnp.arange(max(frames - WINDOW + 1, 0))[None]
    return model.apply(
        {"params": params, **aux},
        windows(content[None], 2 * starts, 2 * WINDOW)[0],
        windows(mouth[None], starts, WINDOW)[0],
    )


def offset_accuracy(
    audio: jax.Array, mouth: jax.Array, smallest: int = 3, largest: int = 15
) -> jax.Array:
    """How often each window's true pair beats pairs that are off, [N].

    For each of N successive windows (window_embeddings): the part of the mouth windows
    `smallest` to `largest` frames earlier or later whose confidence against its audio
    is below the true one's. NaN where a clip is too short for any.
    """
    count = audio.shape[0]
    confidence = audio @ mouth.T
    distance = jnp.abs(jnp.arange(count)[:, None] - jnp.arange(count))
    off = (distance >= smallest) & (distance <= largest)
    won = (confidence < jnp.diagonal(confidence)[:, None]) & off
    return jnp.sum(won, axis=1) / jnp.sum(off, axis=1)


def clip_sync(audio: np.ndarray, mouth: np.ndarray) -> Sync | None:
    """What SyncNet's authors report of a clip (Chung & Zisserman 2016), of its windows'
    embeddings [N, channels]: by how much the sound is late, and how far the mean
    confidence there is above the median of all offsets. None = too short to tell."""
    audio, mouth = np.asarray(audio), np.asarray(mouth)
    count = len(audio)
    if count < 2 * FURTHEST:
        return None
    offsets = range(-FURTHEST, FURTHEST + 1)
    found = [_cosines(audio, mouth, late) for late in offsets]
    means = [cosines.mean() for cosines in found]
    best = int(np.argmax(means))
    distance = np.sqrt(np.maximum(2 - 2 * found[best], 0)).mean()
    confidence = float(means[best] - np.median(means))
    return Sync(confidence, offsets[best], float(distance))


def _cosines(audio: np.ndarray, mouth: np.ndarray, late: int) -> np.ndarray:
    """Of each sound with the mouth `late` windows before it."""
    count = len(audio)
    heard = audio[max(0, late) : count + min(0, late)]
    return np.sum(heard * mouth[max(0, -late) : count - max(0, late)], axis=1)
