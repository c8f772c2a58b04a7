"""Pictures and containers that broke this or a neighbouring project, made small.

Each test names the public report of its kind. Right is what a player shows, or one clear
line before anything takes long:

    interlaced                  made whole             sizes that change   as the first
    a shape that turns          refused                a clock that resets goes on
    a time 26 h ahead           goes on                1000 fps by name    by time stamps
    1 and 240 fps               by time stamps         fragments           whole, or refused
    cut short mkv, webm, mp4    refused                growing             refused
    a cover before the picture  not the picture        timecode track      not decoded
    Exif beside a frame         turned                 turned 180, 270     turned
    gif, apng                   as videos
    no decoder                  refused                a list of files     refused
    a pipe, a broken link       refused                a strange name      a name
"""

import os
import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emogene_jax.media.video import iter_frames, read_video, video_info, write_video
from emogene_jax.signals import UserError
from tests.media.made import FPS, beep, coded, number_of, numbered, write


def numbers(path):
    """The numbers of the frames as they are shown, to one (coding rounds)."""
    return np.array([number_of(frame) for frame in iter_frames(path)])


def alike(found, wanted):
    return len(found) == len(wanted) and np.abs(found - np.asarray(wanted)).max() <= 1


# https://github.com/vllm-project/vllm/pull/47853
# https://github.com/olivierfriard/BORIS/issues/596
def test_interlaced_pictures_are_made_whole(tmp_path):
    """A bar moves by 4 px between the odd and the even lines of a picture."""
    fields = np.full((50, 96, 128, 3), 60, np.uint8)
    for number, field in enumerate(fields):
        left = min(2 * number, 80)
        field[:, left : left + 24] = 220
    frames = fields[::2].copy()
    frames[:, 1::2] = fields[1::2, 1::2]

    def prepare(_, stream):
        stream.options = {"crf": "4", "x264-params": "tff=1:bframes=0"}

    coded(tmp_path / "a.mp4", frames, prepare=prepare)
    assert video_info(tmp_path / "a.mp4")["interlaced"]
    seen, _ = read_video(tmp_path / "a.mp4")
    assert len(seen) == 25

    def combs(pictures):
        lines = pictures[5:20, 40:56, :, 0].astype(float)
        return np.abs(lines[:, ::2] - lines[:, 1::2]).mean()

    assert combs(seen) < 0.2 * combs(frames)
    coded(tmp_path / "b.mp4", numbered(5))
    assert not video_info(tmp_path / "b.mp4")["interlaced"]


# https://github.com/OpenShot/libopenshot/issues/382
# https://github.com/ant-media/Ant-Media-Server/issues/4577
@pytest.mark.parametrize("other", [(96, 128), (64, 48)], ids=["larger", "turned"])
def test_a_size_that_changes(tmp_path, other):
    coded(tmp_path / "one.ts", numbered(25))
    second = numbered(50, *other)[25:]
    coded(tmp_path / "two.ts", second, times=1000 + 40 * np.arange(25))
    parts = [(tmp_path / name).read_bytes() for name in ("one.ts", "two.ts")]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    if other == (64, 48):
        with pytest.raises(UserError, match=r"64 x 48 to 48 x 64 px at 1\.0 s"):
            list(iter_frames(tmp_path / "both.ts"))
        return
    with pytest.warns(UserWarning, match=r"64 x 48 to 128 x 96 px at 1\.0 s"):
        frames = list(iter_frames(tmp_path / "both.ts"))
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert alike([number_of(frame) for frame in frames], np.arange(50))


# https://github.com/FFMS/ffms2/issues/258
# https://github.com/popcornmix/omxplayer/issues/378
def test_recordings_that_were_joined_byte_by_byte(tmp_path):
    coded(tmp_path / "one.ts", numbered(30))
    (tmp_path / "two.ts").write_bytes((tmp_path / "one.ts").read_bytes() * 2)
    with pytest.warns(UserWarning, match=r"clock begins anew at 1\.2 s"):
        found = numbers(tmp_path / "two.ts")
    assert alike(found, np.tile(np.arange(30), 2))


# A wrapped 33-bit clock: https://github.com/small-teton/mpeg-ts-analyzer/issues/22
def test_a_clock_that_jumps_by_a_day_is_no_day_of_pictures(tmp_path):
    times = 40 * np.arange(50) + 95_443_000 * (np.arange(50) >= 25)
    coded(tmp_path / "a.mkv", numbered(50), times=times)
    with pytest.warns(UserWarning, match="clock begins anew"):
        assert alike(numbers(tmp_path / "a.mkv"), np.arange(50))


