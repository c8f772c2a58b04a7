"""Colours of pictures that broke this or a neighbouring project: what a player shows.

untagged HD                 BT.709                 full range, BT.709  as tagged
4:4:4, 10 bit, grey, alpha  their colours          transparency        noticed
"""

import av
import numpy as np
import pytest

from emogene_jax.media.live import LiveVideo
from emogene_jax.media.video import iter_frames, video_info, write_video
from tests.media.made import FPS, RATE, coded, numbered

BARS = [(255, 255, 255), (200, 30, 30), (30, 200, 30), (30, 30, 200), (224, 172, 140)]


def bars(height=48, width=80):
    picture = np.repeat(np.array(BARS, np.uint8), width // len(BARS), 0)
    return np.tile(picture, (3, height, 1, 1))


def shown_bars(path):
    """The colours [5, 3] of the middles of the bars."""
    frame = next(iter_frames(path)).astype(int)
    step = frame.shape[1] // len(BARS)
    return frame[frame.shape[0] // 2, step // 2 :: step]


# https://github.com/numberwolf/h265web.js/pull/133
# https://github.com/PyAV-Org/PyAV/issues/2149
@pytest.mark.parametrize(
    ("matrix", "wide", "tagged", "size"),
    [
        (1, False, False, (720, 1280)),  # players take it for BT.709
        (5, False, False, (48, 80)),  # and that for BT.601
        (1, True, True, (48, 80)),
        (5, True, True, (48, 80)),
        (9, False, True, (48, 80)),
    ],
)
def test_colours_are_those_that_a_player_shows(tmp_path, matrix, wide, tagged, size):
    def prepare(_, stream):
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 1 + wide

    def shaped(image):
        return image.reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range=1 + wide
        )

    coded(tmp_path / "a.mp4", bars(*size), prepare=prepare, shaped=shaped)
    np.testing.assert_allclose(shown_bars(tmp_path / "a.mp4"), BARS, atol=4)


# https://github.com/corrscope/corrscope/issues/365
@pytest.mark.parametrize("live", [False, True])
def test_a_large_video_of_ours_comes_back_in_its_colours(tmp_path, live):
    frames = bars(640, 640)
    if live:
        with (tmp_path / "a.mp4").open("wb") as target:
            video = LiveVideo(target, 640, RATE)
            for number, frame in enumerate(frames):
                video.write(number, frame, np.zeros(RATE // FPS, np.float32))
            video.close()
    else:
        write_video(tmp_path / "a.mp4", frames)
    np.testing.assert_allclose(shown_bars(tmp_path / "a.mp4"), BARS, atol=6)


# https://github.com/heygen-com/hyperframes/issues/3220
# https://github.com/ffmpegwasm/ffmpeg.wasm/issues/621
@pytest.mark.parametrize(
    ("codec", "pixels", "end"),
    [
        ("libx264", "yuv444p", "mp4"),
        ("libx264", "yuv422p10le", "mp4"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("png", "rgba", "mov"),
        ("libvpx-vp9", "yuva420p", "webm"),
        ("mjpeg", "yuvj422p", "avi"),
        ("rawvideo", "yuyv422", "avi"),
        ("ffv1", "gray", "mkv"),
    ],
)
def test_pixels_of_any_kind(tmp_path, codec, pixels, end):
    coded(tmp_path / f"a.{end}", bars(), codec, pixels)
    found = shown_bars(tmp_path / f"a.{end}")
    grey = np.dot(BARS, [0.299, 0.587, 0.114])
    wanted = np.stack([grey] * 3, 1) if pixels == "gray" else BARS
    np.testing.assert_allclose(found, wanted, atol=5)
    assert not video_info(tmp_path / f"a.{end}")["transparent"]  # nothing is


# https://github.com/unosquare/ffmediaelement/issues/676
def test_what_can_be_seen_through_is_noticed(tmp_path):
    picture = np.full((48, 64, 4), 200, np.uint8)
    picture[:, :32, 3] = 0

    def shaped(_):
        return av.VideoFrame.from_ndarray(picture, "rgba")

    coded(tmp_path / "a.mov", numbered(3), "png", "rgba", shaped=shaped)
    assert video_info(tmp_path / "a.mov")["transparent"]
