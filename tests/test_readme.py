"""What README.md tells to type is understood, and what needs no download runs."""

import json
import re
import shlex
import wave
from pathlib import Path

import pytest

from emogene_jax import cli
from emogene_jax.data.synthetic import make_take
from emogene_jax.signals import SAMPLE_RATE
from emogene_jax.video import video_info

README = Path(__file__).resolve().parent.parent / "README.md"


def commands():
    """The `emogene …` lines of the code blocks, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words and words[0] == "emogene"]


def test_there_are_commands_to_check():
    verbs = {words[0] for words in commands()}
    assert verbs >= {"doctor", "create", "talk", "prepare", "train", "evaluate"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_readme_is_understood(words):
    args, rest = cli._parser().parse_known_args(words)
    assert callable(args.handler)
    if args.handler is cli._train:
        assert cli.read_config(args.config, rest) is not None
    else:
        assert not rest
    if getattr(args, "emotion", None):
        assert cli.parse_emotion(args.emotion)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A second and a half of a synthetic voice, as a wav file."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    samples = make_take(0, 0, 3, sentence_seconds=1.2).waveform
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def talked(tiny_demo, speech, tmp_path_factory):
    """`emogene talk avatar --audio speech.wav --emotion happy:0.8 --out happy.mp4`."""
    folder = tmp_path_factory.mktemp("talked")
    happy, landmarks = folder / "happy.mp4", folder / "happy.npz"
    words = ["talk", tiny_demo / "avatar", "--audio", speech, "--out", happy]
    words += ["--emotion", "happy:0.8", "--landmarks-out", landmarks]
    assert cli.main(list(map(str, words))) == 0
    return happy, landmarks


@pytest.mark.slow
def test_talk_makes_a_video_of_speech(talked):
    info = video_info(talked[0])
    assert info["sound"] and info["fps"] == 25 and info["frames"] > 25


@pytest.mark.slow
def test_talk_idles_and_is_driven(tiny_demo, talked, tmp_path):
    avatar = str(tiny_demo / "avatar")
    idle, driven = tmp_path / "idle.mp4", tmp_path / "driven.mp4"
    assert cli.main(["talk", avatar, "--idle", "0.4", "--out", str(idle)]) == 0
    assert video_info(idle)["frames"] == 10
    words = ["talk", avatar, "--drive", str(talked[1]), "--out", str(driven)]
    assert cli.main(words) == 0
    assert video_info(driven)["frames"] == video_info(talked[0])["frames"]


@pytest.mark.slow
def test_evaluate_compares_videos(tiny_demo, tmp_path, capsys):
    videos = tiny_demo / "videos"
    words = ["evaluate", "--reference", videos / "happy.mp4", "--generated"]
    words += [videos / "happy.mp4", videos / "sad.mp4", "--out", tmp_path / "r.json"]
    assert cli.main(list(map(str, words))) == 0
    assert "happy" in capsys.readouterr().out
    methods = json.loads((tmp_path / "r.json").read_text())["methods"]
    assert set(methods) == {"happy", "sad"}
    full = {name: method["psnr"]["full"] for name, method in methods.items()}
    assert full["sad"] is not None
    assert full["happy"] is None or full["happy"] > full["sad"]


def test_doctor_has_an_opinion(capsys):
    assert cli.main(["doctor"]) == 0
    assert "jax" in capsys.readouterr().out
