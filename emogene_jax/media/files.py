"""Opening files of picture and sound as people have them, with PyAV, and one clock for what
is seen and what is heard: zero is the first picture that can be shown, or, where there is
none, the first sound.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emogene_jax.signals import UserError

_GAP = 0.05  # s by which a time stamp may be off before it means something
_MOST = 3600  # s that time stamps may lie apart: more, and they are broken


def open_media(path):
    """The open container of a file that is there, whatever its name: a colon names no
    protocol. FFmpeg's errors go through."""
    return av.open(place(path))


def place(path) -> str:
    """A file's path as FFmpeg takes it for one."""
    return f"file:{path}"


def must_be_there(path, expected: str) -> None:
    """Raises UserError where `path` is no file, or an empty one."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected {expected}")
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected {expected}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes), expected {expected}")


def default_of(streams):
    """The stream that a player takes: the default one, else the first; None of none."""
    default = av.stream.Disposition.default
    return next(
        (s for s in streams if s.disposition & default), next(iter(streams), None)
    )


def picture_of(container):
    """The stream of pictures of a container, None where it has none: a text file passes
    for a picture of characters (ffmpeg's tty decoder), a cover is none."""
    if container.format.name == "tty":
        return None
    cover = av.stream.Disposition.attached_pic
    return default_of([s for s in container.streams.video if not s.disposition & cover])


def heard(path, rate: int, stereo: bool = False) -> Iterator[np.ndarray]:
    """The sound of a file, [channels, samples] float32 at `rate` Hz, from the clock's zero
    on: silent where it begins later, without what came earlier; gaps are silent.

    Args:
        stereo: two channels, a single one twice; else the channels that there are.

    Raises:
        av.error.FFmpegError: of what can't be decoded.
    """
    zero = _first_picture(path)
    with open_media(path) as container:
        stream = default_of(container.streams.audio)
        many = stereo and stream.layout.nb_channels > 2
        resampler = av.AudioResampler("fltp", "stereo" if many else None, rate)
        skip = None  # samples before zero that are still to come
        for frame in _without_gaps(container.decode(stream)):
            if skip is None:
                begins = _after(zero, frame.time)
                skip = max(0, round(-begins * rate))
                late = max(0, round(begins * rate))
                channels = 2 if stereo else frame.layout.nb_channels
                for start in range(0, late, rate):
                    yield np.zeros((channels, min(rate, late - start)), np.float32)
            for piece in resampler.resample(frame):
                samples = _channels(piece, stereo)
                yield samples[:, skip:]
                skip = max(0, skip - samples.shape[1])
        if skip is not None:  # what the resampler still holds
            for piece in resampler.resample(None):
                yield _channels(piece, stereo)[:, skip:]


def _after(zero: float | None, time: float | None) -> float:
    """How long (s) after the clock's zero a time is; 0 where one is not known, or a time
    stamp is broken."""
    late = 0.0 if zero is None or time is None else time - zero
    return late if abs(late) < _MOST else 0.0


def _channels(frame: av.AudioFrame, stereo: bool) -> np.ndarray:
    samples = frame.to_ndarray()
    return samples.repeat(2, 0) if stereo and len(samples) == 1 else samples


def _first_picture(path) -> float | None:
    """The time (s) of the first picture that can be decoded; None where there is none."""
    with open_media(path) as container:
        stream = picture_of(container)
        if stream is None:
            return None
        try:
            frame = next(container.decode(stream))
        except (av.error.FFmpegError, StopIteration):
            return None
        return frame.time


def _without_gaps(frames) -> Iterator[av.AudioFrame]:
    """Frames of sound, with silent ones where their time stamps leave a gap."""
    ends = None
    for frame in frames:
        begins = frame.time
        if begins is None:  # no time stamps: one after the other
            begins = ends or 0.0
        elif ends is not None and _GAP < begins - ends < _MOST:
            yield from _silence(frame, round((begins - ends) * frame.sample_rate))
        ends = max(begins, ends or begins) + frame.samples / frame.sample_rate
        yield frame


def _silence(like: av.AudioFrame, samples: int) -> Iterator[av.AudioFrame]:
    """Silent frames of as many samples, of a format like another's."""
    for start in range(0, samples, like.sample_rate):
        count = min(like.sample_rate, samples - start)
        known = like.to_ndarray()
        width = count * (known.shape[1] // like.samples)
        middle = 128 if known.dtype == np.uint8 else 0
        silent = np.full((len(known), width), middle, known.dtype)
        frame = av.AudioFrame.from_ndarray(silent, like.format.name, like.layout.name)
        frame.sample_rate = like.sample_rate
        yield frame


def upright(frame: av.VideoFrame, ratio: Fraction, tone=None) -> np.ndarray:
    """[H, W, 3] uint8 as a player shows it: pixels square, turned and mirrored as its
    display matrix says. ratio: pixel_ratio of its stream; tone: a tone.ToneMap, where that
    is of high dynamic range."""
    (width, height), turn = _square(frame, ratio), orientation(frame)
    coloured = tone(frame) if tone else frame
    picture = coloured.to_ndarray(format="rgb24", width=width, height=height)
    if turn[0, 0] == 0:  # rows become columns
        picture = picture.swapaxes(0, 1)
    across, down = turn.sum(0)
    return np.ascontiguousarray(picture[:: int(down), :: int(across)])


def shown_size(frame: av.VideoFrame, ratio: Fraction) -> tuple[int, int]:
    """(width, height) px of `upright`."""
    sides = _square(frame, ratio)
    return sides[::-1] if orientation(frame)[0, 0] == 0 else sides


def pixel_ratio(stream) -> Fraction:
    """How much wider than high a pixel is."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(ratio) if ratio and ratio > 0 else Fraction(1)


def _square(frame: av.VideoFrame, ratio: Fraction) -> tuple[int, int]:
    # Made larger, never smaller: nothing of what was filmed is lost.
    if ratio >= 1:
        return round(frame.width * ratio), frame.height
    return frame.width, round(frame.height / ratio)


def orientation(frame: av.VideoFrame) -> np.ndarray:
    """[2, 2] of -1, 0, 1: (x, y) of a place in the frame @ it are those where it is shown,
    up to a shift; to the next quarter turn."""
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return np.eye(2, dtype=int)
    matrix = np.frombuffer(bytes(found), np.int32).reshape(3, 3)[:2, :2] / (1 << 16)
    if abs(matrix[0, 0]) + abs(matrix[1, 1]) >= abs(matrix[0, 1]) + abs(matrix[1, 0]):
        return np.diag(np.where(matrix[[0, 1], [0, 1]] < 0, -1, 1))
    turned = np.zeros((2, 2), int)
    turned[[0, 1], [1, 0]] = np.where(matrix[[0, 1], [1, 0]] < 0, -1, 1)
    return turned
