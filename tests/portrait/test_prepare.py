"""A few frames of a real video become a Portrait; the pure parts need no data."""

import errno

import numpy as np
import pytest

from emogene_jax.emotions import emotion_of, intensity_of
from emogene_jax.face import mesh as lm
from emogene_jax.media.video import iter_frames, write_lossless, write_video
from emogene_jax.portrait import pictures
from emogene_jax.portrait.cut import faced_parts, left_out
from emogene_jax.portrait.look import (
    _Face,
    _people,
    crop_boxes,
    find_videos,
    is_cut,
)
from emogene_jax.portrait.pack import load_portrait
from emogene_jax.portrait.prepare import prepare_portrait
from emogene_jax.portrait.told import (
    describe,
    told_left_out,
    told_long,
    told_short,
)
from emogene_jax.rigid import project
from emogene_jax.signals import UserError


def test_emotions_come_from_folders_and_mead_names():
    assert emotion_of("M030_sad_3_001.mp4") == "sad"
    assert emotion_of("clips/Disgusted/007.mp4") == "disgust"
    assert emotion_of("surprised_256.mp4") == "surprise"
    assert emotion_of("interview.mp4") == "neutral"
    assert emotion_of("M003/video/front/angry/level_2/001.mp4") == "angry"


def test_intensities_are_meads_levels():
    assert intensity_of("M030_sad_3_001.mp4") == 1
    assert intensity_of("M030_disgusted_1_012.mp4") == pytest.approx(1 / 3)
    assert intensity_of("M003/video/front/angry/level_2/001.mp4") == pytest.approx(
        2 / 3
    )
    # There is one way of being neutral; and other numbers mean other things.
    assert intensity_of("M003/video/front/neutral/level_1/001.mp4") == 1
    assert intensity_of("happy/2.mp4") == intensity_of("sad_256.mp4") == 1


def test_folders_are_searched(tmp_path):
    files = ("happy/1.mp4", "neutral/0.mp4", "sad/2.mov", "sad/3.FLV", "sad/notes.txt")
    write_video(tmp_path / files[0], np.zeros((2, 32, 32, 3), np.uint8))
    for name in files[1:]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((tmp_path / files[0]).read_bytes())
    found = [path.name for path in find_videos([tmp_path])]
    assert found == ["1.mp4", "2.mov", "3.FLV", "0.mp4"]  # held out is the end: neutral
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no video"):
        find_videos([tmp_path / "none"])
    (tmp_path / files[2]).write_text("a letter")
    with pytest.raises(UserError, match="2.mov: not a readable video"):
        find_videos([tmp_path])


def test_automatic_crop():
    look = {"width": 512, "height": 512, "boxes": [[0, 150, 120, 350, 370]]}
    assert crop_boxes(["a"], [look], "auto", [1]) == [(0, 0, 512)]
    wide = look | {"width": 1920, "height": 1080}
    ((left, top, side),) = crop_boxes(["a"], [wide], "auto", [1])
    assert left >= 0 and top >= 0 and 450 < side < 600
    assert left < 150 and top < 120 and left + side > 350 and top + side > 370


def test_the_crop_is_of_faces_that_are_learned_from():
    look = {"width": 1920, "height": 1080, "boxes": [[0, 150, 120, 350, 370]]}
    later = look | {"boxes": [*look["boxes"], [9, 900, 300, 1200, 700]]}
    own = look | {"width": 1900}
    looks, crop = [look, later, own], crop_boxes
    boxes = crop("abc", looks, "auto", [5, 9, 0])
    assert boxes[0] == boxes[1] == crop("a", [look], "auto", [5])[0]
    assert boxes[2] == crop("c", [own], "auto", [1])[0]  # for want of another
    assert boxes[0] != crop("abc", looks, "auto", [5, 10, 0])[0]


