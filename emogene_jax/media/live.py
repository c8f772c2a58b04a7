"""A video that is shown while it is written: fragmented mp4, a fragment a frame, to
anything that can be written to."""

from fractions import Fraction

import av
import numpy as np

from emogene_jax.media.provenance import SYNTHETIC_TAGS
from emogene_jax.media.screen import BT601
from emogene_jax.signals import FPS

SOUND_RATE = 48_000  # Hz of the AAC track
KEY_EVERY = FPS  # frames: whoever comes later sees something within a second


class LiveVideo:
    """H.264 and AAC, as they come, into `target`, which has write(bytes) and need not
    seek.

    Args:
        size: px of the square picture, even.
        rate: Hz of the sound.
    """

    def __init__(self, target, size: int, rate: int):
        self._rate = rate
        self._container = av.open(
            _Writes(target),
            "w",
            format="mp4",
            options={
                # Not frag_every_frame, which shows all pictures one later.
                "movflags": "delay_moov+default_base_moof+use_metadata_tags",
                "frag_duration": str(1_000_000 // FPS),
                "flush_packets": "1",
            },
        )
        self._container.metadata.update(SYNTHETIC_TAGS)
        self._picture = self._container.add_stream("libx264", rate=FPS)
        self._picture.width = self._picture.height = size
        self._picture.pix_fmt = "yuv420p"
        self._picture.codec_context.colorspace = BT601
        self._picture.options = {
            "crf": "20",
            "preset": "veryfast",
            "tune": "zerolatency",
            "g": str(KEY_EVERY),
        }
        self._sound = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._sound.bit_rate = 96_000
        self._resampler = av.AudioResampler("fltp", "mono", SOUND_RATE)

    def write(self, number: int, frame: np.ndarray | None, sound: np.ndarray) -> None:
        """Frame `number`, uint8 [H, W, 3], or None: the one before stays; and its sound,
        [rate / 25] float32."""
        if frame is not None:
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            image.pts, image.time_base = number, Fraction(1, FPS)
            self._container.mux(self._picture.encode(image))
        block = av.AudioFrame.from_ndarray(
            np.clip(sound, -1, 1)[None], format="fltp", layout="mono"
        )
        block.sample_rate, block.time_base = self._rate, Fraction(1, self._rate)
        block.pts = number * (self._rate // FPS)
        for part in self._resampler.resample(block):
            self._container.mux(self._sound.encode(part))

    def close(self) -> None:
        """Writes what the encoders still hold."""
        for part in self._resampler.resample(None):
            self._container.mux(self._sound.encode(part))
        self._container.mux(self._picture.encode(None))
        self._container.mux(self._sound.encode(None))
        self._container.close()


class _Writes:
    """Nothing but write: PyAV then seeks nowhere."""

    def __init__(self, target):
        self.write = target.write
