"""Stretches of files: the frames and the sound that the whole file has there, and hardly
anything of the rest is decoded."""

import av
import numpy as np
import pytest

from emogene_jax.audio.load import StoredSound, load_audio
from emogene_jax.media.stretch import ALL, can_wait, stretch_of
from emogene_jax.media.video import iter_frames
from emogene_jax.signals import UserError
from tests.media.made import RATE, beep, coded, number_of, numbered, write


def same_as_whole(path, first, stop):
    """The numbers of a stretch's frames, which are those of the whole file."""
    found = list(iter_frames(path, part=slice(first, stop)))
    wanted = list(iter_frames(path))[first:stop]
    np.testing.assert_array_equal(found, wanted)
    return [number_of(frame) for frame in found]


@pytest.mark.parametrize("end", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("group", ["closed", "open"])
def test_a_stretch_is_what_the_whole_has_there(tmp_path, end, group):
    def prepare(_, stream):
        extra = f"open-gop={int(group == 'open')}:bframes=3:b-adapt=0:scenecut=0"
        stream.options = {"crf": "1", "g": "12", "bf": "3", "x264-params": extra}

    path = tmp_path / f"a.{end}"
    coded(path, numbered(100), prepare=prepare)
    found = same_as_whole(path, 70, 80)
    assert np.abs(np.array(found) - np.arange(70, 80)).max() <= 1
    assert can_wait(path, 70) >= 24  # of 45, that end 1 s before it
    assert same_as_whole(path, 90, None) and same_as_whole(path, 3, 5)
    assert list(iter_frames(path, part=slice(200, None))) == []


def test_a_stretch_of_another_rate_and_with_holes(tmp_path):
    times = np.cumsum([0] + [33] * 40 + [700] + [17] * 60 + [40] * 18)
    coded(tmp_path / "a.mkv", numbered(120 // 2).repeat(2, 0), times=times)
    for first in (10, 40, 50, 75):
        assert same_as_whole(tmp_path / "a.mkv", first, first + 10)


@pytest.mark.parametrize("kind", ["a clock that begins anew", "no time stamps"])
def test_where_time_stamps_do_not_tell_all_is_decoded(tmp_path, kind):
    path = tmp_path / ("a.ts" if kind.startswith("a") else "a.h264")
    if path.suffix == ".ts":
        coded(path, numbered(60))
        path.write_bytes(path.read_bytes() * 2)
        with pytest.warns(UserWarning, match="clock begins anew"):
            found = same_as_whole(path, 90, 100)
        assert np.abs(np.array(found) - np.arange(30, 40)).max() <= 1
    else:
        coded(path, numbered(90))
        assert len(same_as_whole(path, 60, 70)) == 10
    assert can_wait(path, 90 if path.suffix == ".ts" else 60) == 0


def test_hidden_frames_of_an_edit_list_do_not_count(tmp_path):
    """A clip that was trimmed without coding it anew."""
    coded(tmp_path / "a.mp4", numbered(100), movflags="faststart")
    with av.open(str(tmp_path / "a.mp4")) as source:
        stream = source.streams.video[0]
        with av.open(str(tmp_path / "b.mp4"), "w") as out:
            copy = out.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    shift = round(0.4 / stream.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = copy
                    out.mux(packet)
    assert len(list(iter_frames(tmp_path / "b.mp4"))) == 90
    found = same_as_whole(tmp_path / "b.mp4", 60, 70)
    assert np.abs(np.array(found) - np.arange(70, 80)).max() <= 1


def test_the_sound_of_a_stretch_is_that_of_the_whole(tmp_path):
    """Late, with a gap; what is said of its level is said of it alone."""
    path = tmp_path / "a.mkv"
    loud = np.clip(3 * np.sin(np.arange(2 * RATE) / 9), -1, 1).astype(np.float32)
    sound = np.concatenate([loud, beep(2, 1.2)])
    write(path, numbered(120), [(sound[None], lambda t: 0.7 * (t >= 2.5))], late=0.3)
    with pytest.warns(UserWarning, match="clipped"):
        whole = load_audio(path)
    for part in (slice(40_000, 70_000), slice(50_000, None)):
        stored = StoredSound(path, part)
        np.testing.assert_array_equal(stored[:], whole[part])
    with pytest.raises(UserError, match="0 s of sound from 40 s on"):
        StoredSound(path, slice(40 * RATE, None))


def test_half_a_download_has_whole_stretches(tmp_path):
    coded(tmp_path / "a.mkv", numbered(100))
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 4 // 5])
    assert len(list(iter_frames(tmp_path / "a.mkv", part=slice(30, 50)))) == 20
    with pytest.raises(UserError, match="truncated"):
        list(iter_frames(tmp_path / "a.mkv", part=slice(30, None)))


def test_times_become_frames_or_are_refused():
    assert stretch_of("a.mp4", None, 60.0) == ALL
    assert stretch_of("a.mp4", (1.5, None), 60.0) == slice(38, None)
    assert stretch_of("a.mp4", (0.0, 60.0), 59.6) == slice(0, 1500)  # 1:00 of it
    for times, told in (
        ((60.0, None), "a.mp4: --from 60 s lies behind its end"),
        ((3.0, 61.1), "a.mp4: --to 61.1 s lies behind its end"),
        ((3.0, 4.5), "a.mp4: 1.5 s from 3 to 4.5 s"),
        ((58.5, None), "a.mp4: 1.5 s from 58.5 to 60 s"),
    ):
        with pytest.raises(UserError, match=told):
            stretch_of("a.mp4", times, 60.0)
