"""The command line: what it accepts, and how it refuses."""

import errno
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

from emogene_jax import arguments, cli
from emogene_jax.emotions import parse_emotion
from emogene_jax.media.video import write_video
from emogene_jax.signals import EMOTIONS, UserError


@pytest.fixture
def avatar(tmp_path):
    folder = tmp_path / "avatar"
    folder.mkdir()
    (folder / "avatar.json").write_text("{}")
    return folder


@pytest.fixture
def speech(tmp_path):
    file = tmp_path / "speech.wav"
    file.write_bytes(b"RIFF")
    return file


def _record(monkeypatch, module, *names):
    """Puts recorders in place of a module's functions; they take what those take."""
    calls = []

    def recorder(name, signature):
        def record(*args, **kwargs):
            signature.bind(*args, **kwargs)
            calls.append((name, args, kwargs))

        return record

    module = importlib.import_module(module)
    for name in names:
        signature = inspect.signature(getattr(module, name))
        monkeypatch.setattr(module, name, recorder(name, signature))
    return calls


def _refused(capsys, *argv):
    """The one line with which a command line is refused."""
    assert cli.main([str(arg) for arg in argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.mark.parametrize(
    ("text", "track"),
    [
        ("happy", [(0.0, "happy", 1.0)]),
        ("Sad:0.7", [(0.0, "sad", 0.7)]),
        ("0s=neutral, 3s=happy:0.8", [(0.0, "neutral", 1.0), (3.0, "happy", 0.8)]),
        ("1s=fear,2.5s=angry:0", [(0.0, "fear", 1.0), (2.5, "angry", 0.0)]),
    ],
)
def test_emotion_track(text, track):
    assert parse_emotion(text) == track


@pytest.mark.parametrize(
    "text",
    [
        *("", "happy:", "happy:much", "happy:nan", "happy:inf", "happy:-1"),
        *("happy,sad", "3s=happy,1s=sad", "0s=happy,0s=sad", "xs=happy", "5=happy"),
        "happy:0.5:1",
    ],
)
def test_bad_emotions_are_refused(text):
    with pytest.raises(UserError, match="emotion"):
        parse_emotion(text)


def test_unknown_emotion_lists_all_and_suggests():
    with pytest.raises(UserError, match=r"'suprise' \(did you mean surprise\?\)") as e:
        parse_emotion("suprise")
    assert all(name in str(e.value) for name in EMOTIONS)


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("emogene 0.")


def test_unknown_options_are_refused_not_guessed(capsys):
    assert "--presett" in _refused(capsys, "demo", "--presett", "tiny")
    assert "--pres" in _refused(capsys, "demo", "--pres", "tiny")
    assert "bogus" in _refused(capsys, "bogus")
    assert "COMMAND" in _refused(capsys)


def test_talk_checks_arguments_before_it_works(capsys, avatar, speech, tmp_path):
    out = tmp_path / "out.mp4"
    base = ("talk", avatar, "--out", out)
    assert "joy" in _refused(capsys, *base, "--audio", speech, "--emotion", "joy")
    assert "--audio" in _refused(capsys, *base)
    assert "--idle" in _refused(capsys, *base, "--idle", "nan")
    assert "--idle 0" in _refused(capsys, *base, "--idle", "0")
    assert "at most" in _refused(capsys, *base, "--idle", "1e15")
    assert "--seed" in _refused(capsys, *base, "--idle", "1", "--seed", "-1")
    assert "not allowed" in _refused(capsys, *base, "--idle", 1, "--audio", speech)
    assert "--emotion" in _refused(capsys, *base, "--idle", 1, "--emotion", "sad")
    assert "no.wav" in _refused(capsys, *base, "--audio", tmp_path / "no.wav")
    text = tmp_path / "out.txt"
    assert ".mp4" in _refused(capsys, "talk", avatar, "--idle", 1, "--out", text)
    assert "avatar.json" in _refused(
        capsys, "talk", tmp_path, "--idle", "1", "--out", out
    )
    assert not out.exists()


def test_unwritable_output_is_found_early(capsys, avatar, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    inside = file / "deep" / "out.mp4"
    assert "can't be written" in _refused(
        capsys, "talk", avatar, "--idle", "1", "--out", inside
    )
    assert "is a file" in _refused(capsys, "prepare", tmp_path, "--out", file)
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    assert "is a folder" in _refused(
        capsys, "talk", avatar, "--idle", "1", "--out", folder
    )
    assert file.read_text() == "kept"


def test_nothing_is_written_over_what_is_read_or_written(capsys, avatar, tmp_path):
    film, other = tmp_path / "film.mp4", tmp_path / "deep" / ".." / "film.mp4"
    film.write_bytes(b"kept")
    (tmp_path / "deep").mkdir()
    talk, over = ("talk", avatar, "--out"), "would be written over"
    assert over in _refused(capsys, *talk, other, "--audio", film)
    assert over in _refused(capsys, *talk, film, "--drive", film)
    assert over in _refused(capsys, *talk, tmp_path, "--audio", film, avatar)
    twice = ("--idle", 1, "--landmarks-out", tmp_path / "new.mp4")
    assert over in _refused(capsys, *talk, tmp_path / "new.mp4", *twice)
    assert film.read_bytes() == b"kept"


def test_talk_reaches_its_functions(monkeypatch, avatar, speech, tmp_path):
    calls = _record(monkeypatch, "emogene_jax.commands.talk", "talk", "idle", "drive")
    out = str(tmp_path / "new" / "out.mp4")
    talk = ["talk", str(avatar), "--out", out]
    assert cli.main([*talk, "--audio", str(speech), "--emotion", "sad:2"]) == 0
    assert cli.main([*talk, "--idle", "3", "--seed", "5"]) == 0
    landmarks = str(tmp_path / "landmarks.npz")
    drive = ["--drive", str(speech), "--landmarks-out", landmarks]
    assert cli.main([*talk, *drive]) == 0
    assert [call[0] for call in calls] == ["talk", "idle", "drive"]
    assert calls[0][1][1:3] == ([str(speech)], [(0.0, "sad", 2.0)])
    assert calls[1][1][1:4] == (3.0, out, 5)
    assert calls[2][1][1:] == (str(speech), out)
    assert calls[2][2]["landmarks_out"] == landmarks


def test_create_passes_its_options_on(monkeypatch, speech, tmp_path):
    calls = _record(monkeypatch, "emogene_jax.commands.create", "create")
    create = ["create", str(speech), "--out", str(tmp_path / "a")]
    assert cli.main([*create, "--size", "128", "--crop", "10,20,300"]) == 0
    options = calls[0][2]
    assert options["size"] == 128 and options["crop"] == [10, 20, 300]
    assert options["holdout_seconds"] is None and options["preset"] == "auto"


@pytest.mark.parametrize("crop", ["maybe", "1,2", "1,2,3,4", "-1,0,100", "0,0,5"])
def test_bad_crops_are_refused(capsys, crop, speech, tmp_path):
    argv = ("prepare", speech, "--out", tmp_path / "d", f"--crop={crop}")
    assert "--crop" in _refused(capsys, *argv)


@pytest.mark.parametrize("size", ["0", "33", "4096", "big", "64.5"])
def test_bad_sizes_are_refused(capsys, size, speech, tmp_path):
    argv = ("prepare", speech, "--out", tmp_path / "d", "--size", size)
    assert "--size" in _refused(capsys, *argv)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("clip.mp4: empty,\n expected a video"), "clip.mp4: empty, expected"),
        (FileNotFoundError(2, "No such file", "x.npz"), "x.npz: No such file"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_expected_failures_are_one_line(capsys, monkeypatch, error, line):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "_doctor", fail)
    assert line in _refused(capsys, "doctor")


def test_a_disk_that_tensorflow_finds_full_is_one_line(capsys, monkeypatch):
    class ResourceExhaustedError(Exception):  # as tf.errors has it
        message = "clips.tfrecord; No space left on device"

    def fail(_):
        try:
            raise ResourceExhaustedError
        except ResourceExhaustedError as error:
            raise RuntimeError("Failed to write the split") from error

    monkeypatch.setattr(cli, "_doctor", fail)
    assert "clips.tfrecord; No space left on device" in _refused(capsys, "doctor")


INTERRUPTED = """import os, signal, sys, time
from emogene_jax import cli

# Where tests are a job in the background, it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Careless:
    def __del__(self):  # as in a library's callback, what is raised here is ignored
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.01)


def work(_):
    try:
        Careless()
        time.sleep(30)
        print("never told")
    finally:
        print("tidied up")


cli._doctor = work
sys.exit(cli.main(["doctor"]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_that_a_library_ignores_still_ends_a_command(name):
    script = INTERRUPTED.format(name=name)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20
    )
    assert (run.returncode, run.stdout, run.stderr) == (
        *(2, "tidied up\n"),
        "error: interrupted\n",
    )


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_doctor", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


CONFIG = """
import ml_collections

def get_config(arg=""):
    config = ml_collections.ConfigDict({"lr": 1e-3, "steps": 100, "arg": arg})
    config.frozen = ml_collections.ConfigDict({"head": ""})
    return config
"""


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    return file


def test_train_reads_the_config_with_overrides(monkeypatch, config_file, tmp_path):
    calls = _record(monkeypatch, "emogene_jax.recipes.run", "train_from_config")
    workdir = str(tmp_path / "work")
    argv = ["train", f"--config={config_file}:tiny", "--workdir", workdir]
    assert cli.main([*argv, "--config.lr=1e-2", "--config.frozen.head=/tmp/h"]) == 0
    (_, (config, where, profile), _) = calls[0]
    assert not profile
    assert where == workdir
    assert config.to_dict() == {
        "lr": 0.01,
        "steps": 100,
        "arg": "tiny",
        "frozen": {"head": "/tmp/h"},
    }


@pytest.mark.parametrize(
    "override",
    ["--config.lrr=1", "--config.steps=1e3", "--confg.lr=1", "--lr=1", "--config.lr"],
)
def test_train_refuses_bad_overrides(capsys, config_file, tmp_path, override):
    argv = ("train", f"--config={config_file}", "--workdir", tmp_path / "w", override)
    assert _refused(capsys, *argv)
    assert not (tmp_path / "w").exists()


def test_train_names_the_stages(capsys, tmp_path):
    line = _refused(capsys, "train", "--config=haed", "--workdir", tmp_path / "w")
    assert "haed" in line and all(stage in line for stage in cli.STAGES)


def test_the_command_line_alone_is_light():
    """Refusing bad input must not wait for JAX or TensorFlow."""
    heavy = "{'jax', 'tensorflow', 'mediapipe', 'librosa', 'transformers', 'av'}"
    code = (
        "import sys; from emogene_jax import cli; assert cli.main(['bogus']) == 2;"
        f" print({heavy} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), ("100:00", 6000), ("0", 0)],
)
def test_times_of_a_video(text, seconds):
    assert arguments.time(text) == seconds


@pytest.mark.parametrize("command", ["prepare", "create"])
def test_a_stretch_of_time_is_passed_on_or_refused(
    monkeypatch, capsys, command, speech, tmp_path
):
    """Before anything is imported that is heavy, and before a model is looked for."""
    module, name = {
        "prepare": ("portrait.prepare", "prepare_portrait"),
        "create": ("commands.create", "create"),
    }[command]
    calls = _record(monkeypatch, f"emogene_jax.{module}", name)
    monkeypatch.setattr("emogene_jax.audio.features.choose_content", lambda name: {})
    monkeypatch.setattr("emogene_jax.portrait.records.write_portrait_records", str)
    video, out = tmp_path / "a.mp4", tmp_path / "out"
    write_video(video, np.zeros((100, 32, 32, 3), np.uint8))
    argv = [command, str(video), "--out", str(out)]
    assert cli.main([*argv, "--from", "0:01", "--to", "3.5"]) == 0
    assert cli.main([*argv, "--to", "3"]) == 0
    assert cli.main(argv) == 0
    times = [call[2]["times"] for call in calls]
    assert [t and tuple(t) for t in times] == [(1, 3.5), (0, 3), None]
    for bad, told in (
        (["--from", "3", "--to", "1"], "--to 1 s: expected more than --from 3 s"),
        (["--from", "5"], "a.mp4: --from 5 s lies behind its end"),
        (["--to", "5:00"], "a.mp4: --to 300 s lies behind its end"),
        (["--from", "1", "--to", "2"], "a.mp4: 1.0 s from 1 to 2 s"),
        *((["--from", text], f"'{text}'") for text in ("x", "1:75", "1:2:3:4", "nan")),
        (["--from=-1"], "'-1'"),
    ):
        assert told in _refused(capsys, *argv, *bad)
    for more, found in (([video], "2 sources"), ([], "a folder")):
        sources = [video, *more] if more else [tmp_path]
        line = _refused(capsys, command, *sources, "--out", out, "--from", "1")
        assert found in line
    assert len(calls) == 3 and not out.exists()
