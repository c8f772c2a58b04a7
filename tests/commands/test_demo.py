"""`emogene demo`: everything that its page names is there and plays; its avatar does what
README.md tells to do with one."""

import itertools
import json
import os
import re
import subprocess
import sys
import wave
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax import cli
from emogene_jax.audio.features import audio_features
from emogene_jax.avatar.file import load_avatar
from emogene_jax.commands.demo import run_demo
from emogene_jax.media.video import read_video, video_info
from emogene_jax.pipeline import perform
from emogene_jax.signals import EMOTIONS, SAMPLE_RATE, UserError
from emogene_jax.synthetic.takes import make_take

pytestmark = pytest.mark.slow

# Eye distances, rms over landmarks: what a tracker's noise is.
LEAST_APART = 0.004


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory) -> Path:
    """The folder of `emogene demo --preset tiny`, in a process of its own."""
    folder = tmp_path_factory.mktemp("tiny") / "demo"
    command = [sys.executable, "-m", "emogene_jax.cli", "demo", "--preset", "tiny"]
    run = subprocess.run(
        [*command, "--out", str(folder)],
        env=os.environ | {"EMOGENE_CACHE": str(folder.parent / "cache")},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("made", ["work", "videos", "avatar.json"])
def test_it_writes_over_nothing_but_a_demo(made, tmp_path):
    (tmp_path / made).mkdir()
    (tmp_path / ".work").mkdir(parents=True) if made == "avatar.json" else None
    with pytest.raises(UserError, match="found other files, expected a new folder"):
        run_demo(tmp_path, "tiny")
    assert (tmp_path / made).is_dir()


def test_it_leaves_what_it_promises_and_nothing_else(tiny_demo):
    assert {path.name for path in tiny_demo.iterdir()} == {
        *("index.html", "metrics.json", "contact_sheet.png", "videos", "avatar"),
        *("heldout.mkv", "preview.png"),
    }
    names = {path.name for path in (tiny_demo / "videos").iterdir()}
    assert names == {f"{name}.mp4" for name in (*EMOTIONS, "idle")}


def test_all_nine_videos_have_picture_and_sound(tiny_demo):
    frames = set()
    for name in (*EMOTIONS, "idle"):
        info = video_info(tiny_demo / "videos" / f"{name}.mp4")
        assert info["fps"] == 25 and info["sound"], name
        assert info["width"] == info["height"] == 32
        if name != "idle":
            frames.add(info["frames"])
    assert len(frames) == 1 and frames.pop() > 25  # one sentence, eight times
    assert info["frames"] == 100


def test_emotions_look_different(tiny_demo):
    """No two of the eight are the same video, and their faces move apart.

    How alike two videos are can't be told at 32 px: what two steps of training make of an
    emotion is a level of the picture here and there, and H.264 makes as much of one pixel.
    So the motion behind them is what is measured."""
    videos = {
        name: read_video(tiny_demo / "videos" / f"{name}.mp4")[0].astype(int)
        for name in EMOTIONS
    }
    avatar = load_avatar(tiny_demo / "avatar")
    features = audio_features(make_take(0, 0, 3, sentence_seconds=1.2).waveform)
    motion = {
        name: perform(avatar, features, [(0.0, name, 1.0)]).motion for name in EMOTIONS
    }
    for one, other in itertools.combinations(EMOTIONS, 2):
        assert np.abs(videos[one] - videos[other]).max() > 0, (one, other)
        apart = np.sqrt(((motion[one] - motion[other]) ** 2).sum(-1).mean())
        assert apart > LEAST_APART, (one, other)


def test_the_page_links_to_what_is_there(tiny_demo):
    text = (tiny_demo / "index.html").read_text()
    tree = ElementTree.fromstring(re.sub(r"<!doctype.*?>", "", text, flags=re.I))
    links = {node.get(key) for node in tree.iter() for key in ("src", "href")} - {None}
    assert {f"videos/{name}.mp4" for name in (*EMOTIONS, "idle")} <= links
    assert "contact_sheet.png" in links
    for link in links - {"data:,"}:  # no icon
        assert (tiny_demo / link).is_file(), link


def test_the_numbers_are_all_there(tiny_demo):
    metrics = json.loads((tiny_demo / "metrics.json").read_text())
    assert set(metrics) >= {
        *("psnr", "ssim", "mouth_error_ratio", "emotion_accuracy", "sync_accuracy"),
        *("train_seconds", "seconds", "device"),
    }
    regions = {"full", "full_predicted_torso", "head", "head_matte", "face", "mouth"}
    assert set(metrics["psnr"]) == set(metrics["ssim"]) == regions
    assert set(metrics["train_seconds"]) == {
        *("lip_sync", "audio_to_motion", "motion_to_emotion", "head", "torso"),
    }
    for value in (*metrics["psnr"].values(), metrics["mouth_error_ratio"]):
        assert np.isfinite(value)
    assert 0 <= metrics["emotion_accuracy"] <= 1 and 0 <= metrics["sync_accuracy"] <= 1


def test_its_avatar_is_an_avatar(tiny_demo):
    avatar = load_avatar(tiny_demo / "avatar")
    assert avatar.fields.camera.size == 32


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


def test_talk_makes_a_video_of_speech(talked):
    info = video_info(talked[0])
    assert info["sound"] and info["fps"] == 25 and info["frames"] > 25


def test_talk_idles_and_is_driven(tiny_demo, talked, tmp_path):
    avatar = str(tiny_demo / "avatar")
    idle, driven = tmp_path / "idle.mp4", tmp_path / "driven.mp4"
    assert cli.main(["talk", avatar, "--idle", "0.4", "--out", str(idle)]) == 0
    assert video_info(idle)["frames"] == 10
    words = ["talk", avatar, "--drive", str(talked[1]), "--out", str(driven)]
    assert cli.main(words) == 0
    assert video_info(driven)["frames"] == video_info(talked[0])["frames"]


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
