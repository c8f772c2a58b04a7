"""The first look, with a tracker that sees a face wherever the picture is bright; each
test names the public report of its kind. Right is one line, before anything takes long:

    a still picture, a cover    refused                jerks                 said
    cuts                        said, kept             a wrong length        looked at all
    a file that grows           refused                damaged sound         refused
    sound that ends early       said                   a disk too small      refused
    subtitles over the mouth    said                   beards                taken for none
    a profile                   said, left out         a lively background   said
"""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from emogene_jax.face.tracking import Track
from emogene_jax.media.video import video_info, write_video
from emogene_jax.portrait import listen, look, pictures, prepare
from emogene_jax.portrait.told import describe
from emogene_jax.rigid import rotation_exp
from emogene_jax.signals import UserError
from tests.media.made import beep, coded, numbered, sounded, wav


@pytest.fixture(autouse=True)
def tracker(monkeypatch):
    """Faces are looked for in so many pictures."""
    seen = []

    @contextlib.contextmanager
    def open_tracker(model):
        def track(picture):
            seen.append(picture.shape)
            return [points], None, ()

        points = 20 + 20 * np.random.default_rng(0).random((478, 3))
        yield track

    monkeypatch.setattr(look, "open_tracker", open_tracker)
    return seen


def textured(count, height=64, width=64, seed=0):
    """Frames in which something changes, and no cut is."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 255, (height // 16, width // 16, 3)).repeat(16, 0)
    frames = np.tile(still.repeat(16, 1).astype(np.uint8), (count, 1, 1, 1))
    frames[:, :16, :16] = (17 * np.arange(count) % 250)[:, None, None, None]
    return frames


# https://github.com/Zz-ww/SadTalker-Video-Lip-Sync/issues/93 (a jpg for a video)
# https://github.com/DeaDBeeF-Player/deadbeef/issues/1543 (a cover without a mark)
@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.mp4", "cover.mp4"])
def test_a_picture_that_stands_still_is_refused(tmp_path, name):
    frame = textured(1)
    if name == "a.mp4":
        write_video(tmp_path / name, frame.repeat(40, 0), beep(2, 0.5))
    elif name == "cover.mp4":
        coded(tmp_path / name, frame, "mjpeg", "yuvj420p")
    else:
        Image.fromarray(frame[0]).save(tmp_path / name)
    with pytest.raises(UserError, match=r"different of \d+ pictures"):
        look.first_look(tmp_path / name, None)


# https://github.com/jhogsett/EMA-VFI-WebUI/pull/34
# https://github.com/mchengny/RWF2000-Video-Database-for-Violence-Detection/issues/20
def test_jerks_are_said(tmp_path):
    write_video(tmp_path / "a.mp4", textured(12).repeat(3, 0))
    found = look.first_look(tmp_path / "a.mp4", None)
    assert found["still"] == pytest.approx(2 / 3, abs=0.05)
    assert "67 % of the pictures" in "\n".join(describe(found, 64))
    write_video(tmp_path / "b.mp4", textured(36))
    assert look.first_look(tmp_path / "b.mp4", None)["still"] == 0


# https://github.com/deepfakes/faceswap/issues/441
@pytest.mark.parametrize("cover", ["nothing", "beard", "box", "letters"])
def test_what_lies_over_the_mouth_is_noticed(cover):
    picture = np.full((200, 200, 3), (200, 160, 140), np.uint8)
    points = np.full((478, 3), 100.0)
    points[[10, 152], 1] = 20, 180
    for name, y in (("_CHEEKS", 90), ("_AROUND_MOUTH", 140)):
        numbers = getattr(look, name)
        points[numbers, 0] = np.linspace(70, 130, len(numbers))
        points[numbers, 1] = y
    points[look._MOUTH_CORNERS, 0] = 80, 120
    if cover == "beard":
        picture[115:185] = 60, 45, 40
    elif cover == "box":
        picture[115:185] = 0
    elif cover == "letters":
        picture[150:160, ::8], picture[150:160, 4::8] = 255, 0
    assert look._covered(picture, points) == (cover in ("box", "letters"))


def test_cuts_are_said_and_kept(tmp_path):
    shots = [textured(15, seed=seed) for seed in range(3)]
    write_video(tmp_path / "a.mp4", np.concatenate(shots))
    found = look.first_look(tmp_path / "a.mp4", None)
    assert found["cuts"] == [0.6, 1.2]
    assert "cut at 0.6, 1.2 s" in "\n".join(describe(found, 64))


def test_what_was_noticed_is_in_the_portrait(tmp_path):
    """Length, rate, turn, colour, cuts, faces, tracks, offset: all that json can hold."""
    write_video(tmp_path / "a.mp4", textured(30), beep(1.2, 0.5))
    found = look.first_look(tmp_path / "a.mp4", None)
    clip = prepare._Clip(tmp_path / "a.mp4", found, (0, 0, 64), 30, 0)
    marks = np.ones(30, bool), np.zeros(30, bool), np.zeros(30)
    landmarks = np.random.default_rng(0).normal(size=(30, 68, 3))
    faces = landmarks, np.ones(30, bool), np.zeros(30)
    info = prepare._info([clip], marks, *faces, {}, [0])
    kept = json.loads(json.dumps(info))
    told = kept["look"][0]
    for name in (
        *("seconds", "frames", "fps", "still", "rotation", "mirrored", "stretched"),
        *("high_range", "interlaced", "transparent", "cuts", "faces", "people"),
        *("sound", "sound_tracks", "sound_begins"),
    ):
        assert told[name] == found[name], name
    assert kept["sound_offset_frames"] == [0] and told["seconds"] == 1.2


# https://github.com/opencv/opencv/pull/25844 (a header is wrong about it)
@pytest.mark.parametrize("jump", ["forward", "back"])
def test_a_length_that_is_wrong_is_found_out(tmp_path, tracker, jump):
    if jump == "forward":
        times = 40 * np.arange(300) + 95_443_000 * (np.arange(300) >= 150)
        coded(tmp_path / "a.mkv", textured(300), times=times)
        path = tmp_path / "a.mkv"
    else:
        coded(tmp_path / "a.ts", textured(30))
        path = tmp_path / "b.ts"
        path.write_bytes((tmp_path / "a.ts").read_bytes() * 10)
    with pytest.warns(UserWarning, match="clock begins anew"):
        found = look.first_look(path, None)
    assert found["frames"] == 300 and found["seconds"] == 12
    looked_at = [number for number, *_ in found["boxes"]]
    assert 20 < len(looked_at) < 100 and max(looked_at) > 280
    assert len(tracker) < 200


# https://github.com/mpv-player/mpv/issues/8829
def test_a_file_that_grows_between_two_looks_is_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", textured(30))
    found = look.first_look(tmp_path / "a.mp4", None)
    write_video(tmp_path / "a.mp4", textured(40))

    def track_video(frames, *_, **__):
        return list(frames)

    monkeypatch.setattr(prepare, "track_video", track_video)
    with pytest.raises(UserError, match=r"a\.mp4: grew while it was read"):
        prepare._track_clip(tmp_path / "a.mp4", found, (0, 0, 64), 64, None)


# https://github.com/NetEase-GameAI/Face2FaceRHO/issues/21
def test_a_background_that_changes_is_said(tmp_path):
    """A screen behind somebody in front of a camera that stands."""
    frames = textured(40, 128, 128)
    frames[:, 96:112, 48:64] = frames[
        :, :16, :16
    ]  # who speaks moves, the corner does not
    frames[:, :16, :16] = frames[:1, :16, :16]
    write_video(tmp_path / "a.mp4", frames)
    assert look.first_look(tmp_path / "a.mp4", None)["background_change"] < 2
    rng = np.random.default_rng(1)
    frames[:, :32, 96:] = rng.integers(0, 99, (40, 2, 2, 3)).repeat(16, 1).repeat(16, 2)
    write_video(tmp_path / "b.mp4", frames)
    found = look.first_look(tmp_path / "b.mp4", None)
    assert found["background_change"] > 10 and not found["cuts"]
    assert "the background changes" in "\n".join(describe(found, 64))


# https://github.com/google-ai-edge/mediapipe/issues/4773
def test_a_profile_is_left_out_and_said(tmp_path, monkeypatch):
    """Frames in which a head is turned aside are not learned from, a few bridged."""
    write_video(tmp_path / "a.mp4", textured(60))
    found = look.first_look(tmp_path / "a.mp4", None)
    face = np.random.default_rng(0).normal(size=(478, 3))
    turn = np.zeros((60, 3))
    turn[20:30, 1] = turn[50:53, 1] = 1.2
    points = face @ np.swapaxes(rotation_exp(turn), 1, 2) * [1.0, -1.0, -1.0]

    def track_video(frames, *_, **__):
        scores, seen = np.zeros((60, 2)), np.array([1 for _ in frames])
        names = "mouthSmileLeft", "mouthSmileRight"
        return Track(points, seen > 0, seen, scores, names)

    monkeypatch.setattr(prepare, "track_video", track_video)
    monkeypatch.setattr(prepare, "canonical_mesh", lambda model: (face[:468], None))
    box, said = (0, 0, 64), []
    tracked, *marks, _ = prepare._track_clip(tmp_path / "a.mp4", found, box, 64, None)
    np.testing.assert_allclose(tracked[51], points[0], atol=1e-9)
    files = [tmp_path / "a.mp4"]
    parts = prepare._parts(files, [found], tracked, marks, None, 60, said.append)
    assert parts == [(0, 0, 20), (0, 30, 60)]
    assert "no face, or only its side, from 0.8 to 1.2 s: left out" in said[0]


# https://github.com/franklioxygen/MyTube/pull/471 (case C: the sound alone is cut short)
# https://github.com/bytedance/LatentSync/issues/64
def test_sound_is_read_before_anything_takes_long(tmp_path):
    said, looks = [], [{"sound": True, "seconds": 5.0}]
    sounded(tmp_path / "a.wav", beep(2, 1)[None])
    sounds = listen.load_sounds([tmp_path / "a.wav"], looks, said.append)
    assert "its sound ends after 2.0 s" in said[0] and len(sounds) == 1
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="truncated"):
        listen.load_sounds([tmp_path / "b.wav"], looks, said.append)
    (tmp_path / "c.wav").write_bytes(wav(np.zeros(5 * 16_000, "<i2")))
    with pytest.warns(UserWarning, match="its sound is silence"):
        listen.load_sounds([tmp_path / "c.wav"], looks, said.append)
    assert len(said) == 1


# https://github.com/ergysr/DeepCC/issues/55
# https://github.com/n00mkrad/flowframes/issues/122
def test_room_on_the_disk_is_asked_for_first(tmp_path, monkeypatch):
    free = pictures.shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(pictures.shutil, "disk_usage", lambda folder: free)
    pictures.must_fit(tmp_path / "not" / "there", 1000, 512)
    with pytest.raises(UserError, match=r"47\.2 GB are needed .* 1\.0 GB are free"):
        pictures.must_fit(tmp_path / "not" / "there", 40 * 60 * 25, 512)


# https://github.com/Vanilagy/webm-muxer/issues/3
def test_numbers_in_a_file_are_those_that_are_shown(tmp_path):
    coded(tmp_path / "a.mkv", numbered(20), rate=1000, times=40 * np.arange(20))
    assert video_info(tmp_path / "a.mkv")["fps"] == 1000
    found = look.first_look(tmp_path / "a.mkv", None)
    assert found["frames"] == 20 and "resampled to 25" in "\n".join(describe(found, 64))


def test_what_a_file_says_of_itself_is_looked_at_first(tmp_path, monkeypatch, tracker):
    """Forty minutes are not looked through, to be refused then."""
    write_video(tmp_path / "a.mp4", textured(30))
    info, said = video_info(tmp_path / "a.mp4"), []
    files, options = [tmp_path / "a.mp4"], (64, "auto")
    silent = info | {"sound": False}
    monkeypatch.setattr(prepare, "video_info", lambda file: silent)
    with pytest.raises(UserError, match="no sound track"):
        prepare._look(files, None, *options, True, tmp_path, said.append)
    long = info | {"frames": 60_000, "fps": 25.0}
    monkeypatch.setattr(prepare, "video_info", lambda file: long)
    free = pictures.shutil.disk_usage(tmp_path)
    room = free._replace(free=10**9)
    monkeypatch.setattr(pictures.shutil, "disk_usage", lambda folder: room)
    with pytest.raises(UserError, match="GB are needed"):
        prepare._look(files, None, *options, True, tmp_path, said.append)
    assert not tracker and not said
    room = free._replace(free=10**13)
    prepare._look(files, None, *options, True, tmp_path, said.append)
    assert said[0].startswith("40 minutes of video") and "a.mp4: 1.2 s" in said[1]
    assert "may take hours" in said[0] and "--from 1:00 --to 5:00" in said[0]
    undeclared, more = info | {"frames": 0, "seconds": 2400.0}, []
    monkeypatch.setattr(prepare, "video_info", lambda file: undeclared)
    prepare._look(files, None, *options, True, tmp_path, more.append)
    assert more[0] == said[0]
    part = slice(0, 500)  # of which the first 1.2 s are there
    prepare._look(files, None, *options, True, tmp_path, more.append, part)
    assert more.count(said[0]) == 1