def test_first_look_tells_what_is_not_ideal():
    look = {
        "file": "a.mp4",
        "seconds": 8.0,
        "width": 640,
        "height": 480,
        "fps": 30.0,
        "rotation": 90,
        "sound": False,
        "faces": 2,
        "people": 1,
        "face": 0.9,
        "face_size": 80.0,
        "blur": 0.9,
        "camera_movement": 5.0,
        "background_change": 9.0,
        "mirrored": True,
        "high_range": True,
        "stretched": 1.4222,
        "sound_tracks": 2,
        "sound_begins": 0.8,
        "interlaced": True,
        "transparent": True,
        "still": 0.6,
        "covered": 0.5,
        "cuts": [3.04, 5.0],
        "first": 0,
    }
    text = "\n".join(describe(look, 512))
    for word in ("soft", "blurred", "camera moves", "2 faces"):
        assert word in text
    for word in ("no face in 10 %", "90 degrees", "resampled to 25", "no sound"):
        assert word in text
    for word in ("mirrored", "1.42 times as wide", "2 sound tracks: the default"):
        assert word in text
    for word in ("high dynamic range", "begins 0.8 s after", "interlaced", "through"):
        assert word in text
    for word in ("60 % of the pictures", "cut at 3.0, 5.0 s", "over the mouth"):
        assert word in text
    good = look | {
        "mirrored": False,
        "high_range": False,
        "stretched": 1.0,
        "sound_tracks": 1,
        "sound_begins": 0.0,
        "interlaced": False,
        "transparent": False,
        "still": 0.0,
        "covered": 0.0,
        "cuts": [],
    }
    good |= {"seconds": 200.0, "fps": 25.0, "rotation": 0, "sound": True}
    good |= {"faces": 1, "face": 1.0, "face_size": 300.0, "blur": 5.0}
    good |= {"camera_movement": 0.1, "background_change": 4.0}
    assert len(describe(good, 512)) == 1
    assert "background" not in text.replace("the background will be smeared", "")
    lively = describe(good | {"background_change": 6.0}, 512)
    assert "background changes" in lively[1] and len(lively) == 2


def test_little_and_long_are_said_of_all_clips_together():
    assert "8 s is little" in told_short(8.0) and told_short(60.0) is None
    assert "11 minutes" in told_long(660.0) and told_long(600.0) is None


def test_frames_without_a_face_are_no_part_of_a_portrait():
    found = np.ones(200, bool)
    found[[3, 4, 50]] = False  # a blink of the tracker
    none = np.zeros(200, bool)
    assert faced_parts(found, none, [120, 80]) == [(0, 0, 120), (1, 120, 200)]
    found[:40] = found[110:127] = found[131:150] = False  # a title; a cut away
    parts = faced_parts(found, none, [120, 80])
    assert parts == [(0, 40, 110), (1, 150, 200)]  # four frames are not worth having
    gaps = left_out([(40, 110)], 120)
    assert gaps == [(0, 40), (110, 120)] and left_out([(0, 120)], 120) == []
    assert told_left_out("a.mp4", gaps, "no face") == (
        "a.mp4: no face from 0.0 to 1.6 s, 4.4 to 4.8 s: left out"
    )
    # Shots of their own, and one within a gap.
    cuts = none.copy()
    cuts[[70, 115, 160]] = True
    shots = faced_parts(found, cuts, [120, 80])
    assert shots == [(0, 40, 70), (0, 70, 110), (1, 150, 160), (1, 160, 200)]


def test_who_is_there_most_is_the_person():
    def face(frame, left, height):
        box = np.array([left, 50, left + height, 50 + height], float)
        return _Face(frame, box, height, 3.0)

    # A small one at the left goes, a larger one comes, and walks.
    looks = [[face(t, 10, 40)] for t in range(3)]
    looks += [[face(t, 200 + 30 * t, 90)] for t in range(3, 9)]
    first, second = _people(looks)
    assert [f.frame for f in first] == [3, 4, 5, 6, 7, 8]
    assert [f.frame for f in second] == [0, 1, 2]
    # Both always there: the larger.
    both = [[face(t, 10, 40), face(t, 200, 90)] for t in range(5)]
    assert _people(both)[0][0].height == 90 and len(_people(both)) == 2
    # Two of a size, who are found in any order: one of them, not now one, now the other.
    twins = [[face(t, 10, 90), face(t, 200, 90)][:: 1 - 2 * (t % 2)] for t in range(5)]
    assert {f.middle[0] for f in _people(twins)[0]} == {55}
    assert _people([[], []]) == []