# https://github.com/uploadcare/uploadcare-widget/issues/555
# https://github.com/ossrs/srs/issues/3229
@pytest.mark.parametrize("end", ["mkv", "mp4"])
def test_a_screens_recording_of_1000_fps_by_name(tmp_path, end):
    times = np.cumsum([0, 33, 17, 500, 33, 33, 1200] + [40] * 20)
    coded(tmp_path / f"a.{end}", numbered(27), rate=1000, times=times)
    found = numbers(tmp_path / f"a.{end}")[:60]
    nearest = np.abs(times[:, None] - 40 * np.arange(60)).argmin(0)
    assert alike(found, nearest) and len(set(found[20:30])) == 1  # it stood still


# https://github.com/ShmuelRonen/ComfyUI_wav2lip/issues/47
# https://github.com/KlingAIResearch/LivePortrait/issues/343
@pytest.mark.parametrize(("rate", "count"), [(1, 3), (240, 96)])
def test_a_rate_far_from_25(tmp_path, rate, count):
    apart = 96 // count
    coded(tmp_path / "a.mp4", numbered(count * apart)[::apart], rate=rate)
    times = np.arange(round(count / rate * FPS)) / FPS
    nearest = np.abs(np.arange(count)[:, None] / rate - times).argmin(0)
    assert alike(numbers(tmp_path / "a.mp4"), apart * nearest)


# https://github.com/gpac/mp4box.js/issues/504
# https://github.com/youtube/js_mse_eme/issues/33
def test_fragments_are_whole_or_said_to_be_cut(tmp_path):
    flags = "frag_keyframe+empty_moov+default_base_moof"
    coded(tmp_path / "a.mp4", numbered(100), movflags=flags)
    assert len(numbers(tmp_path / "a.mp4")) == 100
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match=r"b\.mp4: truncated: it breaks off"):
        numbers(tmp_path / "b.mp4")


# https://github.com/franklioxygen/MyTube/pull/471
# https://github.com/mozilla/nestegg/issues/8
@pytest.mark.parametrize("rest", ["nothing", "zeros"])
@pytest.mark.parametrize("end", ["mkv", "webm", "mp4"])
def test_half_a_download_is_not_taken_for_a_whole_one(tmp_path, end, rest):
    codec = "libvpx" if end == "webm" else "libx264"
    more = {"movflags": "faststart"} if end == "mp4" else {}
    coded(tmp_path / f"a.{end}", numbered(50), codec, **more)
    assert len(numbers(tmp_path / f"a.{end}")) == 50
    data = (tmp_path / f"a.{end}").read_bytes()
    part = data[: len(data) // 2]
    (tmp_path / f"b.{end}").write_bytes(
        part + bytes(len(data) - len(part)) * (rest == "zeros")
    )
    with pytest.raises(UserError, match=rf"b\.{end}: (truncated|damaged)"):
        numbers(tmp_path / f"b.{end}")


# https://github.com/mpv-player/mpv/issues/8829
# https://github.com/arthenica/ffmpeg-kit/issues/505
def test_a_file_that_is_still_written_is_refused(tmp_path):
    coded(tmp_path / "a.mkv", numbered(20))
    frames = iter_frames(tmp_path / "a.mkv")
    next(frames)
    with (tmp_path / "a.mkv").open("ab") as file:
        file.write(bytes(100))
    with pytest.raises(UserError, match="grew while it was read"):
        list(frames)


# https://github.com/opencast/opencast/issues/3694
# https://github.com/amule-org/amule/issues/1075
def test_a_cover_is_not_the_picture(tmp_path):
    Image.fromarray(np.full((100, 100, 3), 200, np.uint8)).save(tmp_path / "cover.jpg")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg")
        cover.width = cover.height = 100
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        packet = av.Packet((tmp_path / "cover.jpg").read_bytes())
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        container.mux(packet)
        for frame in numbered(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    assert video_info(tmp_path / "a.mp4")["width"] == 64
    assert len(numbers(tmp_path / "a.mp4")) == 25


# https://github.com/gyroflow/mp4-merge/issues/1
# https://github.com/anthwlock/untrunc/issues/108
def test_a_track_of_timecode_is_none_of_ours(tmp_path):
    def prepare(_, stream):
        stream.metadata["timecode"] = "10:20:30:00"

    coded(tmp_path / "a.mov", numbered(25), prepare=prepare)
    with av.open(str(tmp_path / "a.mov")) as container:
        assert [stream.type for stream in container.streams] == ["video", "data"]
    assert len(numbers(tmp_path / "a.mov")) == 25


# https://github.com/PyAV-Org/PyAV/pull/2392
@pytest.mark.parametrize(
    ("orientation", "bright"), [(1, "top"), (3, "bottom"), (6, "right"), (8, "left")]
)
def test_exif_beside_a_picture_turns_it(tmp_path, orientation, bright):
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:24] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif)
    assert brightest(next(iter_frames(tmp_path / "a.jpg"))) == bright
    info = video_info(tmp_path / "a.jpg")
    assert (info["width"] < info["height"]) == (bright in ("left", "right"))


