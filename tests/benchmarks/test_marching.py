"""The benchmark of the renderer against its own march: all of them show one face."""

import json
import sys
from pathlib import Path

import pytest

HELPERS = ("marched", "marching", "portraits", "render_fps", "timing")


@pytest.fixture
def marching(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["marching.py", "--frames", "2", "--steps", "64"])
    import marching

    yield marching
    for name in HELPERS:
        del sys.modules[name]


@pytest.mark.slow
def test_tiny_answers_the_question(marching, capsys):
    marching.main(tiny=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    found = json.loads(line)
    assert found["benchmark"] == "marching" and found["avatar"] == "synthetic"
    assert found["frames"] == 2 and found["size"] == 32 and found["samples"] == 8
    for name in ("march", "dense_64", "dense_128"):
        ratio = found[f"{name}_ms"] / found["baked_ms"]
        assert found[f"{name}_over_baked"] == pytest.approx(ratio, rel=0.1)
    # The same samples: apart at the edge of what has hardly learned to be a head.
    assert found["psnr_baked_march_inside"] > 50
    assert found["psnr_march_dense_128_inside"] > 35
    assert found["psnr_baked_dense_128_inside"] > 35


@pytest.mark.slow
def test_an_avatar_is_named(marching, person, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(marching, "load_avatar", lambda folder: person)
    monkeypatch.setattr(marching.parallel, "enable_compilation_cache", lambda: None)
    argv = ["marching.py", str(tmp_path / "anna"), "--frames", "2", "--turns", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    marching.main()
    found = json.loads(capsys.readouterr().out)
    assert found["avatar"] == "anna" and found["frames"] == 2
    assert found["dense_128_ms"] > found["dense_64_ms"] > 0
