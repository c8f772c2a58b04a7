"""Any sound on disk -> mono float32 at 16 kHz in [-1, 1]."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emogene_jax.signals import SAMPLE_RATE, UserError

# Seconds that an mp4 may promise and not hold before it counts as truncated.
TRUNCATION_TOLERANCE = 0.5


def load_audio(path: str | Path) -> np.ndarray:
    """The sound [samples] of an audio or video file; channels are averaged.

    Sample 0 is at the time of the first picture, where there is one: a sound track that
    starts later is padded, one that starts earlier is cut.

    Raises:
      UserError: no such file, empty, not media, truncated, without sound, of 0 s, or
        with values that are not finite.
    """
    import av  # slow to import, and only this function needs it

    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected an audio or video file")
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected an audio or video file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: 0 bytes, expected an audio or video file")
    try:
        with av.open(str(path)) as container:
            waveform = _decode(container, path)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be decoded ({error.__class__.__name__}), expected an audio "
            "or video file that is whole"
        ) from None
    if waveform.size == 0:
        raise UserError(f"{path}: 0 s of sound, expected some")
    return waveform


def _decode(container, path: Path) -> np.ndarray:
    """The first sound track of an open container."""
    # A text file passes for a picture of characters (ffmpeg's tty decoder).
    if container.format.name == "tty":
        raise UserError(f"{path}: not media, expected an audio or video file")
    if not container.streams.audio:
        raise UserError(f"{path}: no sound track, expected one")
    stream = container.streams.audio[0]
    # It grows in place: an hour is in memory once.
    samples, start = bytearray(), None
    for channels, start in _pieces(container, stream):  # noqa: B007, used below
        piece = channels.mean(0, dtype=np.float32)
        if not np.isfinite(piece).all():
            raise UserError(f"{path}: the sound holds values that are not finite")
        samples += np.clip(piece, -1, 1).tobytes()
    waveform = np.frombuffer(samples, np.float32)
    _check_whole(container, stream, waveform.size / SAMPLE_RATE, path)
    return _align(container, waveform, start or 0.0)


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
    """Raises where an mp4, which knows its length, holds less than it promises."""
    if "mp4" not in container.format.name or not stream.duration:
        return
    promised = float(stream.duration * stream.time_base)
    if seconds < promised - TRUNCATION_TOLERANCE:
        raise UserError(
            f"{path}: truncated, {seconds:.1f} s of sound where {promised:.1f} s are "
            "promised"
        )


def _align(container, waveform: np.ndarray, start: float) -> np.ndarray:
    """Waveform that starts with the first picture; start is its own time in s."""
    video = container.streams.video
    if not video or video[0].start_time is None or waveform.size == 0:
        return waveform
    late = start - float(video[0].start_time * video[0].time_base)
    samples = round(late * SAMPLE_RATE)
    if samples >= 0:
        return np.pad(waveform, (samples, 0))
    return waveform[-samples:]
