"""Files of picture and sound, made for tests: by PyAV, or byte by byte."""

import io
import struct
from fractions import Fraction

import av
import numpy as np

RATE = 16_000
FPS = 25


def numbered(count, height=48, width=64):
    """Frames whose brightness tells their number."""
    grey = (40 + 2 * np.arange(count)).astype(np.uint8)[:, None, None, None]
    return np.zeros((count, height, width, 3), np.uint8) + grey


def number_of(frame):
    return round((float(frame.mean()) - 40) / 2)


def beep(seconds, at, rate=RATE):
    """Silence with .1 s of tone at a time (s), mono [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    inside = (time >= at) & (time < at + 0.1)
    return (0.5 * np.sin(2 * np.pi * 440 * time) * inside).astype(np.float32)


def onset(sound, rate=RATE):
    """When the tone begins (s)."""
    return np.flatnonzero(np.abs(sound) > 0.2)[0] / rate


def write(path, frames, tracks=(), *, late=0.0, group=12, codec="pcm_s16le", **options):
    """A file of frames, and of sound tracks [(channels [C, n], seconds that are skipped
    after the first; or a function: so many before a time)] whose blocks of 20 ms begin
    `late` s after the picture."""
    with av.open(f"file:{path}", "w", **options) as container:
        picture = container.add_stream(options.pop("video", "libx264"), rate=FPS)
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt = "yuv420p"
        picture.options = {"crf": "1", "g": str(group), "bf": "0", "sc_threshold": "0"}
        streams = []
        for number, (channels, _) in enumerate(tracks):
            layout = "stereo" if len(channels) == 2 else "mono"
            streams.append(container.add_stream(codec, rate=RATE, layout=layout))
            default = number == len(tracks) - 1  # the last one
            streams[-1].disposition = av.stream.Disposition(int(default))
        for frame in frames:
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        for stream, (channels, gap) in zip(streams, tracks, strict=True):
            block = RATE // 50
            for start in range(0, channels.shape[1], block):
                part = channels[:, start : start + block]
                sound = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray((32767 * part).astype("<i2").T.reshape(1, -1)),
                    "s16",
                    stream.layout.name,
                )
                sound.sample_rate = RATE
                skip = gap(start / RATE) if callable(gap) else gap * (start >= RATE)
                sound.pts = start + round(RATE * (late + skip))
                container.mux(stream.encode(sound))
            container.mux(stream.encode(None))


class Pipe(io.RawIOBase):
    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def coded(
    path, frames, codec="libx264", pixels="yuv420p", rate=FPS, times=None, **more
):
    """A file of frames [T, H, W, 3], at times [T] (ms).

    more: `prepare(container, stream)` before the first one; `shaped(av.VideoFrame)` makes
    of each what is coded; else options of the container.
    """
    prepare, shaped = more.pop("prepare", None), more.pop("shaped", lambda image: image)
    with av.open(f"file:{path}", "w", options=more) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if codec == "libx264":
            stream.options = {"crf": "1", "bf": "0", "g": "25"}
        if prepare:
            prepare(container, stream)
        for number, frame in enumerate(frames):
            image = shaped(av.VideoFrame.from_ndarray(frame, "rgb24"))
            if times is not None:
                image.pts, image.time_base = int(times[number]), Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def sounded(path, channels, codec="pcm_s16le", rate=RATE, layout="mono", starts=0.0):
    """A file of sound, channels [C, n] in [-1, 1], from a time (s) on."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        packed = np.ascontiguousarray((32767 * channels).astype("<i2").T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, "s16", layout)
        frame.sample_rate, frame.pts = rate, round(starts * rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def wav(
    samples, channels=1, bits=16, kind=1, rate=RATE, size=None, mask=None, more=b""
):
    """A wav's bytes, of packed samples that have their type.

    kind: 1 = whole numbers, 3 = floats. size: what its headers say. mask: of the channels,
    in an extensible header. more: chunks before the samples.
    """
    data, block = samples.tobytes(), channels * bits // 8
    tag = kind if mask is None else 0xFFFE
    format_ = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    if mask is not None:
        guid = bytes.fromhex("000000001000800000AA00389B71")
        format_ += struct.pack("<HHIH", 22, bits, mask, kind) + guid
    body = b"WAVEfmt " + struct.pack("<I", len(format_)) + format_ + more
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body