def test_one_who_leaves_is_not_the_one_who_comes(prepared, clip, tmp_path):
    frames = [frame for _, frame in zip(range(24), iter_frames(clip))]
    shown = []
    for number in range(36):
        picture = np.full((512, 1024, 3), 60, np.uint8)
        if number < 10:
            picture[128:384, :256] = frames[number][::2, ::2]
        else:
            picture[:, 512:] = frames[number % 24]
        shown.append(picture)
    write_video(tmp_path / "two.mp4", shown)
    said = []
    portrait = prepared([tmp_path / "two.mp4"], say=said.append)
    assert "2 faces: the one who is there most" in "\n".join(said)
    assert portrait.source_frame[0] == 10 and len(portrait.frames) == 26
    left = portrait.info["crop"][0][0]
    assert left >= 400  # of 1024, the right half


def test_a_cut_is_seen_and_a_moving_person_is_none():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 255, (2, 8, 8, 3)).repeat(16, 1).repeat(16, 2)
    assert is_cut(one.astype(np.uint8), other.astype(np.uint8))
    moved = one.copy()
    moved[20:90, 20:90] = 200  # a third of the picture
    assert not is_cut(one.astype(np.uint8), moved.astype(np.uint8))


def test_another_person_after_a_cut_is_left_out(prepared, clip, shared, tmp_path):
    mine = [frame for _, frame in zip(range(20), iter_frames(clip))]
    german = iter_frames(shared / "data/portrait/german_20s.mp4")
    write_video(
        tmp_path / "two.mp4", [*mine[:14], *(f for _, f in zip(range(24), german))]
    )
    said = []
    portrait = prepared([tmp_path / "two.mp4"], say=said.append)
    assert "another person from 0.0 to 0.6 s: left out" in "\n".join(said)
    assert portrait.source_frame.tolist() == list(range(14, 38))


def test_picked_frames_are_those_of_the_store(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (9, 4, 4, 3), np.uint8)
    with pictures.FrameStore(tmp_path, 4) as store:
        for frame in frames:
            store.append(frame)
        rows = np.array([1, 2, 3, 6, 7])
        picked = pictures.Picked(store, rows)
        assert picked.shape == (5, 4, 4, 3) and len(picked) == 5
        np.testing.assert_array_equal(picked[3], frames[6])
        for part in (slice(None), slice(1, 4), slice(4, 9), slice(2, 2)):
            np.testing.assert_array_equal(picked[part], frames[rows][part])


