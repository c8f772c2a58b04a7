"""The benchmark of `emogene create` says what the command wrote, and what it took."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

run = subprocess.run
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


def made(command, **options) -> SimpleNamespace:
    """In place of the command (tests/commands/test_create.py runs that): what it leaves."""
    if "--out" not in command:  # of a commit
        return run(command, **options)
    out = Path(command[command.index("--out") + 1])
    psnr = {name: 30.123456 for name in ("full", "head", "head_matte", "face", "mouth")}
    metrics = {"psnr": psnr, "ssim": {"full": 0.9}, "train_seconds": {"head": 0.001}}
    metrics |= {
        "absent": {"lmd": "no face"},
        "versions": {"jaxlib": "1"},
        "frames": [1],
    }
    portrait = {"frames": 110, "held_out": 10}
    told = {"camera": {"size": 32}, "info": {"content": {"type": "log_mel"}}}
    told["info"]["configs"] = {"head": {"portrait": portrait}}
    (out / ".work").mkdir(parents=True)
    decided = {"seed": 0, "configs": {"head": "head:cpu,size=32,frames=100"}}
    for name, value in (
        ("metrics.json", metrics),
        ("avatar.json", told),
        (".work/decided.json", decided),
    ):
        (out / name).write_text(json.dumps(value))
    return SimpleNamespace(returncode=0)


def test_it_says_what_the_command_wrote(create, capsys, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["create.py", "folder/somebody.mp4", "--size", "32"]
    )
    monkeypatch.setattr(create.subprocess, "run", made)
    create.main()
    found = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == "create" and found["portrait"] == "somebody"
    assert found["size"] == 32 and found["held_out_frames"] == 10
    assert found["training_frames"] == 100 and found["seed"] == 0
    assert found["psnr"]["full"] == 30.1235 and found["absent"] == {"lmd": "no face"}
    assert found["configs"] == {"head": "head:cpu,size=32,frames=100"}
    assert found["wall_s"] >= 0 and "frames" not in found


def test_what_the_command_refuses_ends_in_its_words(create, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["create.py", "no_such.mp4"])
    with pytest.raises(SystemExit, match="no_such.mp4: emogene create ended with 2"):
        create.main()
    assert "error: no_such.mp4" in capfd.readouterr().err
