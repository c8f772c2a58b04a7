"""What is long takes no more memory than what is short: the benchmark of it."""

import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def long_speech(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import long_speech

    yield long_speech
    for name in ("long_speech", "render_fps", "timing"):
        sys.modules.pop(name, None)


def lines(capsys):
    return [json.loads(x) for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]


@pytest.mark.slow
def test_tiny_answers_for_speech(long_speech, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["long_speech.py"])
    long_speech.main(tiny=True)
    found = lines(capsys)
    assert [line["seconds"] for line in found] == [5, 10]
    assert all(line["peak_mb"] > 50 and line["cpu_s"] > 0 for line in found)


@pytest.mark.slow
def test_tiny_answers_for_video(long_speech, monkeypatch, capsys):
    argv = ["long_speech.py", "--render", "--minutes", "0.1"]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(long_speech, "STRETCH", 40)
    long_speech.main(tiny=True)
    found = lines(capsys)
    assert [line["frames"] for line in found] == [
        -(-150 * mark // 12) for mark in range(1, 13)
    ]
    for line in found:
        assert line["benchmark"] == "long_video" and line["of"] == 150
        # Linux counts the two by different clocks.
        assert 50 < line["resident_mb"] < line["peak_mb"] + 8 and line["fps"] > 0
