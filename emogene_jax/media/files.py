"""Opening files of picture and sound as people have them, with PyAV, and one clock for what
is seen and what is heard: zero is the first picture that can be shown, or, where there is
none, the first sound.
"""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from emogene_jax.signals import FPS, UserError

# How files end that are taken for videos where a folder is named, and not the file.
VIDEO_ENDS = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".flv", ".wmv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv"),
)
MOST = 3600  # s that time stamps may lie apart: more, and they are broken
_LISTS = {"hls", "concat", "dash", "sdp", "imf"}
_FASTEST = 480  # fps: more are the ticks of a clock, not a rate
_LEAST = 0.5  # s that a file must lack before it counts as cut short


@contextlib.contextmanager
def open_media(path):
    """The open container of a file that is there, whatever its name: a colon names no
    protocol. FFmpeg's errors go through.

    Raises:
        UserError: it is a list of other files, which who made it need not be allowed to
            read; or it has grown meanwhile.
    """
    with av.open(place(path)) as container:
        size = Path(path).stat().st_size
        if container.format.name.split(",")[0] in _LISTS:
            raise UserError(f"{path}: is a list of other files, expected one of them")
        yield container
    if Path(path).stat().st_size > size:
        raise UserError(f"{path}: grew while it was read, expected a whole file")


def place(path) -> str:
    """A file's path as FFmpeg takes it for one."""
    return f"file:{path}"


def must_be_there(path, expected: str) -> None:
    """Raises UserError where `path` is no file, or an empty one."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected {expected}")
    if not path.exists():
        raise UserError(f"{path}: no such file, expected {expected}")
    if not path.is_file():  # a pipe ends when it was read once
        raise UserError(f"{path}: is no file on a disk, expected {expected}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes), expected {expected}")


def default_of(streams):
    """The stream that a player takes: the default one, else the first, of those that can
    be decoded (a phone's sound in space can't); None of none."""
    default = av.stream.Disposition.default
    known = decodable(streams)
    return next((s for s in known if s.disposition & default), next(iter(known), None))


def decodable(streams) -> list:
    """Those for which there is a decoder."""
    return [stream for stream in streams if stream.codec_context is not None]


def picture_of(container):
    """The stream of pictures of a container, None where it has none: a text file passes
    for a picture of characters (ffmpeg's tty decoder), a cover is none."""
    if container.format.name == "tty":
        return None
    cover = av.stream.Disposition.attached_pic
    return default_of([s for s in container.streams.video if not s.disposition & cover])


def rate_of(stream) -> Fraction:
    """How many pictures a second a stream has, as far as it says."""
    rate = stream.average_rate or FPS
    return Fraction(rate if rate <= _FASTEST else FPS)


def must_be_most(count: int, stream, lacking: Callable[[str], None]) -> None:
    """Tells `lacking` where a stream has `count` pictures, and promises more."""
    promised = stream.frames
    if stream.duration:
        # Of a clip that was trimmed without coding it anew more are there than are shown.
        shown = int(stream.duration * stream.time_base * rate_of(stream))
        promised = min(promised, shown)
    if 0 < count < 0.98 * promised - 2:
        lacking(f"truncated: {count} of {promised} frames are there")


def packets(container, stream, lacking: Callable[[str], None]) -> Iterator[av.Packet]:
    """The packets of a stream; `lacking` is told in words where the file ends before it
    says that it does, or in the middle of one.

    Of a Matroska file, which promises the length of all, not of each stream, the others'
    packets count, too.
    """
    ends, last = 0.0, None
    for packet in container.demux():
        if packet.pts is not None:
            until = packet.pts + (packet.duration or 0)
            ends, last = max(ends, float(until * packet.time_base)), packet
        if packet.stream.index == stream.index:
            yield packet
    kinds = {"matroska", "mp4"} & set(container.format.name.split(","))
    said = (container.duration or 0) / av.time_base
    if "matroska" in kinds and ends < min(0.98 * said, said - _LEAST):
        lacking(f"truncated: {ends:.1f} of {said:.1f} s are there")
    elif kinds and last is not None and last.is_corrupt:
        lacking(f"truncated: it breaks off after {ends:.1f} s")
