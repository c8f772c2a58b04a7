"""The benchmark of the extraction answers its questions, where there is a face model."""

import json
import os
import sys
from pathlib import Path

import pytest


def test_tiny_answers_every_question(monkeypatch, capsys):
    if not os.environ.get("EMOGENE_FACE_MODEL"):
        pytest.skip("$EMOGENE_FACE_MODEL is not set")
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import extraction

    extraction.main(tiny=True)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["benchmark"] == "extraction" and line["skipped"] == 0
    assert line["clips"] == line["workers"] == 1 and line["first"] == [128, 128, 25]
    stages = line["stages_times_real_time"]
    assert list(stages) == ["decode", "track", "fit", "features"]
    # One process works on one stage at a time.
    at_work = 1 / sum(1 / factor for factor in stages.values())
    assert line["times_real_time_at_work"] == pytest.approx(at_work, rel=0.02)
    assert 0 < line["times_real_time"] <= line["times_real_time_at_work"]
    assert line["processor_ms_per_frame"] > 0
    del sys.modules["extraction"], sys.modules["timing"]