# https://github.com/google-ai-edge/mediapipe/issues/1979
@pytest.mark.parametrize(("degrees", "bright"), [(180, "bottom"), (270, "right")])
def test_a_phone_upside_down_or_on_its_other_side(tmp_path, degrees, bright):
    frames = np.full((3, 48, 64, 3), 40, np.uint8)
    frames[:, :24] = 250

    def prepare(_, stream):
        stream.set_display_rotation(degrees)

    coded(tmp_path / "a.mp4", frames, prepare=prepare)
    assert brightest(next(iter_frames(tmp_path / "a.mp4"))) == bright


def brightest(frame):
    edges = {"top": frame[:8], "bottom": frame[-8:]}
    edges |= {"left": frame[:, :8], "right": frame[:, -8:]}
    return max(edges, key=lambda edge: edges[edge].mean())


# https://github.com/deepbeepmeep/Wan2GP/issues/1789
@pytest.mark.parametrize("end", ["gif", "png"])
def test_an_animation_is_a_video(tmp_path, end):
    pictures = [Image.fromarray(frame) for frame in numbered(25)]
    options = {"save_all": True, "append_images": pictures[1:], "duration": 40}
    pictures[0].save(tmp_path / f"a.{end}", **options)
    assert alike(numbers(tmp_path / f"a.{end}"), np.arange(25))


# https://github.com/chattocorp/chatto/issues/1602
def test_a_picture_that_nothing_here_decodes_is_refused(tmp_path):
    coded(tmp_path / "a.mkv", numbered(5))
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(
        data.replace(b"V_MPEG4/ISO/AVC", b"V_APPLE/PRO/RAW")
    )
    (tmp_path / "c.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    for name in ("b.mkv", "c.svg"):
        with pytest.raises(UserError, match="no picture that can be decoded"):
            video_info(tmp_path / name)


# https://github.com/ytdl-org/youtube-dl/issues/8227
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n",
        ),
        ("a.mp4", "#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile a.ts\n"),
        ("b.ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n"),
    ],
)
def test_a_list_of_other_files_is_not_followed(tmp_path, name, text):
    coded(tmp_path / "a.ts", numbered(5))
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="list of other files|not a readable video"):
        video_info(tmp_path / name)


# https://github.com/ggml-org/whisper.cpp/issues/184 (a pipe)
def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing")
    for path, found in (
        (tmp_path / "pipe.mp4", "is no file on a disk"),
        (tmp_path / "link.mp4", "no such file"),
        (tmp_path / "%03d.png", "no such file"),
        (Path("/dev/zero"), "is no file on a disk"),
    ):
        with pytest.raises(UserError, match=found):
            video_info(path)


# https://github.com/Zulko/moviepy/issues/2160 (a dash)
# https://github.com/kkroening/ffmpeg-python/issues/406
def test_a_strange_name_is_a_name(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", numbered(5), beep(0.2, 0.05))
    monkeypatch.chdir(tmp_path)
    for name in (
        *("-dash.mp4", "trailing .mp4 ", "pipe:0", "a#b?c=d&e.mp4", "quo'te\".mp4"),
        *("concat:a|b.mp4", "new\nline.mp4", "no end", "surro\udce9gate.mp4"),
        unicodedata.normalize("NFD", "Grüße\u200b.mp4"),
    ):
        os.link("a.mp4", name)
        assert len(numbers(name)) == 5, name
    Path("link.mp4").symlink_to("a.mp4")
    assert len(numbers("link.mp4")) == 5


# https://github.com/Nevcairiel/LAVFilters/issues/113
def test_groups_that_lean_on_each_other_keep_their_order(tmp_path):
    def prepare(_, stream):
        extra = "open-gop=1:bframes=3:b-adapt=0"
        stream.options = {"crf": "1", "g": "12", "bf": "3", "x264-params": extra}

    coded(tmp_path / "a.ts", numbered(60), prepare=prepare)
    assert alike(numbers(tmp_path / "a.ts"), np.arange(60))


def test_late_tracks_are_noticed(tmp_path):
    write(tmp_path / "a.mkv", numbered(25), [(beep(1, 0.2)[None], 0)], late=0.4)
    assert video_info(tmp_path / "a.mkv")["sound_begins"] == pytest.approx(
        0.4, abs=0.01
    )
