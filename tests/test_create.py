"""`emogene create`: what is held out stays out; killed and run again, the same avatar."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from emogene_jax import create
from emogene_jax.avatar import load_avatar
from emogene_jax.data.pack import save_portrait
from emogene_jax.pipeline import one_after_the_other
from emogene_jax.signals import FPS, UserError

ROOT = Path(__file__).resolve().parent.parent
REQUEST = {"sources": [["a.mp4", "1"]], "size": 64, "crop": [1, 2, 3]}


def test_a_new_folder_is_made_ready(tmp_path):
    out, work = tmp_path / "new", tmp_path / "new" / ".work"
    assert not create._already(out, work, REQUEST)
    assert json.loads((work / "request.json").read_text()) == REQUEST
    # Killed before anything else was written, it is begun again.
    assert not create._already(out, work, REQUEST)


def test_a_finished_one_is_left_alone(tmp_path):
    header = {"info": {"request": REQUEST}}
    (tmp_path / "avatar.json").write_text(json.dumps(header))
    (tmp_path / ".work").mkdir()
    assert create._already(tmp_path, tmp_path / ".work", REQUEST)
    assert not (tmp_path / ".work").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_request_is_refused_and_named(tmp_path, finished):
    work = tmp_path / ".work"
    if finished:
        header = {"info": {"request": REQUEST}}
        (tmp_path / "avatar.json").write_text(json.dumps(header))
    else:
        create._already(tmp_path, work, REQUEST)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="other size;"):
        create._already(tmp_path, work, REQUEST | {"size": 128})
    assert sorted(tmp_path.rglob("*")) == before


def test_somebody_elses_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("kept")
    with pytest.raises(UserError, match="other files"):
        create._already(tmp_path, tmp_path / ".work", REQUEST)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_source_is_known_by_its_content(tmp_path):
    first, second = tmp_path / "a" / "v.mp4", tmp_path / "b" / "v.mp4"
    for path, content in ((first, b"1"), (second, b"2")):
        path.parent.mkdir()
        path.write_bytes(content)
    assert create._identity(first) != create._identity(second)
    second.write_bytes(b"1")
    assert create._identity(first) == create._identity(second)
    assert create._identity(tmp_path / "a") != create._identity(first)


@pytest.mark.parametrize(
    ("seconds", "asked", "held"),
    [(11, None, 1), (110, None, 10), (600, None, 20), (10, 3, 3), (10, 0, 0)],
)
def test_how_much_is_held_out(seconds, asked, held):
    assert create.held_out(seconds * FPS, asked) == held * FPS


@pytest.mark.parametrize(("frames", "asked"), [(40, None), (100, 2.5), (0, None)])
def test_too_little_to_learn_from_is_refused(frames, asked):
    with pytest.raises(UserError, match=r"at least 2\.0 s"):
        create.held_out(frames, asked)


def test_a_cut_is_all_of_some_frames(filmed):
    total = len(filmed.frames)
    part = create.cut(filmed, slice(10, 30))
    rest = create.cut(filmed, slice(30, None))
    assert len(rest.frames) == total - 30
    for name in ("frames", "head_matte", "torso_matte", "mesh", "landmarks", "speech"):
        np.testing.assert_array_equal(getattr(part, name), getattr(filmed, name)[10:30])
    np.testing.assert_array_equal(part.content, filmed.content[20:60])
    np.testing.assert_array_equal(part.f0, filmed.f0[20:60])
    np.testing.assert_array_equal(part.waveform, filmed.waveform[6400:19200])
    np.testing.assert_array_equal(part.pose.rotation, filmed.pose.rotation[10:30])
    for name in ("rest", "rest_mesh", "background"):
        np.testing.assert_array_equal(getattr(part, name), getattr(filmed, name))
    assert part.camera == filmed.camera


def test_a_cut_does_not_mistake_other_lengths_for_frames(filmed):
    """68 landmarks, 68 frames: rest is no row of frames."""
    short = create.cut(filmed, slice(0, 68))
    shorter = create.cut(short, slice(0, 10))
    assert shorter.rest.shape == (68, 3) and shorter.rest_mesh.shape == (68, 3)
    assert shorter.frames.shape[0] == 10


def test_a_portrait_of_another_size_or_beside_videos_is_refused(filmed, tmp_path):
    save_portrait(filmed, tmp_path / "data")
    options = {"work": tmp_path, "crop": "auto", "face_model": None}
    options |= {"content": None, "need_sound": True}
    with pytest.raises(UserError, match="32 px, --size asks for 64"):
        create._portrait([tmp_path / "data"], size=64, **options)
    with pytest.raises(UserError, match="found both"):
        create._portrait([tmp_path / "data", "b.mp4"], size=None, **options)
    mute = filmed._replace(waveform=filmed.waveform[:0])
    save_portrait(mute, tmp_path / "mute")
    with pytest.raises(UserError, match="no sound track"):
        create._portrait([tmp_path / "mute"], size=None, **options)


def test_only_what_was_never_filmed_is_made_up(filmed, monkeypatch):
    """A character filmed neutrally and happily: no other happiness is painted, and none
    of the others onto a happy face."""
    asked = []

    def express(motion, deformation, rng, emotions):
        asked.append((motion, emotions))
        return motion

    monkeypatch.setattr(create, "random_expressions", express)
    seen = {}

    def augment(frames, mattes, mesh, rest_mesh, pose, camera, express, rng, count):
        seen.update(frames=len(frames), count=count)
        express(mesh, rng)
        raise StopIteration

    monkeypatch.setattr("emogene_jax.face.augment.augment", augment)
    calm = int((filmed.emotion == create.NEUTRAL).sum())
    for names, frames, count in (
        ([], len(filmed.frames), 70),
        (["happy", "sad"], calm, 50),
    ):
        with pytest.raises(StopIteration):
            create.vary(filmed, None, names, count=70)
        assert seen == {"frames": frames, "count": count}
        assert asked[-1][1] == [name for name in create.FELT if name not in names]
    assert create.vary(filmed, None, create.FELT) is None


def test_own_emotions_are_learned_from_what_is_not_held_out(filmed, capsys):
    happy = filmed.emotion != create.NEUTRAL
    first = int(np.argmax(happy))
    takes = create.told_takes(filmed)
    assert takes.filmed == ["happy"] and "happy" in capsys.readouterr().out
    # Held out but for half a second: too little to tell.
    training = create.cut(filmed, slice(0, first + 12))
    takes = create.told_takes(training)
    assert takes.filmed == [] and len(takes.motion) == first + 12
    assert takes.known.sum() == first


# A lesson of seconds, and nothing that needs a tracker or another stage's training.
DRIVER = """
import sys
import numpy as np
from emogene_jax import create
from emogene_jax.emotion_to_video.fit import Plan
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.evaluate import avatar
from emogene_jax.pipeline import Lesson

