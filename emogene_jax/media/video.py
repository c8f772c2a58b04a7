"""Videos in and out, with PyAV: any clip in at 25 fps, H.264 with sound (or lossless
FFV1) out.

Times are exact fractions of a second, counted from the first picture. Files are written
under a temporary name and moved into place when they are whole.
"""

import contextlib
import functools
import os
import queue
import threading
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emogene_jax.media import files as media
from emogene_jax.media import screen
from emogene_jax.media.encoder import add_h264
from emogene_jax.media.provenance import SYNTHETIC_TAGS, can_sign, sign
from emogene_jax.media.sound import heard
from emogene_jax.media.stretch import ALL, BACK, at_25, can_wait, decoded
from emogene_jax.media.tone import is_high_range
from emogene_jax.signals import FPS, SAMPLE_RATE, UserError

_SOUND_RATE = 48_000  # Hz of the AAC track


@contextlib.contextmanager
def _open_to_read(path):
    path = Path(path)
    media.must_be_there(path, "a video")
    with contextlib.ExitStack() as opened:
        try:
            container = opened.enter_context(media.open_media(path))
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: not a readable video ({_reason(error)}), expected e.g. a "
                "whole mp4"
            ) from None
        if media.picture_of(container) is None:
            raise UserError(f"{path}: no picture that can be decoded, expected a video")
        yield container


def _reason(error: Exception) -> str:
    if isinstance(error, StopIteration):
        return "none is there"
    return getattr(error, "strerror", None) or type(error).__name__


def video_info(path) -> dict:
    """What a clip is: width and height (as a player shows it, px), fps, seconds, rotation
    (degrees), mirrored (bool), stretched (how much wider than high its pixels are),
    high_range (bool: HLG or PQ, brought to an ordinary screen's), interlaced and
    transparent (bool), sound (bool), sound_tracks, sound_begins (s after the picture),
    frames (as the file declares them; 0 = not declared)."""
    with _open_to_read(path) as container:
        stream = media.picture_of(container)
        rate = stream.average_rate or stream.base_rate or Fraction(FPS)
        ratio = screen.pixel_ratio(stream)
        first = _first_frame(container, stream, path)
        width, height = screen.shown_size(first, ratio)
        sound = media.default_of(container.streams.audio)
        return {
            "width": width,
            "height": height,
            "fps": float(rate),
            "seconds": _seconds(container, stream),
            "rotation": int(first.rotation),
            "mirrored": bool(np.linalg.det(screen.orientation(first)) < 0),
            "stretched": round(float(ratio), 4),
            "high_range": is_high_range(stream),
            "interlaced": bool(first.interlaced_frame),
            "transparent": screen.is_transparent(first),
            "sound": sound is not None,
            "sound_tracks": len(media.decodable(container.streams.audio)),
            "sound_begins": round(_begins(sound or stream) - _begins(stream), 2),
            "frames": stream.frames,
        }


