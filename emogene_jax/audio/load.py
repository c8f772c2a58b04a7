"""Any sound on disk -> mono float32 at 16 kHz in [-1, 1]."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emogene_jax.signals import SAMPLE_RATE, UserError

# Seconds that a file may promise and not hold before it counts as truncated.
TRUNCATION_TOLERANCE = 0.5


def load_audio(path: str | Path) -> np.ndarray:
    """The sound [samples] of an audio or video file; channels are averaged.

    Sample 0 is at the time of the first picture, where there is one: a sound track that
    starts later is padded, one that starts earlier is cut.

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

    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected an audio or video file")
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected an audio or video file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: 0 bytes, expected an audio or video file")
    try:
        with av.open(str(path)) as container:
            samples = _decode(container, path, out)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be decoded ({error.__class__.__name__}), expected an audio "
            "or video file that is whole"
        ) from None
    if samples <= 0:
        raise UserError(f"{path}: 0 s of sound, expected some")
    return samples


def _decode(container, path: Path, out: BinaryIO) -> int:
    """Writes the first sound track of an open container; its samples."""
    # A text file passes for a picture of characters (ffmpeg's tty decoder).
    if container.format.name == "tty":
        raise UserError(f"{path}: not media, expected an audio or video file")
    if not container.streams.audio:
        raise UserError(f"{path}: no sound track, expected one")
    stream = container.streams.audio[0]
    decoded, late = 0, None
    for channels, start in _pieces(container, stream):
        piece = channels.mean(0, dtype=np.float32)
        if not np.isfinite(piece).all():
            raise UserError(f"{path}: the sound holds values that are not finite")
        if late is None:
            late = _samples_late(container, start or 0.0)
            out.write(bytes(4 * max(0, late)))
        decoded += len(piece)
        # What was heard before the first picture is left out.
        piece = piece[max(0, len(piece) - (decoded + late)) :] if late < 0 else piece
        out.write(np.clip(piece, -1, 1).tobytes())
    _check_whole(container, stream, decoded / SAMPLE_RATE, path)
    return decoded + late if decoded else 0


def _pieces(container, stream) -> Iterator[tuple[np.ndarray, float | None]]:
    """(samples [channels, n] at 16 kHz, time in s at which the sound starts)."""
    import av

    # Channels are kept: the resampler's own downmix is louder than the mean.
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    frame = start = None
    for frame in container.decode(stream):
        start = frame.time if start is None else start
        for piece in resampler.resample(frame):
            yield piece.to_ndarray(), start
    if frame is not None:  # what the resampler still holds
        for piece in resampler.resample(None):
            yield piece.to_ndarray(), start


def _check_whole(container, stream, seconds: float, path: Path) -> None:
    """Raises where an mp4 or wav, which know their length, hold less than they
    promise."""
    knows = {"mp4", "wav"} & set(container.format.name.split(","))
    if not (knows and stream.duration):
        return
    promised = float(stream.duration * stream.time_base)
    if seconds < promised - TRUNCATION_TOLERANCE:
        raise UserError(
            f"{path}: truncated, {seconds:.1f} s of sound where {promised:.1f} s are "
            "promised"
        )


def _samples_late(container, start: float) -> int:
    """How many samples after the first picture a sound begins whose time is start (s)."""
    video = container.streams.video
    if not video or video[0].start_time is None:
        return 0
    late = start - float(video[0].start_time * video[0].time_base)
    return round(late * SAMPLE_RATE)
