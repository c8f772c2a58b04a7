"""Any sound on disk -> mono float32 at 16 kHz in [-1, 1]."""

import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emogene_jax.signals import SAMPLE_RATE, UserError

WANTED = "an audio or video file"
OPPOSITE = 0.7  # share of two channels' energy that is the one's against the other's
FULL = 0.999  # of full scale: a sample that was clipped
CLIPPED = 0.005  # share of samples from which on it is said
NUMBERS = 100  # a sample beyond it is a whole number, stored as a float
OFFSET = 0.01  # mean of all samples
QUIET = 0.01  # loudest sample


def load_audio(path: str | Path) -> np.ndarray:
    """The sound [samples] of an audio or video file, of the track that a player takes;
    channels are averaged.

    Sample 0 is at the time of the first picture, where there is one: a sound track that
    starts later is padded, one that starts earlier is cut, and gaps are silent.

    Raises:
      UserError: no such file, empty, not media, truncated, without sound, of 0 s, or
        with values that are not finite.
    """
    samples = io.BytesIO()  # it grows in place: an hour is in memory once
    _load(Path(path), samples)
    return np.frombuffer(samples.getbuffer(), np.float32)


class StoredSound:
    """A waveform [samples] like load_audio's, or of a part of those samples alone, of any
    length, on disk: a slice of it is read when it is asked for."""

    def __init__(self, path: str | Path, part: slice = slice(0, None)):
        self._file = tempfile.TemporaryFile()
        self._size = _load(Path(path), self._file, part)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self._size)
        self._file.seek(4 * start)
        return np.frombuffer(self._file.read(4 * max(0, stop - start)), np.float32)


def _load(path: Path, out: BinaryIO, part: slice = slice(0, None)) -> int:
    """Writes the sound of a file, or a part of it, as float32; how many samples there
    are."""
    import av  # slow to import, and only this module needs it

    from emogene_jax.media.files import must_be_there

    must_be_there(path, WANTED)
    try:
        samples = _decode(path, out, part)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be decoded ({error.__class__.__name__}), expected {WANTED} "
            "that is whole"
        ) from None
    if samples <= 0:
        where = f" from {part.start / SAMPLE_RATE:g} s on" if part.start else ""
        raise UserError(f"{path}: 0 s of sound{where}, expected some")
    return samples


def _decode(path: Path, out: BinaryIO, part: slice) -> int:
    """Writes a part of the sound track that a player takes; its samples."""
    from emogene_jax.media.sound import heard

    written, loudest, over, mono, total = 0, 0.0, 0, _Mono(), 0.0
    for channels in _of(part, heard(path, SAMPLE_RATE)):
        if not np.isfinite(channels).all():
            raise UserError(f"{path}: the sound holds values that are not finite")
        piece = mono.mixed(channels)
        written, total = written + len(piece), total + piece.sum(dtype=np.float64)
        loudest = max(loudest, float(np.abs(piece).max(initial=0)))
        if loudest > NUMBERS:
            raise UserError(
                f"{path}: its sound goes up to {loudest:.0f}, where 1 is full scale"
            )
        over += np.count_nonzero(np.abs(piece) >= FULL)
        out.write(np.clip(piece, -1, 1).tobytes())
    if written and (told := _level(loudest, over / written)):
        warnings.warn(f"{path}: {told}", stacklevel=4)
    if written and abs(total / written) > OFFSET:
        _centre(out, total / written)
    return written


def _of(part: slice, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """What is in a part of the samples of pieces [channels, n]; behind it none is asked
    for."""
    begins = 0
    for piece in pieces:
        ends = begins + piece.shape[1]
        start, stop, _ = slice(
            max(0, part.start - begins),
            None if part.stop is None else max(0, part.stop - begins),
        ).indices(piece.shape[1])
        if start < stop:
            yield piece[:, start:stop]
        if part.stop is not None and ends >= part.stop:
            return
        begins = ends


def _centre(out: BinaryIO, offset: float) -> None:
    """Takes a constant offset (a faulty microphone's) away from what was written: features
    would take it for sound."""
    out.seek(0)
    while data := out.read(4 * SAMPLE_RATE):
        out.seek(-len(data), io.SEEK_CUR)
        out.write((np.frombuffer(data, np.float32) - np.float32(offset)).tobytes())


def _level(loudest: float, over: float) -> str:
    """In words, what is wrong with a sound of such a loudest sample, and such a share of
    samples at full scale; empty: nothing."""
    if loudest == 0:
        return "its sound is silence"
    if loudest < QUIET:
        return f"its sound is very quiet (at most {20 * np.log10(loudest):.0f} dB)"
    if over > CLIPPED:
        return f"{100 * over:.1f} % of its sound is clipped: it was recorded too loudly"
    return ""


class _Mono:
    """Channels become one: their mean; of two that are each other's opposite (a cable
    that was wired wrongly), whose mean is nothing, the difference."""

    def __init__(self):
        self._energy, self._together = 0.0, 0.0

    def mixed(self, channels: np.ndarray) -> np.ndarray:
        """[samples] of the next piece, [channels, samples]."""
        if len(channels) == 2:
            left, right = channels.astype(np.float64)
            self._energy += left @ left + right @ right
            self._together += 2 * (left @ right)
            if self._together < -OPPOSITE * self._energy:
                channels = channels * np.array([[1], [-1]], np.float32)
        return channels.mean(0, dtype=np.float32)
