"""Frames of a stream as a player shows them: whole pictures of square pixels in a usual
screen's colours, turned and mirrored as the file says.
"""

import contextlib
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from emogene_jax.media.tone import ToneMap, is_high_range
from emogene_jax.signals import UserError

# FFmpeg's numbers of matrices: what our videos are coded with, and others.
BT601, _UNSPECIFIED, _BT709 = 6, 2, 1
_SD = 1280, 576  # px: a larger one that says nothing is BT.709, as players have it


class Screen:
    """Shows the frames of a stream of pictures; those after a change of size as large as
    the first one."""

    def __init__(self, stream, path):
        self._path, self._ratio = path, pixel_ratio(stream)
        self._tone = ToneMap(stream) if is_high_range(stream) else None
        self._first = self._size = self._turn = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """[H, W, 3] uint8.

        Raises:
            UserError: it is of another shape than the first one.
        """
        size = _square(frame, self._ratio)
        if self._first is None:
            self._first = self._size = size
            self._turn = orientation(frame)
        elif size != self._size:
            self._size = size
            self._changed(size, frame.time)
        return self._upright(frame)

    def _changed(self, size, time: float | None) -> None:
        sizes = "{} x {} to {} x {} px".format(*self._first, *size)
        what = f"{self._path}: its picture changes from {sizes} at {time or 0:.1f} s"
        if abs(self._first[0] * size[1] / (self._first[1] * size[0]) - 1) > 0.05:
            raise UserError(f"{what}, expected one shape: cut it there")
        warnings.warn(f"{what}: shown as large as it was before", stacklevel=2)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        width, height = self._first
        large = frame.width >= _SD[0] or frame.height > _SD[1]
        if frame.colorspace == _UNSPECIFIED and large and not frame.format.is_rgb:
            frame.colorspace = _BT709
        coloured = self._tone(frame) if self._tone else frame
        picture = coloured.to_ndarray(format="rgb24", width=width, height=height)
        if self._turn[0, 0] == 0:  # rows become columns
            picture = picture.swapaxes(0, 1)
        across, down = self._turn.sum(0)
        return np.ascontiguousarray(picture[:: int(down), :: int(across)])


def whole_pictures(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, and of interlaced ones, whose odd and even lines are of two moments,
    those of the first, with what lies between them made up."""
    graph, size = None, None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if size != (frame.width, frame.height):
            yield from _last(graph)
            graph, size = _deinterlacer(frame), (frame.width, frame.height)
        graph.push(frame)
        yield from _pulled(graph)
    yield from _last(graph)


def _deinterlacer(frame: av.VideoFrame):
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    for one, other in zip(steps, steps[1:]):
        one.link_to(other)
    graph.configure()
    return graph


def _pulled(graph) -> Iterator[av.VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()


def _last(graph) -> Iterator[av.VideoFrame]:
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def is_transparent(frame: av.VideoFrame) -> bool:
    """Whether something would be seen through a frame."""
    if not any(part.is_alpha for part in frame.format.components):
        return False
    return bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


def shown_size(frame: av.VideoFrame, ratio: Fraction) -> tuple[int, int]:
    """(width, height) px of a frame as a Screen shows it."""
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
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not all that FFmpeg keeps beside a frame (Exif)
        return _turn_by(frame.rotation)
    if found is None:
        return np.eye(2, dtype=int)
    matrix = np.frombuffer(bytes(found), np.int32).reshape(3, 3)[:2, :2] / (1 << 16)
    if abs(matrix[0, 0]) + abs(matrix[1, 1]) >= abs(matrix[0, 1]) + abs(matrix[1, 0]):
        return np.diag(np.where(matrix[[0, 1], [0, 1]] < 0, -1, 1))
    turned = np.zeros((2, 2), int)
    turned[[0, 1], [1, 0]] = np.where(matrix[[0, 1], [1, 0]] < 0, -1, 1)
    return turned


def _turn_by(degrees: int) -> np.ndarray:
    """orientation of a counter-clockwise turn, to the next quarter."""
    turn = np.array([[0, -1], [1, 0]])
    return np.linalg.matrix_power(turn, round(degrees / 90) % 4)
