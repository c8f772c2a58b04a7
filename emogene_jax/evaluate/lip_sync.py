"""Do the lips of a video say its sound?

The built-in expert was trained on landmarks of real people's speech
(docs/generic_voice.md), not on their pictures: what it says is not SyncNet's LSE-C and
LSE-D, and not to be compared with them. Those are SyncNet's own, where the user has its
checkpoint (Chung & Zisserman 2016; as Wav2Lip's evaluation computes them).
"""

from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import fft

from emogene_jax.audio.features import audio_features, fitted
from emogene_jax.audio.hubert_weights import read_torch
from emogene_jax.audio_to_motion.generic import built_in_expert, sync_of
from emogene_jax.corpora.watch import Seen
from emogene_jax.face.fit import rest_landmarks
from emogene_jax.signals import SAMPLE_RATE, UserError, landmarks_to_motion

SYNCNET = "syncnet_v2.model"
FURTHEST, FRAMES, SIDE = 15, 5, 224  # frames of an offset, of a window; px of a crop
_BATCH = 16  # windows


def lip_sync(sound: np.ndarray, seen: Seen, name: str) -> dict:
    """What the built-in expert says of a sound [samples] and the face seen with it.

    Returns:
      confidence: how far it is above that of other offsets, in [0, 1]; distance: between
      sound and lips at the best offset, in [0, 1.42]; offset: by how many frames the sound
      is late.

    Raises:
      UserError: the sound is silent, or too short.
    """
    waveform = fitted(sound, len(seen.landmarks))
    if not waveform.any():
        raise UserError(f"{name}: its sound is silent")
    expert = built_in_expert()
    heard = audio_features(waveform, expert.content)
    rest = rest_landmarks(seen.landmarks, seen.found)
    motion = landmarks_to_motion(seen.landmarks, rest).reshape(len(seen.landmarks), -1)
    found = sync_of(expert, heard.content, motion)
    if found is None:
        raise UserError(f"{name}: too short to tell how late its sound is")
    return {
        "confidence": found.confidence,
        "distance": found.distance,
        "offset": found.offset,
    }


