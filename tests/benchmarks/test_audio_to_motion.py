"""The benchmark of the audio-to-motion VAE answers its questions."""

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import audio_to_motion  # noqa: E402


def test_turns_are_paired(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    # The machine slows down by the second: every pair's ratio is 2 all the same.
    pace = iter(range(1, 100))
    now = [1]

    def ours():
        now[0] = next(pace)
        clock[0] += now[0]

    def theirs():
        clock[0] += 2 * now[0]

    results = audio_to_motion.compared({"ours": ours, "torch": theirs}, 5)
    assert results["speedup"] == 2
    assert results["speedup_quartiles"] == [2, 2]
    assert results["torch"]["median_ms"] == 2 * results["ours"]["median_ms"]
    assert results["ours"]["iterations"] == 5


def test_tiny_answers_every_question(capsys):
    audio_to_motion.main(tiny=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    questions = ("generate", "train", "train_paper_size", "train_lip_sync")
    assert [line["benchmark"] for line in lines] == [
        f"audio_to_motion_{question}" for question in questions
    ]
    for line in lines:
        assert line["median_ms"] > 0 and line["beside"].startswith("nothing")
    for line in lines[2:]:
        minutes = audio_to_motion.PAPER_STEPS * line["median_ms"] / 60e3
        assert line["minutes_of_40k"] == pytest.approx(minutes, abs=0.1)