@pytest.fixture(scope="module")
def clip(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "may_happy.mp4"
    source = shared / "data/portrait/may_5s.mp4"
    frames = [frame for _, frame in zip(range(24), iter_frames(source))]
    write_video(path, frames, source)
    return path


@pytest.fixture
def prepared(shared, tmp_path):
    """(videos, ...) -> what prepare_portrait makes of them, quietly."""

    def make(videos, name="portrait", size=96, say=lambda line: None, **options):
        options["face_model"] = shared / "data/models/face_landmarker.task"
        prepare_portrait(videos, tmp_path / name, size, say=say, **options)
        return load_portrait(tmp_path / name)

    return make


def test_prepare_gives_a_whole_portrait(prepared, clip, tmp_path):
    said = []
    portrait = prepared([clip], say=said.append)
    total = 24
    assert portrait.frames.shape == (total, 96, 96, 3)
    assert portrait.content.shape[0] == portrait.f0.shape[0] == 2 * total
    assert portrait.waveform.shape == (total * 640,) and portrait.speech.shape == (
        total,
    )
    assert (portrait.emotion == 4).all() and portrait.info["sources"] == [
        "may_happy.mp4"
    ]
    assert portrait.info["held_out"] == 0  # of a second there is nothing to spare
    assert portrait.camera.size == 96 and portrait.camera.cx == 48
    eyes = portrait.rest[45] - portrait.rest[36]
    assert 8 < eyes[0] < 10 and portrait.rest[30, 2] > 6
    # What is stored agrees with itself: the nose projects onto the face's middle.
    at = project(lm.to_68(portrait.mesh), *portrait.pose, portrait.camera)
    assert ((at > 0) & (at < 96)).all()
    column, row = np.round(at[0, 30]).astype(int)
    assert portrait.head_matte[0, row, column] == 255
    assert portrait.torso_matte[0, -1, 48] > 200
    assert portrait.head_matte[0, 90, 48] == 0
    together = portrait.head_matte.astype(int) + portrait.torso_matte
    assert together.max() <= 255 and together[0, 40, 2] < 50
    assert "may_happy.mp4" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["portrait"]


def test_a_title_is_left_out_with_its_sound(prepared, clip, tmp_path):
    frames = list(iter_frames(clip))
    title = [np.full_like(frames[0], 30)] * 20
    sound = np.random.default_rng(0).normal(0, 0.1, 44 * 640).astype(np.float32)
    write_video(tmp_path / "titled.mp4", title + frames, sound)
    said = []
    portrait = prepared([tmp_path / "titled.mp4"], say=said.append)
    assert "no face, or only its side, from 0.0 to 0.8 s: left out" in "\n".join(said)
    assert len(portrait.frames) == 24 and portrait.source_frame[0] == 20
    assert portrait.head_matte.any((1, 2)).all()
    heard = portrait.waveform / 32767
    assert np.corrcoef(heard, sound[20 * 640 :])[0, 1] > 0.9


def test_what_lies_outside_of_a_stretch_of_time_is_not_there(
    prepared, shared, tmp_path
):
    """Neither seen nor heard; and times are those of the file."""
    mine = iter_frames(shared / "data/portrait/may_5s.mp4")
    mine = [frame for _, frame in zip(range(54), mine)]
    other = iter_frames(shared / "data/portrait/german_20s.mp4")
    title = [np.full_like(mine[0], 30)]
    shown = [*title * 30, *mine[:27], *title * 8, *mine[27:]]
    write_video(tmp_path / "a.mp4", [*shown, *(f for _, f in zip(range(20), other))])
    sound = np.random.default_rng(0).normal(0, 0.1, 112 * 640).astype(np.float32)
    sound[: 30 * 640] = sound[92 * 640 :] = 1  # louder than full scale
    write_video(tmp_path / "b.mp4", iter_frames(tmp_path / "a.mp4"), sound)
    said = []
    options = {"times": (1.2, 3.68), "holdout_seconds": 0.4, "say": said.append}
    portrait = prepared([tmp_path / "b.mp4"], **options)
    assert portrait.source_frame.tolist() == [*range(30, 57), *range(65, 92)]
    told = "\n".join(said)
    assert "b.mp4: 2.5 s from 1.2 s on" in told and "cut at 2.3, 2.6 s" in told
    assert (
        "no face, or only its side, from 2.3 to 2.6 s: left out" in told
        and "another" not in told
    )
    assert portrait.info["held_out"] == 10
    assert [(k["first"], k["stop"]) for k in portrait.info["look"]] == [(30, 92)] * 2
    heard = np.split(portrait.waveform / 32767, [27 * 640])
    for part, first in zip(heard, (30, 65), strict=True):
        wanted = sound[first * 640 :][: len(part)]
        assert np.corrcoef(part, wanted)[0, 1] > 0.9
    with pytest.raises(UserError, match="go with one video, found 2"):
        prepared([tmp_path / "a.mp4", tmp_path / "b.mp4"], times=(1.0, None))


def test_a_small_face_in_a_large_picture_is_found(prepared, clip, tmp_path):
    """Of 200 px in 2160 lines, by itself and where a crop says; not where none is."""
    frames = [frame for _, frame in zip(range(12), iter_frames(clip))]
    large = []
    for frame in frames:
        picture = np.full((2160, 3840, 3), 90, np.uint8)
        picture[1200:1712, 300:812] = frame
        large.append(picture)
    write_video(tmp_path / "large.mp4", large)
    found = prepared([tmp_path / "large.mp4"], name="found")
    left, top, side = found.info["crop"][0]
    assert left < 400 < 700 < left + side and top < 1300 < 1500 < top + side
    asked = prepared([tmp_path / "large.mp4"], name="asked", crop=(300, 1200, 512))
    assert asked.info["crop"] == [[300, 1200, 512]]
    with pytest.raises(UserError, match="a face in 0 of"):
        prepared([tmp_path / "large.mp4"], name="none", crop=(2000, 100, 512))


def test_crop_moves_the_camera_along(prepared, clip):
    cropped = prepared([clip], crop=(32, 16, 448))
    assert cropped.camera.cx == pytest.approx((256 - 32) * 96 / 448)
    assert cropped.camera.cy == pytest.approx((256 - 16) * 96 / 448)
    with pytest.raises(UserError, match="does not lie inside"):
        prepared([clip], crop=(100, 0, 500))
    with pytest.raises(UserError, match="does not lie inside"):
        prepared([clip], crop=(9000, 0, 500))  # nothing of it is there


@pytest.mark.slow
def test_held_out_frames_change_nothing(prepared, shared, tmp_path):
    known, total = 50, 60
    source = iter_frames(shared / "data/portrait/may_5s.mp4")
    frames = [frame for _, frame in zip(range(total), source)]
    frames = [np.pad(frame, [(0, 0), (30, 30), (0, 0)], "edge") for frame in frames]
    write_lossless(tmp_path / "a.mkv", frames)
    for frame in frames[known:]:
        frame[:] = np.roll(frame // 2, 40, 1)[:, ::-1]
    write_lossless(tmp_path / "b.mkv", frames)
    one, two = (
        prepared([tmp_path / f"{name}.mkv"], name, holdout_seconds=0.4) for name in "ab"
    )
    # What is held out may be another shot, and then is a clip of its own.
    assert one.camera == two.camera and one.info["crop"][0] == two.info["crop"][0]
    assert one.info["held_out"] == total - known
    for name in ("rest_mesh", "rest", "background"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), name)
    for name in ("frames", "head_matte", "torso_matte", "mesh", "landmarks"):
        mine, other = getattr(one, name), getattr(two, name)
        np.testing.assert_array_equal(mine[:known], other[:known], name)
        assert (mine[known:] != other[known:]).any()
    for mine, other in zip((*one.pose, one.torso), (*two.pose, two.torso)):
        np.testing.assert_array_equal(mine[:known], other[:known])


def test_too_much_held_out_is_refused(prepared, clip):
    with pytest.raises(UserError, match="--holdout-seconds 0.4 of 1.0 s"):
        prepared([clip], holdout_seconds=0.4)


def test_a_full_disk_leaves_nothing_behind(prepared, clip, tmp_path, monkeypatch):
    full = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115
    real = pictures.tempfile.TemporaryFile  # a sound's place is another one
    monkeypatch.setattr(
        pictures.tempfile, "TemporaryFile", lambda dir=None: full if dir else real()
    )
    with pytest.raises(OSError) as error:
        prepared([clip])
    assert error.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_other_files_are_refused_at_once(prepared, tmp_path):
    (tmp_path / "portrait").mkdir()
    (tmp_path / "portrait" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="other files"):
        prepared([tmp_path / "never looked at.mp4"])


def test_what_can_not_be_a_portrait_is_refused(prepared, shared, tmp_path):
    grey = [np.full((64, 64, 3), 90 + number, np.uint8) for number in range(12)]
    write_video(tmp_path / "grey.mp4", grey)
    with pytest.raises(UserError, match="grey.mp4: a face in 0 of"):
        prepared([tmp_path / "grey.mp4"])
    silent = shared / "data/mead/happy_256.mp4"
    with pytest.raises(UserError, match="no sound track"):
        prepared([silent], need_sound=True)