def _begins(stream) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _seconds(container, stream) -> float:
    """How long a clip is: as it says, or, where it does not (a browser's webm), by
    reading it."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return container.duration / av.time_base
    times = [
        (packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base)
        for packet in container.demux(stream)
        if packet.pts is not None
    ]
    if not times:
        return 0.0
    first, last = min(times)[0], max(times)
    return float(last[0] + (last[1] or Fraction(1, FPS)) - first)


def _first_frame(container, stream, path):
    try:
        return next(container.decode(stream))
    except (av.error.FFmpegError, StopIteration) as error:
        raise UserError(
            f"{path}: no frame can be decoded ({_reason(error)}), expected a whole video"
        ) from None


def must_be_whole(path) -> None:
    """Raises UserError where a video breaks off, which is told without decoding it."""
    with _open_to_read(path) as container:
        stream = media.picture_of(container)
        lacking = functools.partial(_lacking, path=path, whole=True)
        try:
            count = sum(p.size > 0 for p in media.packets(container, stream, lacking))
        except av.error.FFmpegError as error:
            lacking(f"damaged ({_reason(error)})")
        media.must_be_most(count, stream, lacking)


def _timed_frames(
    container, path, whole: bool = True, first: int = 0
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """(start, duration, frame) of every decodable frame, or at least of the first one and
    of those from the `first` at 25 fps on; where some lack, UserError or, if it need not
    be whole, a warning."""
    stream = media.picture_of(container)
    stream.thread_type = "AUTO"
    step = 1 / media.rate_of(stream)
    earlier, previous, count, waits = None, None, 0, 0
    lacking = functools.partial(_lacking, path=path, whole=whole)

    try:
        waits = can_wait(path, first) if first else 0
        packets = media.packets(container, stream, lacking)
        for frame in screen.whole_pictures(decoded(stream, packets, waits)):
            if frame.pts is None:
                time = count * step
            else:
                time = frame.pts * frame.time_base
            if earlier is None:
                earlier = time
            elif not -BACK < time - earlier - previous < media.MOST + first / FPS:
                now = float(previous + step)
                warnings.warn(
                    f"{path}: its clock begins anew at {now:.1f} s: taken for one "
                    "recording; sound and picture may part there",
                    stacklevel=3,
                )
                earlier = time - previous - step
            previous = time - earlier
            count += 1
            yield previous, step, frame
    except av.error.FFmpegError as error:
        what = f"damaged after {count} frames ({_reason(error)})"
        _lacking(what, path, whole or not count)
    else:
        media.must_be_most(count + waits, stream, lacking)
    if count == 0:
        raise UserError(f"{path}: 0 frames decoded, expected a video")


def _lacking(what: str, path, whole: bool) -> None:
    if whole:
        raise UserError(f"{path}: {what}, expected a whole video")
    warnings.warn(f"{path}: {what}: they are used", stacklevel=4)


def iter_frames(path, whole: bool = True, part: slice = ALL) -> Iterator[np.ndarray]:
    """The frames [H, W, 3] uint8 of a clip at 25 fps, upright, one after the other.

    Frame k is the source's picture nearest to k / 25 s: a clip of 25 fps comes out as it
    is, others drop or repeat pictures. UserError where the file is no whole video: what
    is learned from half a file is half a person, and nobody would notice. Where a clip
    is only looked at (whole=False), what can be decoded of it will do, with a warning.

    part: the frames that are wanted (stretch.py). What lies before is hardly decoded, what
    lies behind not read.
    """
    with _open_to_read(path) as container:
        shown, last = screen.Screen(media.picture_of(container), path), None
        for number, frame in at_25(_timed_frames(container, path, whole, part.start)):
            if part.stop is not None and number >= part.stop:
                return
            if 0 < number < part.start:
                continue
            if frame is not last:
                picture, last = shown(frame), frame  # the first says how large all are
            if number >= part.start:
                yield picture


def read_video(path) -> tuple[np.ndarray, float]:
    """All frames [T, H, W, 3] uint8 of a clip at 25 fps, and the rate it had (fps)."""
    rate = video_info(path)["fps"]
    return np.stack(list(iter_frames(path))), rate


def _whole(path: Path):
    """A context that gives a temporary name, moved to path if all goes well."""

    @contextlib.contextmanager
    def context():
        temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}), expected a writable place"
            ) from None
        try:
            yield temporary
            os.replace(temporary, path)
        except IsADirectoryError:
            raise UserError(f"{path}: is a folder, expected a file name") from None
        finally:
            temporary.unlink(missing_ok=True)

    return context()


def _in_thread(frames: Iterable[np.ndarray], work) -> int:
    """Feed frames to work(iterator) on a thread of its own; the number of frames.

    The caller's thread makes frame k + 1 while frame k is encoded.
    """
    waiting = queue.Queue(maxsize=8)
    failed, ended = [], []

    def arrivals():
        while (frame := waiting.get()) is not None:
            yield frame
        ended.append(True)

    def run():
        try:
            work(arrivals())
        except BaseException as error:  # handed to the caller's thread below
            failed.append(error)
            while not ended and waiting.get() is not None:
                pass

    thread = threading.Thread(target=run, name="encode", daemon=True)
    thread.start()
    count = 0
    try:
        for frame in frames:
            if failed:
                break
            waiting.put(np.asarray(frame))
            count += 1
    finally:
        waiting.put(None)
        thread.join()
    if failed:
        raise failed[0]
    return count


def _write(path, frames: Iterable[np.ndarray], encode, signed=False) -> int:
    """Feeds frames to encode(temporary file, iterator) on a thread of its own, and moves
    the file to path when it is whole, and signed; the number of frames."""
    with _whole(Path(path)) as temporary:
        count = _in_thread(frames, lambda arriving: encode(temporary, arriving))
        if count == 0:
            raise UserError(f"{path}: 0 frames to write, expected at least one")
        if signed:
            sign(temporary)
    return count


def _sound_blocks(sound, rate: int) -> Iterator[np.ndarray]:
    """Blocks [channels, samples] float32 at 48 kHz of a file or a waveform."""
    if sound is None:
        return
    if isinstance(sound, (str, Path)):
        yield from heard(sound, _SOUND_RATE, stereo=True)
    else:
        resampler = av.AudioResampler(format="fltp", rate=_SOUND_RATE)
        waveform = np.asarray(sound)
        if waveform.dtype == np.int16:
            waveform = waveform / 32768
        for start in range(0, len(waveform), rate):
            block = waveform[None, start : start + rate].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate = rate
            for out in resampler.resample(frame):
                yield out.to_ndarray().repeat(2, 0)
        for out in resampler.resample(None):
            yield out.to_ndarray().repeat(2, 0)


class _Sound:
    """Gives exactly the samples asked for, zeros after the end."""

    def __init__(self, sound, rate):
        self._blocks = _sound_blocks(sound, rate)
        self._rest = np.zeros((2, 0), np.float32)

    def take(self, samples: int) -> np.ndarray:
        while self._rest.shape[1] < samples:
            block = next(self._blocks, None)
            if block is None:
                block = np.zeros((2, samples), np.float32)
            self._rest = np.concatenate([self._rest, block], 1)
        taken, self._rest = self._rest[:, :samples], self._rest[:, samples:]
        return np.ascontiguousarray(taken)


def write_video(
    path,
    frames: Iterable[np.ndarray],
    sound=None,
    rate: int = SAMPLE_RATE,
    tags: dict | None = None,
) -> int:
    """Write an mp4 (H.264, AAC, 25 fps) and return its number of frames.

    Args:
      path: the mp4 file to write.
      frames: [H, W, 3] uint8, one after the other; encoded on another thread.
      sound: a file with sound, or a mono waveform [samples] (float in [-1, 1] or
        int16) of `rate` Hz; None = a silent track. Cut or filled with silence to the
        duration of the picture.
      tags: more metadata, beside the tags that say that the video is synthetic.
    """

    def encode(temporary, arriving):
        with av.open(
            media.place(temporary),
            "w",
            format="mp4",
            options={"movflags": "+faststart+use_metadata_tags"},
        ) as container:
            container.metadata.update(SYNTHETIC_TAGS | (tags or {}))
            picture, source = None, _Sound(sound, rate)
            for number, frame in enumerate(arriving):
                odd = [(0, side % 2) for side in frame.shape[:2]]
                frame = np.pad(frame, [*odd, (0, 0)], mode="edge")
                if picture is None:
                    picture = add_h264(container, frame.shape[1], frame.shape[0])
                    track = container.add_stream(
                        "aac", rate=_SOUND_RATE, layout="stereo"
                    )
                    track.bit_rate = 160_000
                image = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(picture.encode(image))
                block = av.AudioFrame.from_ndarray(
                    source.take(_SOUND_RATE // FPS), format="fltp", layout="stereo"
                )
                block.sample_rate = _SOUND_RATE
                block.pts = number * (_SOUND_RATE // FPS)
                container.mux(track.encode(block))
            if picture is not None:
                container.mux(picture.encode(None))
                container.mux(track.encode(None))

    return _write(path, frames, encode, can_sign())


def write_lossless(path, frames: Iterable[np.ndarray]) -> int:
    """Write an mkv (FFV1, RGB, 25 fps) that gives back every frame bit by bit.

    frames: [H, W, 3] uint8, one after the other. Returns their number.
    """

    def encode(temporary, arriving):
        with av.open(media.place(temporary), "w", format="matroska") as container:
            container.metadata.update(SYNTHETIC_TAGS)
            stream = container.add_stream("ffv1", rate=FPS)
            stream.pix_fmt = "bgr0"
            for number, frame in enumerate(arriving):
                if number == 0:
                    stream.height, stream.width = frame.shape[:2]
                # rgb24 -> bgr0 reorders bytes and nothing else.
                image = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(image.reformat(format="bgr0")))
            container.mux(stream.encode(None))

    return _write(path, frames, encode)
