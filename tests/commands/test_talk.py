"""`emogene talk`: speech, silence or saved landmarks become a video, or a clear refusal."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from emogene_jax import cli
from emogene_jax.audio.load import load_audio
from emogene_jax.avatar.file import save_avatar
from emogene_jax.commands import talk
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.media.video import iter_frames, read_video, video_info
from emogene_jax.pipeline import perform_idle
from emogene_jax.portrait import prepare
from emogene_jax.signals import Pose, UserError, motion_to_landmarks
from tests.media.made import beep, numbered, onset, write


@pytest.fixture(scope="module")
def avatar(person, tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk") / "avatar"
    save_avatar(person, folder)
    return folder


@pytest.fixture(scope="module")
def idled(avatar):
    """Half a second of silence, and what was saved of it."""
    video, saved = avatar.parent / "idle.mp4", avatar.parent / "idle.npz"
    talk.idle(avatar, 0.5, video, seed=2, landmarks_out=saved)
    return video, saved


def test_an_idle_clip_is_as_long_as_was_asked_for(idled):
    info = video_info(idled[0])
    assert info["frames"] == 12 and info["fps"] == 25
    assert info["width"] == info["height"] == 32


def test_folders_that_are_named_are_made(avatar, tmp_path):
    video, saved = tmp_path / "new" / "deep" / "a.mp4", tmp_path / "other" / "a.npz"
    talk.idle(avatar, 0.08, video, landmarks_out=saved)
    assert video_info(video)["frames"] == 2 and saved.is_file()


def test_a_track_that_outlasts_the_speech_is_told(avatar, tmp_path):
    """And what the speech reaches of it is shown."""
    wavfile.write(tmp_path / "a.wav", 16_000, np.zeros(8000, np.int16))
    track = [(0.0, "neutral", 1.0), (3.0, "happy", 1.0)]
    with pytest.warns(UserWarning, match=r"a\.wav: .* 0\.5 s of speech: no 3s=happy"):
        talk.talk(avatar, [tmp_path / "a.wav"], track, tmp_path / "a.mp4")
    assert video_info(tmp_path / "a.mp4")["frames"] in (12, 13)


@pytest.fixture(scope="module")
def speeches(tmp_path_factory):
    """Files of .4, .8 and .6 s."""
    folder = tmp_path_factory.mktemp("speeches")
    rng = np.random.default_rng(0)
    for name, samples in (("a", 6400), ("b", 12_800), ("c", 9600)):
        sound = rng.normal(0, 3000, samples).astype(np.int16)
        wavfile.write(folder / f"{name}.wav", 16_000, sound)
    return sorted(folder.iterdir())


HAPPY = [(0.0, "happy", 1.0)]


@pytest.fixture(scope="module")
def spoken(avatar, speeches, tmp_path_factory):
    """The folder of their videos, made in one go."""
    out = tmp_path_factory.mktemp("spoken") / "out"
    talk.talk(avatar, speeches, HAPPY, out)
    return out


def test_several_speeches_become_a_video_each(avatar, speeches, spoken, tmp_path):
    assert sorted(path.name for path in spoken.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]
    for name, frames, speech in zip("abc", (10, 20, 15), speeches, strict=True):
        assert video_info(spoken / f"{name}.mp4")["frames"] == frames
        # As it is alone, but for what busy threads sum otherwise.
        talk.talk(avatar, [speech], HAPPY, tmp_path / "alone.mp4")
        alone, together = (
            read_video(path)[0].astype(int)
            for path in (tmp_path / "alone.mp4", spoken / f"{name}.mp4")
        )
        assert np.abs(alone - together).mean() < 0.1


def test_hosts_share_several_speeches(avatar, speeches, spoken, tmp_path):
    """Two processes of two devices each, which never meet."""
    out = tmp_path / "out"
    told = [str(avatar), "--audio", *map(str, speeches), "--emotion", "happy"]
    root = str(Path(__file__).parents[2])
    variables = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    variables |= {"PYTHONPATH": root}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "emogene_jax.cli", "talk", *told, "--out", str(out)],
            env=variables | {"EMOGENE_DISTRIBUTED": f"{index}/2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    said = [host.communicate(timeout=600)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert "25/25" in said[0] and "20/20" in said[1]  # a and c, and b
    for name in "abc":
        one, shared = (
            read_video(folder / f"{name}.mp4")[0].astype(int)
            for folder in (spoken, out)
        )
        assert np.abs(one - shared).mean() < 0.1


def test_a_host_without_a_share_does_nothing(avatar, speeches, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOGENE_DISTRIBUTED", "1/2")
    talk.talk(avatar, speeches[:1], HAPPY, tmp_path / "a.mp4")
    asked = ["talk", str(avatar), "--idle", "1", "--out", str(tmp_path / "idle.mp4")]
    assert cli.main(asked) == 0
    assert not list(tmp_path.iterdir())


def test_the_next_speech_is_rendered_while_a_file_ends(
    avatar, speeches, tmp_path, monkeypatch
):
    begun = {name: threading.Event() for name in "ab"}

    def write_video(path, frames, sound):
        begun[path.stem].set()
        assert all(frame.shape == (32, 32, 3) for frame in frames)
        # Its encoder ends when the other speech is on its way.
        assert begun["b"].wait(60)

    monkeypatch.setattr(talk, "write_video", write_video)
    talk.talk(avatar, speeches[:2], HAPPY, tmp_path / "out")


def test_a_speech_that_fails_ends_the_others(avatar, speeches, tmp_path, monkeypatch):
    """Those that run leave nothing half-written, and no other begins."""
    told, heard = threading.Event(), []

    def audio_features(waveform, content):
        heard.append(len(waveform))
        if len(heard) == 2:
            told.set()
            raise UserError("b.wav: no")
        return features(waveform, content)

    def frames(self, *performance):
        assert told.wait(60)
        for frame in all_frames(self, *performance):
            time.sleep(0.1)
            yield frame

    features, all_frames = talk.audio_features, Renderer.frames
    monkeypatch.setattr(talk, "audio_features", audio_features)
    monkeypatch.setattr(Renderer, "frames", frames)
    with pytest.raises(UserError, match=r"b\.wav: no"):
        talk.talk(avatar, speeches, HAPPY, tmp_path / "out")
    assert len(heard) == 2 and not list((tmp_path / "out").iterdir())


def test_saved_landmarks_drive_to_the_same_video(avatar, idled, person, tmp_path):
    video, saved = idled
    again, saved_again = tmp_path / "again.mp4", tmp_path / "again.npz"
    talk.drive(avatar, saved, again, landmarks_out=saved_again)
    assert len(read_video(again)[0]) == len(read_video(video)[0])
    # Before they are encoded: H.264 makes whole blocks of a pixel that is rounded the
    # other way, as some are (landmarks went to cm and back; busy threads sum otherwise).
    renderer = Renderer(person.fields)

    def frames(*performance):
        return np.stack(list(renderer.frames(*performance))).astype(int)

    acted = perform_idle(person, 12, 2)
    first, second = frames(*acted), frames(*talk._load(saved))
    assert np.abs(first - second).max() <= 1 and np.abs(first - second).mean() < 0.01
    beside = acted.pose._replace(translation=acted.pose.translation + 0.2)  # cm
    assert np.abs(frames(acted.motion, beside, acted.torso) - first).mean() > 0.1
    with np.load(saved) as one, np.load(saved_again) as two:
        assert set(one.files) == {
            *("landmarks", "rest", "rotation", "translation", "torso"),
        }
        assert one["landmarks"].shape == (12, 68, 3)
        for name in one.files:
            np.testing.assert_allclose(one[name], two[name], atol=1e-4)
    assert not list(tmp_path.glob(".*"))


def test_another_face_drives_by_its_motion(avatar, idled, person, tmp_path):
    """Landmarks of a face twice as large, about its own rest: the same motion."""
    with np.load(idled[1]) as saved:
        arrays = dict(saved)
    large = {name: 2 * arrays[name] for name in ("landmarks", "rest")}
    np.savez(tmp_path / "large.npz", **arrays | large)
    expected = motion_to_landmarks(talk._load(idled[1]).motion, person.rest)
    found = motion_to_landmarks(talk._load(tmp_path / "large.npz").motion, person.rest)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rest": None}, "rest"),
        ({"landmarks": np.zeros((12, 67, 3))}, "shapes"),
        ({"landmarks": np.zeros((0, 68, 3))}, "shapes"),
        ({"translation": np.zeros((11, 3))}, "shapes"),
        ({"rotation": np.full((12, 3, 3), np.nan)}, "NaN"),
        ({"landmarks": np.array([{}] * 12, object)}, "expected an .npz"),
    ],
)
def test_bad_landmarks_are_refused(avatar, idled, tmp_path, change, message):
    with np.load(idled[1]) as saved:
        arrays = {k: v for k, v in (dict(saved) | change).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    out = tmp_path / "out.mp4"
    with pytest.raises(UserError, match=rf"bad\.npz: .*{message}"):
        talk.drive(avatar, tmp_path / "bad.npz", out)
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_broken_file_of_landmarks_is_refused(avatar, tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.npz"):
        talk.drive(avatar, tmp_path / "bad.npz", tmp_path / "out.mp4")


@pytest.mark.parametrize("end", ["mkv", "mp4"])
def test_what_drives_is_heard_when_it_is_seen(avatar, tmp_path, monkeypatch, end):
    """The default track, late and with a gap, of a file with an odd name."""
    source, out = tmp_path / f"10:30 %03d.{end}", tmp_path / "a:%d.mp4"
    silent = np.zeros((1, 32_000), np.float32)
    tracks = [(silent, 0.0), (beep(2.0, 1.5)[None], 0.6)]
    write(
        source, numbered(60), tracks, late=0.2, codec="aac" if end == "mp4" else "flac"
    )

    def track_performance(path, face_model):
        count = sum(1 for _ in iter_frames(path))
        still = Pose(np.eye(3)[None].repeat(count, 0), np.zeros((count, 3)))
        return np.zeros((count, 68, 3)), still, True

    monkeypatch.setattr(prepare, "track_performance", track_performance)
    talk.drive(avatar, source, out)
    assert video_info(out)["frames"] == 60
    assert onset(load_audio(out)) == pytest.approx(2.3, abs=0.03)


def test_a_background_is_cut_to_its_middle_square(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    square = talk.open_background(tmp_path / "wide.png")
    assert square.size == (20, 20) and (np.asarray(square) == 255).all()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="not a picture"):
        talk.open_background(tmp_path / "text.png")
