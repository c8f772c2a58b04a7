"""`emogene create`: what is held out stays out; what was decided stays decided; killed and
run again, the same avatar; and nothing is ever lost."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.avatar.assemble import one_after_the_other
from emogene_jax.avatar.file import load_avatar, save_avatar
from emogene_jax.commands import assemble as assembling
from emogene_jax.commands import create
from emogene_jax.portrait.cut import cut
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny_create.py")
REQUEST = {"sources": [["a.mp4", "1"]], "size": 64, "crop": [1, 2, 3]}
HUBERT = {"type": "hubert", "channels": 16, "model": "x", "sha256": "0" * 16}


def begun(out: Path, request=REQUEST) -> Path:
    """The work folder of a first attempt that was killed."""
    with create._nothing_left(out, out / ".work", request):
        return out / ".work"


def finish_by_hand(out: Path, **header) -> None:
    out.mkdir(exist_ok=True)
    told = {"format": create.FORMAT, "info": {"request": REQUEST}} | header
    (out / "avatar.json").write_text(json.dumps(told))


def test_a_new_folder_is_made_ready(tmp_path):
    out = tmp_path / "new"
    assert not create._finished(out, REQUEST)
    assert json.loads((begun(out) / "request.json").read_text()) == REQUEST
    begun(out)  # killed before anything else was written, it is begun again


def test_a_finished_one_is_left_alone(tmp_path):
    finish_by_hand(tmp_path)
    assert not create._finished(tmp_path, REQUEST)  # not judged yet
    (tmp_path / "metrics.json").write_text("{}")
    assert create._finished(tmp_path, REQUEST)


@pytest.mark.parametrize("finished", [True, False])
def test_another_request_is_refused_and_named(tmp_path, finished):
    if finished:
        finish_by_hand(tmp_path)
    else:
        begun(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    other = REQUEST | {"size": 128, "times": [3.0, None]}
    with pytest.raises(UserError, match="other size, times;"):
        create._finished(tmp_path, other)
        begun(tmp_path, other)
    assert sorted(tmp_path.rglob("*")) == before


def test_somebody_elses_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("kept")
    with pytest.raises(UserError, match="other files"):
        begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_avatar_of_an_older_format_is_named_and_made_again(tmp_path):
    """Not "nothing to do": the command that makes it again, of its kept work."""
    finish_by_hand(tmp_path, format=5)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="format 5, expected .*create it again"):
        create._finished(tmp_path, REQUEST)
    (tmp_path / ".work").mkdir()
    parts = {"portrait": "P", "head": "H", "torso": "T", "audio_to_motion": "A"}
    (tmp_path / ".work" / create.DECIDED).write_text(json.dumps({"parts": parts}))
    told = "emogene assemble --portrait P --head H --torso T --audio-to-motion A --out"
    with pytest.raises(UserError, match=told):
        create._finished(tmp_path, REQUEST)


def test_an_avatar_that_create_did_not_make_is_told(person, tmp_path):
    """The demo's knows of no request."""
    save_avatar(person._replace(info={k: v for k, v in person.info.items()}), tmp_path)
    with pytest.raises(UserError, match="create did not make"):
        create._finished(tmp_path, REQUEST)


def test_a_source_is_known_by_its_content(tmp_path, filmed):
    first, second = tmp_path / "a" / "v.mp4", tmp_path / "b" / "v.mp4"
    for path, content in ((first, b"1"), (second, b"2")):
        path.parent.mkdir()
        path.write_bytes(content)
    assert create._identity(first) != create._identity(second)
    second.write_bytes(b"1")
    assert create._identity(first) == create._identity(second)
    assert create._identity(tmp_path / "a") != create._identity(first)
    save_portrait(filmed, tmp_path / "data")
    before = create._identity(tmp_path / "data")
    (tmp_path / "data" / "augmented").mkdir()  # what a training keeps beside it
    (tmp_path / "data" / "augmented" / "x").write_text("1")
    assert create._identity(tmp_path / "data") == before