class SyncNet:
    """SyncNet with the parameters of a user's checkpoint, as its authors publish it."""

    def __init__(self, file: Path):
        """Raises UserError: no such checkpoint."""
        try:
            state = {k: jnp.asarray(v) for k, v in read_torch(file).items()}
            self._state = state
            lips, sound = np.zeros((1, 3, FRAMES, SIDE, SIDE)), np.zeros((1, 1, 13, 20))
            jax.eval_shape(embed_lips, state, lips)
            jax.eval_shape(embed_sound, state, sound)
        except (KeyError, TypeError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(f"{file}: not SyncNet's parameters ({line})") from None

    def __call__(self, sound: np.ndarray, crops: Iterable[np.ndarray]) -> dict:
        """{"lse_c", "lse_d", "offset"} of a sound [samples] and the mouth_crops of its
        frames, one after the other."""
        heard = mfcc(np.clip(np.round(sound * 32768), -32768, 32767)).T  # 100 a second
        audio, lips, window, windows = [], [], [], []

        def embed():
            missing = _BATCH - len(windows)  # one length: each is compiled
            some = [*windows, *windows[-1:] * missing]
            pictures, sounds = map(np.stack, zip(*some, strict=True))
            kept = len(windows)
            lips.append(np.asarray(embed_lips(self._state, pictures))[:kept])
            audio.append(np.asarray(embed_sound(self._state, sounds[:, None]))[:kept])
            windows.clear()

        for number, crop in enumerate(crops):
            window = [*window[1 - FRAMES :], crop[..., ::-1].astype(np.float32)]
            start = 4 * (number + 1 - FRAMES)
            if start < 0 or start + 4 * FRAMES > heard.shape[1]:
                continue
            # [3 (blue first), 5, H, W] and [13, 20]
            pictures = np.stack(window).transpose(3, 0, 1, 2)
            windows.append((pictures, heard[:, start : start + 4 * FRAMES]))
            if len(windows) == _BATCH:
                embed()
        if windows:
            embed()
        if not audio:
            raise UserError("too short for SyncNet: expected a window of 5 frames")
        return lse(np.concatenate(lips), np.concatenate(audio))


# Layer: its number in the checkpoint, strides, padding; the largest of a window of a size,
# at strides, with padding, or None.
_SOUND = (
    (0, (1, 1), (1, 1), None),
    (4, (1, 1), (1, 1), ((3, 3), (1, 2), (0, 0))),
    (8, (1, 1), (1, 1), None),
    (11, (1, 1), (1, 1), None),
    (14, (1, 1), (1, 1), ((3, 3), (2, 2), (0, 0))),
    (18, (1, 1), (0, 0), None),
)
_LIPS = (
    (0, (1, 2, 2), (0, 0, 0), ((1, 3, 3), (1, 2, 2), (0, 0, 0))),
    (4, (1, 2, 2), (0, 1, 1), ((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    (8, (1, 1, 1), (0, 1, 1), None),
    (11, (1, 1, 1), (0, 1, 1), None),
    (14, (1, 1, 1), (0, 1, 1), ((1, 3, 3), (1, 2, 2), (0, 0, 0))),
    (18, (1, 1, 1), (0, 0, 0), None),
)


@jax.jit
def embed_lips(state, pictures):
    """[N, 1024] of pictures [N, 3 (blue first), FRAMES, SIDE, SIDE] in 0..255."""
    return _tower(state, "netcnnlip", "netfclip", _LIPS, pictures)


@jax.jit
def embed_sound(state, sound):
    """[N, 1024] of mfcc [N, 1, 13, 20]."""
    return _tower(state, "netcnnaud", "netfcaud", _SOUND, sound)


def _tower(state, convolutions: str, dense: str, layers, x):
    def norm(x, name):
        shape = (-1,) + (1,) * (x.ndim - 2)
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / jnp.sqrt(var + 1e-5)
        shift = state[f"{name}.bias"] - mean * scale
        return jax.nn.relu(x * scale.reshape(shape) + shift.reshape(shape))

    x = jnp.asarray(x, jnp.float32)
    for number, strides, padding, pool in layers:
        name = f"{convolutions}.{number}"
        around = [(side, side) for side in padding]
        x = jax.lax.conv_general_dilated(x, state[f"{name}.weight"], strides, around)
        x = x + state[f"{name}.bias"].reshape((-1,) + (1,) * (x.ndim - 2))
        x = norm(x, f"{convolutions}.{number + 1}")
        if pool is not None:
            size, strides, padding = ((1, 1, *part) for part in pool)
            around = [(side, side) for side in (0, 0, *pool[2])]
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, strides, around)
    x = x.reshape(len(x), -1) @ state[f"{dense}.0.weight"].T + state[f"{dense}.0.bias"]
    x = norm(x, f"{dense}.1")
    return x @ state[f"{dense}.3.weight"].T + state[f"{dense}.3.bias"]


def mfcc(samples: np.ndarray) -> np.ndarray:
    """[N, 13] cepstra, 100 a second, of samples at 16 kHz in the range of int16: as
    python_speech_features makes them, which SyncNet learned from (windows of 25 ms that
    nothing tapers, 26 filters, the first number replaced by the log of the energy)."""
    samples = np.asarray(samples, np.float64)
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    count = 1 + max(0, -(-(len(samples) - 400) // 160))
    samples = np.pad(samples, (0, 160 * (count - 1) + 400 - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)[:, None]
    bins = np.arange(257)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0, None)
    least = np.finfo(float).eps
    bands = power @ filters.T
    cepstra = fft.dct(np.log(np.where(bands == 0, least, bands)), norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    energy = power.sum(1)
    cepstra[:, 0] = np.log(np.where(energy == 0, least, energy))
    return cepstra


def lse(lips: np.ndarray, audio: np.ndarray, furthest: int = FURTHEST) -> dict:
    """SyncNet's scores of embeddings [N, C] of windows of lips and of sound.

    For each offset the mean Euclidean distance; lse_d is the least, lse_c by how much it
    is below the median. As published: where a shifted sound has no window there is a
    vector of zeros, which makes short clips look better or worse than they are.
    """
    padded = np.pad(audio, ((furthest, furthest), (0, 0)))
    means = np.array(
        [
            # 1e-6 as in PyTorch's pairwise_distance.
            np.linalg.norm(
                lips - padded[shift : shift + len(lips)] + 1e-6, axis=1
            ).mean()
            for shift in range(2 * furthest + 1)
        ]
    )
    best = int(means.argmin())
    return {
        "lse_c": float(np.median(means) - means[best]),
        "lse_d": float(means[best]),
        "offset": best - furthest,
    }


def mouth_crop(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What SyncNet is shown of a frame [H, W, 3] uint8: the square about the lower face
    [SIDE, SIDE, 3], as its authors crop a detected face box (made larger by .4, moved
    down by .1 of that). The box here is that of the 68 landmarks [68, 2] px."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    half = (high - low).max() / 2
    x, y = (low + high) / 2
    side = 1.4 * half
    top = (
        y - half
    )  # of the box; its crop reaches from there to 1.8 halves below the middle
    box = (x - side, top, x + side, top + 2 * side)
    picture = Image.fromarray(frame).transform(
        (SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(picture)
