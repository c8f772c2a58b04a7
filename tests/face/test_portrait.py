"""A few frames of a real video become a Portrait; the pure parts need no data."""

import numpy as np
import pytest

from emogene_jax.face import landmarks as lm
from emogene_jax.face.look import describe
from emogene_jax.face.portrait import (
    _auto_box,
    emotion_of,
    find_videos,
    intensity_of,
    prepare,
)
from emogene_jax.rigid import project
from emogene_jax.signals import UserError
from emogene_jax.video import iter_frames, write_video


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
    for name in ("happy/1.mp4", "neutral/0.mp4", "sad/2.mov", "sad/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.name for path in find_videos([tmp_path])]
    assert found == ["1.mp4", "2.mov", "0.mp4"]  # held out is the end: neutral
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no video"):
        find_videos([tmp_path / "none"])


def test_automatic_crop():
    look = {"face_size": 250.0, "box": [150, 120, 350, 380]}
    assert _auto_box(512, 512, [look]) == (0, 0, 512)
    left, top, side = _auto_box(1920, 1080, [look])
    assert left >= 0 and top >= 0 and 450 < side < 600
    assert left < 150 and top < 120 and left + side > 350 and top + side > 380


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
        "face": 0.9,
        "face_size": 80.0,
        "blur": 0.9,
        "camera_movement": 5.0,
    }
    text = "\n".join(describe(look, 512))
    for word in ("8 s is little", "soft", "blurred", "camera moves", "2 faces"):
        assert word in text
    for word in ("no face in 10 %", "90 degrees", "resampled to 25", "no sound"):
        assert word in text
    good = look | {"seconds": 200.0, "fps": 25.0, "rotation": 0, "sound": True}
    good |= {"faces": 1, "face": 1.0, "face_size": 300.0, "blur": 5.0}
    assert len(describe(good | {"camera_movement": 0.1}, 512)) == 1


@pytest.fixture(scope="module")
def clip(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "may_happy.mp4"
    source = shared / "data/portrait/may_5s.mp4"
    frames = [frame for _, frame in zip(range(24), iter_frames(source))]
    write_video(path, frames, source)
    return path


def test_prepare_gives_a_whole_portrait(shared, clip):
    said = []
    model = shared / "data/models/face_landmarker.task"
    portrait = prepare([clip], 96, face_model=model, say=said.append)
    total = 24
    assert portrait.frames.shape == (total, 96, 96, 3)
    assert portrait.content.shape[0] == portrait.f0.shape[0] == 2 * total
    assert portrait.waveform.shape == (total * 640,) and portrait.speech.shape == (
        total,
    )
    assert (portrait.emotion == 4).all() and portrait.info["sources"] == [
        "may_happy.mp4"
    ]
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


def test_crop_moves_the_camera_along(shared, clip):
    model = shared / "data/models/face_landmarker.task"
    quiet = dict(face_model=model, say=lambda line: None)
    cropped = prepare([clip], 96, crop=(32, 16, 448), **quiet)
    assert cropped.camera.cx == pytest.approx((256 - 32) * 96 / 448)
    assert cropped.camera.cy == pytest.approx((256 - 16) * 96 / 448)
    with pytest.raises(UserError, match="does not lie inside"):
        prepare([clip], 96, crop=(100, 0, 500), **quiet)


def test_what_can_not_be_a_portrait_is_refused(shared, tmp_path):
    model = shared / "data/models/face_landmarker.task"
    write_video(tmp_path / "grey.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 10)
    with pytest.raises(UserError, match="grey.mp4: a face in 0 of"):
        prepare([tmp_path / "grey.mp4"], face_model=model, say=lambda line: None)
    silent = shared / "data/mead/happy_256.mp4"
    with pytest.raises(UserError, match="no sound track"):
        prepare([silent], face_model=model, need_sound=True, say=lambda line: None)
