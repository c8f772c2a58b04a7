"""Videos in and out: times, turns, sound, losslessness and bad input."""

import time

import av
import numpy as np
import pytest

from emogene_jax.media.video import (
    iter_frames,
    must_be_whole,
    read_video,
    video_info,
    write_lossless,
    write_video,
)
from emogene_jax.signals import UserError


def counting_frames(count, height=48, width=64):
    """Frames whose brightness tells their number."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    return frames + (40 + 3 * np.arange(count)).astype(np.uint8)[:, None, None, None]


def number_of(frame):
    return round((float(frame.mean()) - 40) / 3)


def write_at(path, frames, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "1"}
        for frame in frames:
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("rate", [25, 30, 50, 12])
def test_frame_k_is_the_picture_nearest_in_time(tmp_path, rate):
    write_at(tmp_path / "a.mp4", counting_frames(60), rate)
    numbers = [number_of(frame) for frame in iter_frames(tmp_path / "a.mp4")]
    assert len(numbers) == round(60 / rate * 25)
    wanted = np.minimum(np.arange(len(numbers)) / 25, 59 / rate)
    assert np.abs(np.array(numbers) / rate - wanted).max() <= 0.5 / rate + 1e-9


def test_lossless_is_bit_exact_at_odd_sizes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 33, 47, 3), np.uint8)
    assert write_lossless(tmp_path / "a.mkv", iter(frames)) == 5
    again, rate = read_video(tmp_path / "a.mkv")
    np.testing.assert_array_equal(again, frames)
    assert rate == 25


@pytest.mark.parametrize("seconds", [0.3, 2.5])
def test_sound_is_cut_or_filled_to_the_picture(tmp_path, seconds):
    time = np.arange(int(16_000 * seconds)) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    write_video(tmp_path / "a.mp4", counting_frames(30), tone, rate=16_000)
    with av.open(str(tmp_path / "a.mp4")) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert float(picture.duration * picture.time_base) == pytest.approx(1.2)
        assert float(sound.duration * sound.time_base) == pytest.approx(1.2, abs=0.03)
        wave = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
    block = 960  # samples: 20 ms
    loud = np.abs(wave[0][: wave.shape[1] // block * block].reshape(-1, block)).max(1)
    assert (loud > 0.2).sum() * block / 48_000 == pytest.approx(
        min(seconds, 1.2), abs=0.07
    )


def test_sound_of_a_file_and_tags(tmp_path):
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32)
    write_video(tmp_path / "a.mp4", counting_frames(25), tone)
    write_video(
        tmp_path / "b.mp4", counting_frames(25), tmp_path / "a.mp4", tags={"title": "x"}
    )
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.metadata["ai_generated"] == "true"
        assert container.metadata["title"] == "x"
        wave = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
    assert np.abs(wave).max() > 0.5


def test_silent_video_has_a_sound_track(tmp_path):
    write_video(tmp_path / "a.mp4", counting_frames(10, 31, 33))
    info = video_info(tmp_path / "a.mp4")
    assert info["sound"] and (info["width"], info["height"]) == (34, 32)
    head = (tmp_path / "a.mp4").read_bytes()[:4096]
    assert b"moov" in head  # faststart: the index comes first


def test_rotation_is_honoured(tmp_path):
    frames = counting_frames(4)
    frames[:, :24] = 250  # bright above, where the camera was upright
    write_at(tmp_path / "a.mp4", frames, 25)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one, none = (1 << 16).to_bytes(4), bytes(4)
    minus = (-(1 << 16)).to_bytes(4, signed=True)
    turned = none + one + none + minus + none  # a quarter turn clockwise
    data[at : at + 20] = turned
    (tmp_path / "b.mp4").write_bytes(data)
    upright = next(iter_frames(tmp_path / "b.mp4"))
    assert upright.shape == (64, 48, 3)
    assert upright[:, 30:].mean() > 200 > upright[:, :18].mean()
    assert video_info(tmp_path / "b.mp4")["width"] == 48


def test_bad_input_is_told_in_one_line(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "text.txt").write_text("not a video\n" * 50)
    write_video(tmp_path / "good.mp4", counting_frames(50))
    good = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) * 2 // 3])
    write_at(tmp_path / "late.mp4", counting_frames(50), 25)
    late = (tmp_path / "late.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(late[: len(late) // 2])
    for name, found in (
        ("missing.mp4", "no such file"),
        ("empty.mp4", "0 bytes"),
        ("text.mp4", "not a readable"),
        ("text.txt", "picture"),
        ("cut.mp4", "cut.mp4"),
        ("headless.mp4", "not a readable"),
    ):
        with pytest.raises(UserError, match=found) as error:
            read_video(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_what_is_left_of_a_damaged_clip_can_be_looked_at(tmp_path):
    write_video(tmp_path / "good.mp4", counting_frames(400))
    good = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) * 3 // 4])
    with pytest.warns(UserWarning, match="cut.mp4"):
        frames = list(iter_frames(tmp_path / "cut.mp4", whole=False))
    assert 5 < len(frames) < 400
    assert [number_of(frame) for frame in frames[:5]] == list(range(5))
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    with pytest.raises(UserError, match="not a readable"):
        list(iter_frames(tmp_path / "text.mp4", whole=False))


@pytest.mark.parametrize("end", ["mp4", "mkv"])
def test_a_video_that_breaks_off_is_told_without_decoding_it(tmp_path, end):
    whole, cut = tmp_path / f"whole.{end}", tmp_path / f"cut.{end}"
    (write_video if end == "mp4" else write_lossless)(whole, counting_frames(100))
    must_be_whole(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=rf"cut\.{end}: (truncated|damaged)"):
        must_be_whole(cut)


def test_nothing_is_left_where_writing_fails(tmp_path):
    def broken():
        yield from counting_frames(3)
        raise RuntimeError("renderer")

    with pytest.raises(RuntimeError, match="renderer"):
        write_video(tmp_path / "a.mp4", broken())
    with pytest.raises(UserError, match="0 frames"):
        write_video(tmp_path / "a.mp4", [])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_video(tmp_path / "file" / "a.mp4", counting_frames(3))
    (tmp_path / "file").unlink()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match="folder"):
        write_lossless(tmp_path / "folder.mp4", counting_frames(3))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_failing_encoder_stops_the_renderer(tmp_path):
    made = []

    def endless():
        while True:
            made.append(1)
            yield np.zeros((48, 64, 3), np.uint8) if len(made) < 5 else "no frame"

    with pytest.raises(Exception):  # noqa: B017 - whatever the encoder says
        write_video(tmp_path / "a.mp4", endless())
    assert len(made) < 200 and not list(tmp_path.iterdir())


def test_an_encoder_that_fails_at_its_end_does_not_hang(tmp_path):
    def vanishing():
        for _ in range(5):
            yield np.zeros((16, 16, 3), np.uint8)
        time.sleep(0.2)
        for part in tmp_path.iterdir():  # the whole file is read again at the end
            part.unlink()

    with pytest.raises((FileNotFoundError, av.error.FFmpegError)):
        write_video(tmp_path / "a.mp4", vanishing())
    assert not list(tmp_path.iterdir())
