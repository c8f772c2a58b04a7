"""The benchmark of `emogene create` says what the command wrote, and what it took."""

import json
import sys
from pathlib import Path

import pytest

HELPERS = ("create", "portraits", "timing")


@pytest.fixture
def create(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["create.py"])
    import create

    yield create
    for name in HELPERS:
        del sys.modules[name]


@pytest.mark.slow
def test_tiny_answers_the_question(create, capsys):
    create.main(tiny=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    found = json.loads(line)
    assert found["benchmark"] == "create" and found["portrait"] == "synthetic"
    assert found["size"] == 32 and found["held_out_frames"] == 10
    assert found["training_frames"] > 50 and found["seed"] == 0
    assert set(found["psnr"]) == {"full", "head", "head_matte", "face", "mouth"}
    assert 5 < found["psnr"]["full"] < 40 and 0 < found["ssim"]["full"] < 1
    # A tracker finds no face in what has learned nothing, or is not at hand.
    assert ("lmd" in found) != ("lmd" in found["absent"])
    stages = set(found["train_seconds"])
    assert stages >= {"audio_to_motion", "head", "torso"}
    assert found["configs"]["head"].startswith("head:tiny,size=32")
    assert found["wall_s"] > sum(found["train_seconds"].values())
    assert "jaxlib" in found["versions"]


def test_what_the_command_refuses_ends_in_its_words(create, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["create.py", "no_such.mp4"])
    with pytest.raises(SystemExit, match="no_such.mp4: emogene create ended with 2"):
        create.main()
    assert "error: no_such.mp4" in capfd.readouterr().err
