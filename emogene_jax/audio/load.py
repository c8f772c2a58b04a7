"""Any sound on disk -> mono float32 at 16 kHz in [-1, 1]."""

import io
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emogene_jax.signals import SAMPLE_RATE, UserError

WANTED = "an audio or video file"
OPPOSITE = 0.7  # share of two channels' energy that is the one's against the other's
# Seconds that a file may promise and not hold before it counts as truncated.
TRUNCATION_TOLERANCE = 0.5


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
    """A waveform [samples] like load_audio's, of any length, on disk: a slice of it is
    read when it is asked for."""

    def __init__(self, path: str | Path):
        self._file = tempfile.TemporaryFile()
        self._size = _load(Path(path), self._file)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self._size)
        self._file.seek(4 * start)
        return np.frombuffer(self._file.read(4 * max(0, stop - start)), np.float32)


def _load(path: Path, out: BinaryIO) -> int:
    """Writes the sound of a file as float32; how many samples there are."""
    import av  # slow to import, and only this module needs it

    from emogene_jax.media.files import must_be_there

    must_be_there(path, WANTED)
    try:
        samples = _decode(path, out)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be decoded ({error.__class__.__name__}), expected {WANTED} "
            "that is whole"
        ) from None
    if samples <= 0:
        raise UserError(f"{path}: 0 s of sound, expected some")
    return samples


def _decode(path: Path, out: BinaryIO) -> int:
    """Writes the sound track that a player takes; its samples."""
    from emogene_jax.media.files import heard

    promised, written, mono = _promised(path), 0, _Mono()
    for channels in heard(path, SAMPLE_RATE):
        if not np.isfinite(channels).all():
            raise UserError(f"{path}: the sound holds values that are not finite")
        piece = mono.mixed(channels)
        written += len(piece)
        out.write(np.clip(piece, -1, 1).tobytes())
    seconds = written / SAMPLE_RATE
    if seconds < promised - TRUNCATION_TOLERANCE:
        raise UserError(
            f"{path}: truncated, {seconds:.1f} s of sound where {promised:.1f} s are "
            "promised"
        )
    return written


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


def _promised(path: Path) -> float:
    """How many seconds of sound an mp4 or wav, which know their length, promise; 0 of
    others.

    Raises:
      UserError: there is no sound, or it is no media at all.
    """
    from emogene_jax.media.files import default_of, open_media, picture_of

    with open_media(path) as container:
        # A text file passes for a picture of characters (ffmpeg's tty decoder).
        if container.format.name == "tty":
            raise UserError(f"{path}: not media, expected {WANTED}")
        stream, picture = default_of(container.streams.audio), picture_of(container)
        if stream is None:
            raise UserError(f"{path}: no sound track, expected one")
        knows = {"mp4", "wav"} & set(container.format.name.split(","))
        if not (knows and stream.duration):
            return 0.0
        ends = ((stream.start_time or 0) + stream.duration) * stream.time_base
        zero = (stream.start_time or 0) * stream.time_base
        if picture is not None:
            zero = (picture.start_time or 0) * picture.time_base
        return float(ends - zero)