def test_what_was_decided_is_not_decided_again(tmp_path, monkeypatch):
    """Begun offline with log-mel and resumed online, it ends as a log-mel avatar."""
    asked = create.Request(["a.mp4"])
    monkeypatch.setattr(create, "choose_content", lambda choice: LOG_MEL)
    first = create._decide(asked, tmp_path)
    assert first["content"] == LOG_MEL
    monkeypatch.setattr(create, "choose_content", lambda choice: HUBERT)
    assert create._decide(asked, tmp_path) == first


@pytest.mark.parametrize("again", [False, True])
def test_an_input_error_leaves_the_checkpoints_of_a_resume_alone(tmp_path, again):
    out, work = tmp_path / "avatar", tmp_path / "avatar" / ".work"
    if again:
        begun(out)
        checkpoint.write(work / "head", {"w": np.zeros(2, np.float32)}, {}, {})
    with pytest.raises(UserError, match="unplugged"):
        with create._nothing_left(out, work, REQUEST):
            raise UserError("the disk with the video is unplugged")
    assert out.exists() == again
    if again:
        assert checkpoint.load(work / "head").step == 0


def test_a_portrait_of_another_size_or_beside_videos_is_refused(filmed, tmp_path):
    def portrait(*sources, **options):
        asked = create.Request([str(tmp_path / name) for name in sources], **options)
        return create._portrait(asked, tmp_path, {"content": None}, None)

    save_portrait(filmed, tmp_path / "data")
    with pytest.raises(UserError, match="32 px, --size asks for 64"):
        portrait("data", size=64)
    with pytest.raises(UserError, match="found both"):
        portrait("data", "b.mp4")
    with pytest.raises(UserError, match="--from and --to are for videos"):
        portrait("data", times=[3.0, None])
    save_portrait(filmed._replace(waveform=filmed.waveform[:0]), tmp_path / "mute")
    with pytest.raises(UserError, match="no sound track"):
        portrait("mute")


def test_how_much_is_held_out_is_the_portraits_own(filmed, tmp_path, capsys):
    """Unless other is asked for; and what a portrait was measured from is not denied."""
    look = filmed.info | {"held_out": 10, "look": [{}]}
    save_portrait(filmed._replace(info=look), tmp_path / "data")
    decided: dict = {}
    training = create._training(create.Request([]), tmp_path / "data", decided)
    assert len(training.clip) == len(filmed.clip) - 10
    assert decided == {"held_out": 10, "hindsight": ""}
    asked = create.Request([], holdout_seconds=0.6)
    create._training(asked, tmp_path / "data", decided)
    assert decided["held_out"] == 15
    assert "prepare again with --holdout-seconds 0.6" in decided["hindsight"]
    assert decided["hindsight"] in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiny_create(tmp_path_factory):
    """tiny_create.py, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOGENE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.syspath_prepend(str(TINY.parent))
        import tiny_create

        yield tiny_create
    del sys.modules["tiny_create"]


@pytest.fixture(scope="module")
def inputs(filmed, person, tmp_path_factory):
    """The character's portrait, a voice and a deformation model."""
    folder = tmp_path_factory.mktemp("create")
    save_portrait(filmed, folder / "data")
    voice, sizes = person.audio_to_motion, person.info["audio_to_motion"]
    config = {"model": sizes, "content": LOG_MEL}
    trained = voice["params"], voice["aux"]
    checkpoint.write(folder / "voice", *trained, {"config": config})
    checkpoint.write(folder / "deformation", person.deformation, {}, {})
    return [str(folder / name) for name in ("data", "voice", "deformation")]


