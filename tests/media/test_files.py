"""Files as people have them: what a player would show and play is what is seen and heard.

Each is one case of a kind that was reported of this or a neighbouring project, made here.
"""

from fractions import Fraction

import av
import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.media.video import iter_frames, read_video, video_info, write_video
from tests.media.made import FPS, RATE, Pipe, beep, number_of, numbered, onset, write


@pytest.mark.parametrize("late", [0.8, 0.0])
def test_late_sound_is_late_in_what_is_heard_and_in_what_is_made(tmp_path, late):
    source = tmp_path / "late.mkv"
    write(source, numbered(75), [(beep(2, 0.5)[None], 0)], late=late)
    assert onset(load_audio(source)) == pytest.approx(0.5 + late, abs=0.01)
    write_video(tmp_path / "out.mp4", numbered(75), source)
    made = load_audio(tmp_path / "out.mp4")
    assert onset(made) == pytest.approx(0.5 + late, abs=0.03)
    assert len(made) / RATE == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("end", ["mkv", "mp4", "ts"])
def test_a_gap_in_the_sound_is_silence(tmp_path, end):
    """All that follows stays where its time stamps put it."""
    source = tmp_path / f"gap.{end}"
    codec = "pcm_s16le" if end == "mkv" else "aac"
    # The second second comes 1.5 s later.
    write(source, numbered(100), [(beep(2, 1.5)[None], 1.5)], codec=codec)
    sound = load_audio(source)
    assert onset(sound) == pytest.approx(3.0, abs=0.08)
    assert np.abs(sound[int(1.2 * RATE) : int(2.4 * RATE)]).max() < 1e-3


@pytest.mark.parametrize("end", ["mkv", "mp4"])
def test_small_gaps_add_up(tmp_path, end):
    """A recording that was joined of parts: .03 s are missing at each of twenty joints."""
    sound = beep(3, 2.5)[None], lambda time: 0.03 * int(10 * min(time, 2))
    codec = "pcm_s16le" if end == "mkv" else "aac"
    write(tmp_path / f"a.{end}", numbered(100), [sound], codec=codec)
    heard = load_audio(tmp_path / f"a.{end}")
    assert onset(heard) == pytest.approx(3.1, abs=0.08)
    assert len(heard) / RATE == pytest.approx(3.6, abs=0.1)


def test_the_default_track_is_heard(tmp_path):
    silent, speech = np.zeros((1, 2 * RATE), np.float32), beep(2, 1.0)[None]
    write(tmp_path / "two.mkv", numbered(50), [(silent, 0), (speech, 0)])
    assert onset(load_audio(tmp_path / "two.mkv")) == pytest.approx(1.0, abs=0.01)
    assert video_info(tmp_path / "two.mkv")["sound_tracks"] == 2
    write_video(tmp_path / "out.mp4", numbered(50), tmp_path / "two.mkv")
    assert onset(load_audio(tmp_path / "out.mp4")) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ["happy:0.9.mp4", "take:%03d.mp4", "10:30:15.mp4"])
def test_a_name_is_a_name(tmp_path, name):
    path = tmp_path / name
    write_video(path, numbered(10), beep(0.4, 0.1))
    assert len(read_video(path)[0]) == 10
    assert onset(load_audio(path)) == pytest.approx(0.1, abs=0.03)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_stream_cut_inside_a_group_keeps_its_time(tmp_path):
    """The first picture that can be shown comes a second after the first sound."""
    source = tmp_path / "whole.ts"
    write(source, numbered(100), [(beep(4, 3.0)[None], 0)], group=50, codec="aac")
    data = source.read_bytes()
    with av.open(str(source)) as container:
        places = [p.pos for p in container.demux(video=0) if p.pos and p.is_keyframe]
    start = (places[1] + places[0]) // 2 // 188 * 188
    (tmp_path / "cut.ts").write_bytes(data[start:])
    frames = list(iter_frames(tmp_path / "cut.ts", whole=False))
    first = number_of(frames[0])
    assert first >= 50
    heard = onset(load_audio(tmp_path / "cut.ts"))
    assert heard == pytest.approx(3.0 - first / FPS, abs=0.08)


def test_a_mirrored_picture_is_shown_mirrored(tmp_path):
    frames = numbered(4)
    frames[:, :, :32] = 250  # bright on the left
    write(tmp_path / "a.mp4", frames)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 4] = (-(1 << 16)).to_bytes(4, signed=True)
    (tmp_path / "b.mp4").write_bytes(data)
    shown = next(iter_frames(tmp_path / "b.mp4"))
    assert shown.shape == (48, 64, 3)
    assert shown[:, 40:].mean() > 200 > shown[:, :24].mean()
    info = video_info(tmp_path / "b.mp4")
    assert info["mirrored"] and not video_info(tmp_path / "a.mp4")["mirrored"]


def test_pixels_become_square(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in numbered(4, 64, 48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    assert next(iter_frames(tmp_path / "a.mp4")).shape == (64, 64, 3)
    info = video_info(tmp_path / "a.mp4")
    assert (info["width"], info["height"]) == (64, 64)
    assert info["stretched"] == pytest.approx(4 / 3, abs=1e-3)


def test_a_clip_trimmed_without_coding_it_anew_is_whole(tmp_path):
    """Frames before its edit list's start are there, and not shown."""
    write(tmp_path / "whole.mp4", numbered(100), group=250)
    with (
        av.open(str(tmp_path / "whole.mp4")) as source,
        av.open(str(tmp_path / "trim.mp4"), "w") as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                earlier = round(1.6 / packet.time_base)
                packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
                packet.stream = copy
                target.mux(packet)
    frames = list(iter_frames(tmp_path / "trim.mp4"))
    assert number_of(frames[0]) == 40 and len(frames) == 60


def test_a_browsers_recording_is_as_long_as_it_is(tmp_path):
    """It is written as it comes: no length stands in it."""

    pipe = Pipe()
    with av.open(pipe, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in numbered(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "browser.webm").write_bytes(pipe.data)
    assert video_info(tmp_path / "browser.webm")["seconds"] == pytest.approx(2, abs=0.1)
    assert len(list(iter_frames(tmp_path / "browser.webm"))) == 50


def test_opposite_channels_are_heard(tmp_path):
    tone = beep(1, 0.4)
    for name, other in (("opposite", -tone), ("same", tone), ("none", 0 * tone)):
        write(tmp_path / f"{name}.mkv", numbered(25), [(np.stack([tone, other]), 0)])
    loud = {
        name: np.abs(load_audio(tmp_path / f"{name}.mkv")).max()
        for name in ("opposite", "same", "none")
    }
    assert loud["opposite"] == pytest.approx(loud["same"], rel=0.01)
    assert loud["none"] == pytest.approx(loud["same"] / 2, rel=0.01)


@pytest.mark.parametrize("kind", ["file", "waveform"])
def test_mono_speech_keeps_its_level(tmp_path, kind):
    tone = beep(1, 0.4)
    write(tmp_path / "mono.mkv", numbered(25), [(tone[None], 0)])
    sound = tmp_path / "mono.mkv" if kind == "file" else tone
    write_video(tmp_path / "out.mp4", numbered(25), sound)
    made = load_audio(tmp_path / "out.mp4")
    inside = slice(int(0.42 * RATE), int(0.48 * RATE))
    assert made[inside].std() == pytest.approx(tone[inside].std(), rel=0.05)
