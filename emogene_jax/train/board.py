"""TensorBoard: scalars and pictures in an event file, without TensorFlow.

TensorBoard's own writers import TensorFlow where it is installed (seconds, a gigabyte,
and it would take the GPU's memory), so this uses only its record format and messages.
Without tensorboard, that is said once and nothing is written.
"""

import io
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from emogene_jax.landmarks import CONTOURS
from emogene_jax.signals import FPS, UserError, eye_distance

PAPER, INK, BLUE = (255, 255, 255), (60, 60, 60), (20, 90, 200)


class Board:
    """An event file in `folder`; what an earlier run logged after `step` is void."""

    def __init__(self, folder: Path, step: int = 0):
        self._file = None
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            print("tensorboard is not installed: no curves", file=sys.stderr)
            return
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        self._file = open(folder / f"{name}.{os.getpid()}", "ab")
        self._records = RecordWriter(self._file)
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._write(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=step, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        if self._file is None:
            return
        entries = [
            self._summary.Value(tag=tag, simple_value=float(value))
            for tag, value in values.items()
        ]
        self._write(step=step, summary=self._summary(value=entries))

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Adds pictures, uint8 [H, W, 3], or moving ones at 25 fps, [T, H, W, 3]."""
        if self._file is None:
            return
        entries = []
        for tag, picture in pictures.items():
            height, width = picture.shape[-3:-1]
            image = self._summary.Image(
                height=height,
                width=width,
                colorspace=3,
                encoded_image_string=_encode(np.asarray(picture)),
            )
            entries.append(self._summary.Value(tag=tag, image=image))
        self._write(step=step, summary=self._summary(value=entries))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, **fields) -> None:
        event = self._event(wall_time=time.time(), **fields)
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:  # a full disk: Python does not name the file
            raise UserError(f"{self._file.name}: {error.strerror}") from error


def _encode(picture: np.ndarray) -> bytes:
    """A PNG of [H, W, 3], an animated GIF of [T, H, W, 3]."""
    out = io.BytesIO()
    if picture.ndim == 3:
        Image.fromarray(picture).save(out, "PNG")
    else:
        first, *rest = (Image.fromarray(frame).quantize(16) for frame in picture)
        options = {"duration": 1000 // FPS, "loop": 0}  # ms a frame, without end
        first.save(out, "GIF", save_all=True, append_images=rest, **options)
    return out.getvalue()


def motion_video(
    rest: np.ndarray, true: np.ndarray, made: np.ndarray, side: int = 192
) -> np.ndarray:
    """A face of lines that does the true motion, beside one that does what was made.

    Args:
      rest: landmarks [68, 3] of any face, cm.
      true, made: motion [T, 204] or [T, 68, 3], eye distances.
      side: of each half, px.

    Returns:
      uint8 [T, side, 2 side, 3].
    """
    rest = rest / eye_distance(rest)
    middle = (rest.min(0) + rest.max(0)) / 2
    scale = side / (1.25 * np.ptp(rest[:, :2], axis=0).max())
    halves = []
    for motion, colour, label in ((true, INK, "true"), (made, BLUE, "made")):
        points = rest + np.asarray(motion).reshape(len(motion), 68, 3) - middle
        points = points[..., :2] * (scale, -scale) + side / 2
        halves.append([_line_face(face, side, colour, label) for face in points])
    return np.concatenate(halves, axis=2)


def _line_face(points: np.ndarray, side: int, colour: tuple, label: str) -> np.ndarray:
    """Points [68, 2] in px, joined to a face; [side, side, 3]."""
    picture = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(picture)
    for part, closed in CONTOURS:
        line = [tuple(point) for point in points[part]]
        draw.line(line + line[:1] * closed, colour, 2)
    draw.text((4, 2), label, colour)
    return np.asarray(picture)


def heatmap(values: np.ndarray, zoom: int = 4) -> np.ndarray:
    """A picture uint8 [H, W, 3] of values [rows, columns]: blue below 0, red above."""
    values = np.asarray(values, np.float32)
    values = np.clip(values / max(np.quantile(np.abs(values), 0.99), 1e-9), -1, 1)
    fade = 1 - np.abs(values)
    picture = np.stack(
        [np.where(values > 0, 1, fade), fade, np.where(values < 0, 1, fade)], -1
    )
    return (255 * picture).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """{tag: [(step, value)]} of the scalars in the event files of `folder`."""
    from tensorboard.compat.proto import event_pb2

    curves: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place + 12 <= len(data):
            # A record: its length (8 bytes), a checksum (4), the message, a checksum.
            length = int.from_bytes(data[place : place + 8], "little")
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: sorted(points.items()) for tag, points in curves.items()}
