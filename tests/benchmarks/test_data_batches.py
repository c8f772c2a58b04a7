"""The benchmark of the input pipeline answers its questions."""

import json
import sys
from pathlib import Path

import pytest


def test_tiny_answers_every_question(monkeypatch, capsys):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import data_batches

    data_batches.main(tiny=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frames"] for line in lines] == [100, 125]
    for line in lines:
        assert line["benchmark"] == "data_batches" and line["clip_frames"] == 125
        assert line["processor_ms_per_sequence"] > 0 and line["open_s"] > 0
        rate = 1e3 * line["batch"] * line["batches"] / line["median_ms"]
        assert line["sequences_per_s"] == pytest.approx(rate, abs=1)
    del sys.modules["data_batches"], sys.modules["timing"]
