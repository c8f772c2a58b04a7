"""A stretch of a video by time: its frames at 25 fps, and how to come to them without
decoding all that lies before.

A stretch is a slice of the file's frames, slice(first, stop or None).
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av

from emogene_jax.media.files import MOST, open_media, picture_of
from emogene_jax.signals import FPS, UserError

ALL = slice(0, None)
BACK = 0.5  # s by which a time stamp may lie before the last one
_SHORTEST = 2.0  # s
_ROUNDED = 1.0  # s by which an end may lie behind the file's: 4:00 of 3:59.6
# s before a stretch, at least, at which decoding begins: pictures that follow a key frame
# can lean on those before it.
_EARLIER = 1.0


def stretch_of(path, times: tuple | None, seconds: float) -> slice:
    """The frames of a file of so many seconds between two times (begin, end or None) in s.

    Raises:
        UserError: they do not lie in it, or too near each other.
    """
    if times is None:
        return ALL
    begin, end = times
    if max(begin, (end or 0) - _ROUNDED) >= seconds:
        option = f"--from {begin:g}" if begin >= seconds else f"--to {end:g}"
        raise UserError(
            f"{path}: {option} s lies behind its end, expected less than {seconds:.1f} s"
        )
    until = seconds if end is None else min(end, seconds)
    if until - begin < _SHORTEST:
        raise UserError(
            f"{path}: {until - begin:.1f} s from {begin:g} to {until:g} s, expected at "
            f"least {_SHORTEST:g} s"
        )
    return slice(round(begin * FPS), None if end is None else round(end * FPS))


def can_wait(path, first: int) -> int:
    """Of how many packets of a video's pictures those after the first picture need not be
    decoded for frames from `first` on; 0 where time stamps do not tell.

    Raises:
        av.error.FFmpegError: of what can't be decoded.
    """
    begin, waits, zero, last = Fraction(first, FPS) - _EARLIER, 0, None, None
    with open_media(path) as container:
        stream = picture_of(container)
        for number, packet in enumerate(container.demux(stream)):
            if zero is None and (pictures := packet.decode()):
                zero = pictures[0].pts
            if packet.pts is None:
                return 0
            step = packet.time_base
            now = packet.pts if packet.dts is None else packet.dts
            if last is not None and not -BACK < (now - last) * step < MOST:
                return 0
            last = now
            if zero is None:
                continue
            shown = (packet.pts - zero) * step
            if shown > begin:
                return waits
            if packet.is_keyframe:
                waits = number
    return 0


def decoded(stream, packets: Iterable[av.Packet], waits: int) -> Iterator:
    """The pictures of a stream's packets; of those that can_wait, the first ones alone."""
    begun = False
    for number, packet in enumerate(packets):
        if begun and number < waits:
            continue
        if begun and number == waits:
            stream.codec_context.flush_buffers()
        for picture in packet.decode():
            begun = True
            yield picture


def at_25(timed: Iterator[tuple]) -> Iterator[tuple[int, av.VideoFrame]]:
    """(k, the nearest to k / 25 s) of (start, duration, frame), for each k."""
    number, previous = 0, None
    for time, duration, frame in timed:
        if previous is not None:
            middle = (previous[0] + time) / 2
            while Fraction(number, FPS) <= middle:
                yield number, previous[2]
                number += 1
        previous = (time, duration, frame)
    while Fraction(2 * number + 1, 2 * FPS) <= previous[0] + previous[1]:
        yield number, previous[2]
        number += 1
