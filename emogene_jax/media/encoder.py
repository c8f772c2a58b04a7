"""Who makes H.264 of a file's frames: a card's own encoder (NVENC) where PyAV and the card
have one (data-centre cards such as A100 and H100 have none), else x264."""

from fractions import Fraction

import av

from emogene_jax.media import screen
from emogene_jax.signals import FPS

NVENC = "h264_nvenc"
# Both: what is lost can't be seen.
NVENC_OPTIONS = {"rc": "constqp", "qp": "19"}
X264_OPTIONS = {"crf": "17", "preset": "veryfast"}


def add_h264(container, width: int, height: int):
    """A stream of 25 frames a second of that size (px, even), added to a container that is
    written."""
    on_card = _opens(width, height)
    picture = container.add_stream(NVENC if on_card else "libx264", rate=FPS)
    picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
    # Said, or players take a large picture for BT.709.
    picture.codec_context.colorspace = screen.BT601
    picture.options = dict(NVENC_OPTIONS if on_card else X264_OPTIONS)
    if not on_card:
        # Frames side by side, not slices of one, which is for who can't wait.
        picture.codec_context.thread_type = "FRAME"
    return picture


def _opens(width: int, height: int) -> bool:
    """Whether a card's encoder is there, takes frames of that size, and is free."""
    try:
        context = av.CodecContext.create(NVENC, "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, FPS)
        context.options = dict(NVENC_OPTIONS)
        context.open()
    except (av.error.FFmpegError, ValueError):  # ValueError: PyAV does not know it
        return False
    return True