@pytest.fixture(scope="module")
def undisturbed(tiny_create, inputs, filmed, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("undisturbed") / "avatar", io.StringIO()
    with contextlib.redirect_stdout(told):
        tiny_create.run(out, *inputs)
    expected = f"head: config head:tiny,size=32,frames={len(filmed.clip) - 10}\n"
    assert expected in told.getvalue()
    return out


@pytest.mark.slow
def test_the_avatar_and_its_numbers_are_there(undisturbed, filmed):
    names = {path.name for path in undisturbed.iterdir()}
    assert {"avatar.json", "fields.safetensors", "metrics.json", "preview.png"} <= names
    metrics = json.loads((undisturbed / "metrics.json").read_text())
    assert set(metrics["psnr"]) == {
        *("full", "full_predicted_torso", "head", "head_matte", "face", "mouth"),
    }
    trained = {"motion_to_emotion", "audio_to_motion", "head", "torso"}
    assert set(metrics["train_seconds"]) == trained  # what is given is adapted
    # The end of the video was measured, and is not part of what was learned.
    assert metrics["frames"] == filmed.source_frame[-10:].tolist()
    avatar = load_avatar(undisturbed)
    expected = one_after_the_other(cut(filmed, slice(0, -10))).translation
    np.testing.assert_array_equal(avatar.pose.translation, expected)
    assert avatar.info["filmed_emotions"] == ["happy"]
    assert avatar.info["content"] == LOG_MEL
    modes = {path.stat().st_mode for path in undisturbed.iterdir() if path.is_file()}
    assert len(modes) == 1


@pytest.mark.slow
def test_what_cant_be_judged_is_absent_with_its_reason(undisturbed):
    metrics = json.loads((undisturbed / "metrics.json").read_text())
    assert "lmd" not in metrics and "0 of 10 frames" in metrics["absent"]["lmd"]


@pytest.mark.slow
def test_a_training_by_hand_and_assemble_give_the_same_bits(undisturbed, tmp_path):
    """What create wrote down is what `emogene assemble` makes the same avatar of."""
    parts = json.loads((undisturbed / ".work" / create.DECIDED).read_text())["parts"]
    out = tmp_path / "assembled"
    assembling.assemble_avatar(**parts, out=out)
    for name in ("fields", "person", "audio_to_motion", "deformation"):
        mine, true = (f / f"{name}.safetensors" for f in (out, undisturbed))
        assert mine.read_bytes() == true.read_bytes(), name
    scores = [json.loads((f / "metrics.json").read_text()) for f in (out, undisturbed)]
    assert scores[0]["psnr"] == scores[1]["psnr"]


@pytest.mark.slow
def test_killed_and_run_again_it_is_the_same_to_the_bit(
    tiny_create, inputs, undisturbed, tmp_path
):
    out = tmp_path / "avatar"
    checkpoints = out / ".work" / "head" / "checkpoints"
    variables = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with (tmp_path / "told.txt").open("w") as told:
        command = [sys.executable, TINY, out, *inputs]
        process = subprocess.Popen(command, env=variables, stdout=told, stderr=told)
    while process.poll() is None and not (checkpoints / "20").is_dir():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    told = (tmp_path / "told.txt").read_text
    assert process.wait() == -signal.SIGKILL, told()
    assert not (out / "avatar.json").exists() and not (out / ".work" / "torso").exists()
    tiny_create.run(out, *inputs)
    for name in ("fields", "person"):
        again, once = (
            (folder / f"{name}.safetensors").read_bytes()
            for folder in (out, undisturbed)
        )
        assert again == once


@pytest.mark.slow
def test_an_avatar_is_saved_before_it_is_judged_on_three_devices_too(
    tiny_create, inputs, use_devices, tmp_path, monkeypatch
):
    use_devices(3)
    out = tmp_path / "avatar"
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(assembling, "evaluate_fields", lambda *_: 1 / 0)
        tiny_create.run(out, *inputs)
    assert load_avatar(out).fields.camera.size == 32
    assert not (out / "metrics.json").exists()
    tiny_create.run(out, *inputs)
    metrics = json.loads((out / "metrics.json").read_text())
    assert np.isfinite(list(metrics["psnr"].values())).all()


def test_a_finished_avatar_returns_at_once(tiny_create, inputs, undisturbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    tiny_create.run(undisturbed, *inputs)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before
