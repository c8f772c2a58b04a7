"""Videos that drive an avatar: what is filmed of somebody, on the clock of its sound."""

import numpy as np

from emogene_jax.face.pose_fit import away
from emogene_jax.media.video import iter_frames, write_video
from emogene_jax.portrait import prepare
from emogene_jax.portrait.prepare import track_performance
from emogene_jax.portrait.told import describe_driver
from emogene_jax.rigid import rotation_exp, rotation_log
from emogene_jax.signals import Pose


def test_who_drives_goes_on_where_no_face_or_another_is(shared, tmp_path):
    """What is heard goes on, so the avatar is at rest meanwhile; and all of it is said."""
    mine = [
        frame
        for _, frame in zip(range(20), iter_frames(shared / "data/portrait/may_5s.mp4"))
    ]
    german = iter_frames(shared / "data/portrait/german_20s.mp4")
    title = [np.full_like(mine[0], 30)] * 12
    shown = [*title, *(f for _, f in zip(range(24), german)), *mine[:12]]
    write_video(tmp_path / "a.mp4", shown, np.ones(16_000, np.float32) / 2)
    model, said = shared / "data/models/face_landmarker.task", []
    motion, pose, sound = track_performance(tmp_path / "a.mp4", model, said.append)
    assert sound and len(motion) == len(pose.rotation) == 48
    still = np.abs(motion).max((1, 2))
    assert still[[0, 5, -1, -5]].max() < 1e-4 < 1e-2 < still[16:34].max()
    told = "\n".join(said)
    assert "no face, or only its side, from 0.0 to 0.5 s: at rest there" in told
    assert "another person from 1.4 to 1.9 s: at rest there" in told
    assert "cut at 0.5, 1.4 s" in told and "interpolated" not in told


def test_each_shot_of_who_drives_begins_at_home():
    """Another camera makes no head jump; between, it goes on evenly."""
    turn = 0.1 * np.sin(np.arange(20))[:, None] * [0, 1, 0]
    far = np.repeat([[0.0, 0.6, 0.0], [0.0, -0.4, 0.2]], 10, 0)
    pose = Pose(rotation_exp(far) @ rotation_exp(turn), 100 * far + turn)
    mine = away(pose, np.repeat([0, 1], 10))
    np.testing.assert_allclose(rotation_log(mine.rotation), turn, atol=0.05)
    assert np.abs(mine.translation).max() < 0.2
    rows = np.r_[5:15, 25:35]
    motion, pose = prepare._unbroken(np.ones((20, 68, 3)), mine, rows, 40)
    assert pose.rotation.shape == (40, 3, 3) and motion[20].max() < 0.02
    np.testing.assert_allclose(pose.translation[rows], mine.translation)
    np.testing.assert_allclose(motion[10], 1, atol=0.05)
    change = np.diff(pose.translation[14:26], axis=0)
    np.testing.assert_allclose(change, change[:1].repeat(11, 0), atol=1e-9)


def test_what_is_wrong_with_who_drives_is_said():
    look = dict.fromkeys(("high_range", "interlaced", "transparent", "mirrored"), True)
    look |= {"file": "a.mp4", "seconds": 8.0, "width": 640, "height": 480, "fps": 30.0}
    look |= {"rotation": 90, "sound": False, "sound_tracks": 2, "sound_begins": 0.8}
    look |= {"faces": 2, "people": 1, "face": 1.0, "face_size": 80.0, "blur": 1.0}
    look |= {"camera_movement": 5.0, "still": 0.6, "covered": 0.5, "stretched": 1.4}
    text = "\n".join(describe_driver(look | {"cuts": [3.0], "first": 0}))
    for word in ("8.0 s, 640 x 480", "80 px only", "blurred", "so will the head"):
        assert word in text
    for word in ("nothing will be heard", "cut at 3.0 s", "2 faces", "over the mouth"):
        assert word in text
    for word in ("high dynamic range", "interlaced", "mirrored", "90 degrees"):
        assert word in text