head, torso = HeadSize(8, 4, 2, 4, 2, 8, 16), TorsoSize(8, 16, 4, 4, 8)
plan = Plan(head, torso, 60, 10, head_rays=32, torso_rays=32, samples=8, ckpt_steps=20)
create.lesson = lambda *_: Lesson(plan, 0)
create.vary = lambda portrait, prior, filmed: None
create.learn_style = lambda takes, prior, workdir: prior
wide = {"layer_0": (220, 2), "layer_1": (2, 2), "layer_2": (2, 204)}
moves = {name: {"kernel": np.zeros(wide[name], np.float32)} for name in wide}
for name, part in moves.items():
    part["bias"] = np.zeros(wide[name][1], np.float32)
moves["embedding"] = np.zeros((8, 16), np.float32)
create.load_deformation = lambda workdir: moves
spoken = {}, {"params": {}, "aux": {}}
create.load_audio_to_motion = lambda workdir: (spoken, {"type": "log_mel"})
avatar._landmark_distance = lambda *_: None
create.create([sys.argv[1]], sys.argv[2], holdout_seconds=0.4, preset="cpu")
"""


@pytest.fixture(scope="module")
def driver(filmed, tmp_path_factory):
    """Starts a tiny `create` of the character into a folder; a process."""
    folder = tmp_path_factory.mktemp("create")
    (folder / "driver.py").write_text(DRIVER)
    save_portrait(filmed, folder / "data")
    variables = os.environ | {
        "EMOGENE_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }

    def start(out):
        command = [sys.executable, folder / "driver.py", folder / "data", out]
        return subprocess.Popen(
            list(map(str, command)),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def undisturbed(driver, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "avatar"
    finish(driver(out))
    return out


@pytest.mark.slow
def test_the_avatar_and_its_numbers_are_there(undisturbed, filmed):
    names = {path.name for path in undisturbed.iterdir()}
    assert {"avatar.json", "fields.safetensors", "metrics.json", "preview.png"} <= names
    assert ".work" not in names
    metrics = json.loads((undisturbed / "metrics.json").read_text())
    assert set(metrics["psnr"]) == {"full", "head", "head_matte", "face", "mouth"}
    assert set(metrics["train_seconds"]) == {"head", "torso"}
    # The end of the video was measured, and is not part of what was learned.
    assert metrics["frames"] == filmed.source_frame[-10:].tolist()
    learned = load_avatar(undisturbed).pose.translation
    known = create.cut(filmed, slice(0, -10))
    expected = one_after_the_other(known).translation
    np.testing.assert_array_equal(learned, expected)
    assert len(learned) == len(filmed.frames) - 10
    first = filmed.clip == 0
    np.testing.assert_array_equal(
        learned[: first.sum()], filmed.pose.translation[first]
    )


@pytest.mark.slow
def test_killed_and_run_again_it_is_the_same_to_the_bit(driver, undisturbed, tmp_path):
    out = tmp_path / "avatar"
    checkpoints = out / ".work" / "head" / "checkpoints"
    process = driver(out)
    while process.poll() is None and not (checkpoints / "20").is_dir():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "avatar.json").exists() and not (out / ".work" / "torso").exists()
    finish(driver(out))
    for name in ("fields", "person"):
        again, once = (
            (folder / f"{name}.safetensors").read_bytes()
            for folder in (out, undisturbed)
        )
        assert again == once
    assert not (out / ".work").exists()


def test_a_finished_avatar_returns_at_once(driver, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    assert "nothing to do" in finish(driver(undisturbed))
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before
