"""HuBERT content features: waveform -> last hidden layer [S, F], 50 per second.

Any length, in constant memory besides the features themselves: what is longer than
`WINDOW` steps is seen through windows of that length, which overlap. Of an overlap the
outer `CONTEXT` steps on either side are thrown away, and in the middle one window fades
into the next, so that no joint can be seen. Up to a minute nothing is cut: attention
reaches everywhere, and no context makes up for what a shorter window keeps from it.

Whatever is a statistic of the whole recording is taken from the whole recording: the
waveform's mean and variance, and those of the base size's group norm, which follow from
the 10 x 10 covariance of the samples that its first convolution sees at once.

Rows are padded to one of a few lengths, so that nothing is compiled for a file, and
split among the devices.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax import parallel
from emogene_jax.audio import hubert_model as model
from emogene_jax.audio import hubert_weights as weights
from emogene_jax.signals import FPS, SAMPLE_RATE

FRAME = SAMPLE_RATE // FPS  # samples of a video frame
# A step sees 400 samples; this much before and after the recording, the middle of what
# it sees is the middle of its 20 ms, and there are two of them for a frame.
SIDE = (model.FIELD - model.HOP) // 2
WINDOW = 3072  # steps: about a minute
CONTEXT = 200  # steps thrown away at either side of a joint
FADE = 100  # steps over which one window becomes the next
SEGMENT = 64  # steps that the convolutions make at once
BLOCK = 1 << 20  # samples of a recording that statistics read at once
STEPS_AT_ONCE = 16_384  # of a batch, on an accelerator


class Hubert(NamedTuple):
    """A checkpoint, ready to run."""

    config: model.HubertConfig
    params: Any  # of hubert_model, on every device
    extractor: Any  # the checkpoint's own transformers.Wav2Vec2FeatureExtractor


class _Row(NamedTuple):
    """A window of a recording."""

    recording: int
    start: int  # steps
    steps: int


def locate(path_or_name: str | Path) -> tuple[Path, dict[str, str]]:
    """The folder of a checkpoint, and its name: "model", a folder or a name on the hub,
    and then "revision", its commit.

    Args:
      path_or_name: a folder, or a name as of hubert_weights.from_hub.
    """
    folder, name = Path(path_or_name), str(path_or_name)
    repository = name.partition("@")[0]
    if folder.is_dir() or repository.count("/") != 1:
        return folder, {"model": name}
    folder = weights.from_hub(name)
    return folder, {"model": repository, "revision": folder.name}


def load_hubert(path_or_name: str | Path, dtype: Any = None) -> Hubert:
    """The checkpoint in a folder, or of a name on the Hugging Face hub.

    Args:
      dtype: of weights and products; by default float32 on a CPU, else bfloat16. Norms,
        softmax and the sums between layers are float32.

    Raises:
      UserError: no such folder, or it holds no HuBERT that can be read.
    """
    folder, _ = locate(path_or_name)
    tensors = weights.read_tensors(folder)
    config = weights.read_config(folder)
    extractor = weights.read_extractor(folder)
    if dtype is None:
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    params = weights.to_params(tensors, config, str(folder))

    def place(path, array):
        kernel = path[-1].key == "kernel"
        return parallel.replicate(np.asarray(array, dtype if kernel else np.float32))

    return Hubert(config, jax.tree_util.tree_map_with_path(place, params), extractor)


def hubert_features(
    hubert: Hubert, waveforms: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The last hidden layer [2T, F] float32 of each waveform [samples] at 16 kHz.

    T = ceil(samples / 640), at least 1. Step s is centred on sample 320 s + 160; around
    the recording, after it was normalised, there are zeros.
    """
    recordings = [_Recording(hubert, waveform) for waveform in waveforms]
    steps = [recording.steps for recording in recordings]
    moments = [_moments(hubert, recording) for recording in recordings]
    rows = [
        _Row(index, start, min(count, WINDOW))
        for index, count in enumerate(steps)
        for start in window_starts(count)
    ]
    width = hubert.config.hidden_size
    features = [np.zeros((count, width), np.float32) for count in steps]
    total = [np.zeros((count, 1), np.float32) for count in steps]
    pending = []
    for batch, length, size in _batches(rows):
        pending.append((batch, _run(hubert, recordings, moments, batch, length, size)))
        # One batch is made ready while the one before it runs.
        if len(pending) > 1:
            _add(features, total, *pending.pop(0))
    for done in pending:
        _add(features, total, *done)
    for sum_, share in zip(features, total, strict=True):
        sum_ /= share
    return features


def hubert_pieces(hubert: Hubert, waveform) -> Iterator[np.ndarray]:
    """hubert_features of one waveform in pieces [n, F], in constant memory; waveform
    can be a StoredSound."""
    recording = _Recording(hubert, waveform)
    moments, steps = _moments(hubert, recording), recording.steps
    starts = window_starts(steps)
    length, size = padded_length(min(steps, WINDOW)), parallel.device_count()
    carried = np.zeros((0, hubert.config.hidden_size), np.float32)
    share = np.zeros((0, 1), np.float32)
    for start, following in zip(starts, [*starts[1:], steps], strict=True):
        row = _Row(0, start, min(steps, WINDOW))
        made = _run(hubert, [recording], [moments], [row], length, size)
        # The window before this one was handed out up to where this one says something.
        silent = start and CONTEXT
        own = _share(row, steps)[silent:]
        total = own * np.asarray(made)[0, silent : row.steps]
        total[: len(carried)] += carried
        own[: len(share)] += share
        done = len(own) if following == steps else following + CONTEXT - start - silent
        yield total[:done] / own[:done]
        carried, share = total[done:], own[done:]


