"""The sound of a file as a player plays it: of the default track, on the clock of its
pictures (files.py), in one or two channels.
"""

import os
import warnings
from collections.abc import Iterator
from itertools import chain

import av
import numpy as np

from emogene_jax.media.files import MOST, default_of, open_media, packets, picture_of
from emogene_jax.signals import UserError

_TELEPHONE = 8000  # Hz
_GAP = 0.05  # s by which a time stamp may be off before it means something
_LACKING = 0.5  # s that a file may promise and not hold
_KNOWS = {"mp4", "wav", "avi", "aiff", "au"}  # formats that know how long a track is
_UNKNOWN = 0x7FFFF000  # bytes: a wav's header of a length that nobody knew
_SILENT = 1e-3  # a channel's energy over the loudest one's: nobody speaks into it
# Left and right of what is played of other loudspeakers (ITU-R BS.775).
_HALF = 0.5**0.5
_MIX = {
    **{"FL": (1, 0), "FR": (0, 1), "FC": (_HALF, _HALF), "LFE": (0, 0)},
    **{"BL": (_HALF, 0), "BR": (0, _HALF), "SL": (_HALF, 0), "SR": (0, _HALF)},
}


def heard(path, rate: int, stereo: bool = False) -> Iterator[np.ndarray]:
    """The sound of a file, [channels, samples] float32 at `rate` Hz, from the clock's zero
    on: silent where it begins later, without what came earlier; gaps are silent.

    Args:
        stereo: two channels, a single one twice; else one or two, as there are.

    Raises:
        UserError: there is no sound, or less than the file promises.
        av.error.FFmpegError: of what can't be decoded.
    """
    zero = _first_picture(path)
    with open_media(path) as container:
        stream = default_of(container.streams.audio)
        if stream is None:
            raise UserError(f"{path}: no sound track that can be decoded, expected one")
        if stream.rate <= _TELEPHONE:
            warnings.warn(
                f"{path}: its sound has {stream.rate} Hz only: s and f are hardly heard "
                "in it",
                stacklevel=2,
            )
        promised, seconds = _promised(container, stream, path), 0.0
        for piece in _on_the_clock(_frames(container, stream, path), zero, rate):
            seconds += piece.shape[1] / rate
            yield piece.repeat(2, 0) if stereo and len(piece) == 1 else piece
    if seconds < promised - _LACKING:
        raise UserError(
            f"{path}: truncated, {seconds:.1f} s of sound where {promised:.1f} s are "
            "promised"
        )


def _first_picture(path) -> float | None:
    """The time (s) of the first picture that can be decoded; None where there is none."""
    with open_media(path) as container:
        # A text file passes for a picture of characters (ffmpeg's tty decoder).
        if container.format.name == "tty":
            raise UserError(f"{path}: not media, expected an audio or video file")
        stream = picture_of(container)
        if stream is None:
            return None
        try:
            frame = next(container.decode(stream))
        except (av.error.FFmpegError, StopIteration):
            return None
        return frame.time


def _promised(container, stream, path) -> float:
    """How many seconds of sound after the clock's zero a file promises, which knows its
    length; 0 of others."""
    if said := _lost_bytes(path):
        return said * 8 / stream.codec_context.bit_rate
    names, start = set(container.format.name.split(",")), stream.start_time or 0
    # An mp3 knows it where its first frame tells it, and with it what it begins with.
    if not stream.duration or not (names & _KNOWS or ("mp3" in names and start)):
        return 0.0
    zero, picture = start * stream.time_base, picture_of(container)
    if picture is not None:
        zero = (picture.start_time or 0) * picture.time_base
    return float((start + stream.duration) * stream.time_base - zero)


def _lost_bytes(path) -> int:
    """How many bytes a wav says it has, where it has fewer (FFmpeg then takes those that
    there are for all); 0: it has them, or does not say how many."""
    with open(path, "rb") as file:
        head = file.read(12)
    said = 8 + int.from_bytes(head[4:8], "little")
    known = head[:4] == b"RIFF" and head[8:] == b"WAVE" and said < _UNKNOWN
    return said if known and said > os.stat(path).st_size else 0


def _frames(container, stream, path) -> Iterator[av.AudioFrame]:
    def lacking(what: str):
        raise UserError(f"{path}: {what}, expected a whole file")

    for packet in packets(container, stream, lacking):
        yield from packet.decode()


def _on_the_clock(frames, zero: float | None, rate: int) -> Iterator[np.ndarray]:
    """[1 or 2, samples] at `rate` Hz of frames, from a time (s) on; None: the first's."""
    first = next(frames, None)
    if first is None:
        return
    late = 0.0 if zero is None or first.time is None else first.time - zero
    late = late if abs(late) < MOST else 0.0  # a time stamp that is broken
    yield from _silence(round(late * rate), rate)
    skip = max(0, round(-late * rate))
    for piece in _without_gaps(chain([first], frames), rate):
        yield piece[:, skip:]
        skip = max(0, skip - piece.shape[1])


def _without_gaps(frames, rate: int) -> Iterator[np.ndarray]:
    """[1 or 2, samples] at `rate` Hz of frames, silent where time stamps leave a gap."""
    mixer = ends = kind = None
    for frame in frames:
        # Without time stamps they come one after the other.
        begins = (ends or 0.0) if frame.time is None else frame.time
        ends = begins if ends is None or begins - ends >= MOST else ends
        # Small ones add up: an hour that was joined of parts lost 8 s.
        gap = begins - ends if begins - ends > _GAP else 0.0
        found = frame.format.name, frame.layout.name, frame.sample_rate
        if gap or found != kind:  # a stream's channels can become others
            if mixer:
                yield from mixer.mixed(None)
            yield from _silence(round(gap * rate), rate)
            mixer, kind = _Mixer(frame.layout, rate), found
        ends += gap + frame.samples / frame.sample_rate
        yield from mixer.mixed(frame)
    if mixer:
        yield from mixer.mixed(None)


def _silence(samples: int, rate: int) -> Iterator[np.ndarray]:
    for start in range(0, samples, rate):
        yield np.zeros((1, min(rate, samples - start)), np.float32)


class _Mixer:
    """Frames of one kind -> [1 or 2, samples] at a rate: more channels become what a
    player makes of them for two; those without names, the mean of all that sound."""

    def __init__(self, layout: av.AudioLayout, rate: int):
        # Packed: of more than seven planes PyAV 18 reads memory that is not there.
        self._resampler = av.AudioResampler("flt", None, rate)
        self._channels = layout.nb_channels
        names = [channel.name for channel in layout.channels]
        self._weights = None
        if all(name in _MIX for name in names):
            self._weights = np.array([_MIX[name] for name in names], np.float32).T
        self._energy = np.zeros(self._channels)

    def mixed(self, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
        """What there is of the next frame; of None, what the resampler still holds."""
        for part in self._resampler.resample(frame):
            samples = part.to_ndarray().reshape(-1, self._channels).T
            yield samples if self._channels < 3 else self._in_two(samples)

    def _in_two(self, samples: np.ndarray) -> np.ndarray:
        if self._weights is not None:
            return self._weights @ samples
        self._energy += np.square(samples, dtype=np.float64).sum(1)
        sounds = self._energy >= _SILENT * self._energy.max()
        return samples[sounds].mean(0, keepdims=True).repeat(2, 0)