def window_starts(steps: int) -> list[int]:
    """Where the windows of a recording start, evenly apart."""
    if steps <= WINDOW:
        return [0]
    overlap = 2 * CONTEXT + FADE
    count = -(-(steps - overlap) // (WINDOW - overlap))
    return np.linspace(0, steps - WINDOW, count).round().astype(int).tolist()


def _share(row: _Row, steps: int) -> np.ndarray:
    """How much a window says [row.steps, 1] in its recording: less near a joint."""
    here = np.arange(row.steps)
    share = np.ones(row.steps)
    if row.start > 0:
        share = np.minimum(share, (here - CONTEXT + 0.5) / FADE)
    if row.start + row.steps < steps:
        share = np.minimum(share, (row.steps - here - CONTEXT - 0.5) / FADE)
    return np.clip(share, 0, 1).astype(np.float32)[:, None]


def _add(features, total, batch: list[_Row], hidden) -> None:
    for row, values in zip(batch, np.asarray(hidden), strict=False):
        share = _share(row, len(features[row.recording]))
        place = slice(row.start, row.start + row.steps)
        features[row.recording][place] += share * values[: row.steps]
        total[row.recording][place] += share


class _Recording:
    """The samples [640 T + 80] of a waveform, as the checkpoint wants them; made when
    they are asked for."""

    def __init__(self, hubert: Hubert, waveform):
        self.steps = 2 * max(1, -(-len(waveform) // FRAME))
        self._waveform, self._mean, self._scale = waveform, 0.0, 1.0
        # What transformers' extractor does to a whole array.
        if hubert.extractor.do_normalize and len(waveform):
            count = len(waveform)
            parts = range(0, count, BLOCK)
            self._mean = (
                sum(waveform[i : i + BLOCK].sum(dtype="f8") for i in parts) / count
            )
            off = (waveform[i : i + BLOCK] - self._mean for i in parts)
            self._scale = (sum((part**2).sum() for part in off) / count + 1e-7) ** -0.5

    def __len__(self) -> int:
        return self.steps * model.HOP + 2 * SIDE

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(len(self))
        out = np.zeros(max(0, stop - start), np.float32)
        inside = self._waveform[max(0, start - SIDE) : max(0, stop - SIDE)]
        place = max(0, SIDE - start)
        out[place : place + len(inside)] = (inside - self._mean) * self._scale
        return out


def _moments(hubert: Hubert, recording: _Recording):
    """(mean, variance) [C] of the first convolution's output, where they are needed."""
    if hubert.config.feat_extract_norm != "group":
        return None
    convolution = hubert.params["convolutions"][0]
    kernel = np.asarray(convolution["kernel"], np.float64)[:, 0]
    width, hop = len(kernel), hubert.config.conv_stride[0]
    count, at_once = (len(recording) - width) // hop + 1, BLOCK // width
    sums, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, count, at_once):
        stop = min(start + at_once, count)
        samples = recording[start * hop : (stop - 1) * hop + width].astype(np.float64)
        block = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
        sums += block.sum(0)
        products += block.T @ block
    mean = sums / count
    covariance = products / count - np.outer(mean, mean)
    variance = np.einsum("kc,kl,lc->c", kernel, covariance, kernel)
    mean = mean @ kernel + np.asarray(convolution.get("bias", 0.0))
    return mean.astype(np.float32), np.maximum(variance, 0).astype(np.float32)


def padded_length(steps: int) -> int:
    """The length that rows of `steps` are padded to: four lengths an octave."""
    quarter = max(SEGMENT, (1 << (steps - 1).bit_length()) // 8)
    return -(-steps // quarter) * quarter


def _batches(rows: list[_Row]) -> Iterator[tuple[list[_Row], int, int]]:
    """(rows of about one length, that length, how many rows there must be) …"""
    devices = parallel.device_count()
    groups = {}
    for row in rows:
        groups.setdefault(padded_length(row.steps), []).append(row)
    for length, group in groups.items():
        # A CPU gains nothing from a second row.
        many = parallel.on_accelerator()
        at_once = max(1, STEPS_AT_ONCE // length) if many else 1
        most = devices * (1 << at_once.bit_length() - 1)
        for start in range(0, len(group), most):
            batch = group[start : start + most]
            for_each = -(-len(batch) // devices)
            yield batch, length, devices * (1 << (for_each - 1).bit_length())


def _run(hubert, recordings, moments, batch: list[_Row], length: int, size: int):
    """Hidden states [size, length, F] of a batch, on their way."""
    config, params = hubert.config, hubert.params
    waveform = np.zeros((size, length * model.HOP + 2 * SIDE), np.float32)
    steps = np.zeros(size, np.int32)
    for index, row in enumerate(batch):
        samples = row.steps * model.HOP + 2 * SIDE
        first = row.start * model.HOP
        part = recordings[row.recording][first : first + samples]
        waveform[index, : len(part)] = part
        steps[index] = row.steps
    statistics = (None, None)
    if moments[0] is not None:
        rows = [moments[row.recording] for row in batch]
        rows += [rows[0]] * (size - len(batch))
        statistics = tuple(map(np.stack, zip(*rows, strict=True)))
    steps, statistics = parallel.shard_batch((steps, statistics))
    parts = []
    for start in range(0, length, SEGMENT):
        first = start * model.HOP
        some = waveform[:, first : first + SEGMENT * model.HOP + 2 * SIDE]
        some = parallel.shard_batch(some)
        parts.append(model.extract(params, config, some, *statistics))
    hidden = model.embed(params, config, parts, steps)
    for layer in params["layers"]:
        hidden = model.layer(layer, config, hidden, steps)
    # Fetched from each device: no collective, which simulated devices may lock up in.
    return model.finish(params, config, hidden)
