"""The benchmark of training answers for all five stages."""

import json
import sys
from pathlib import Path

import pytest

from emogene_jax.cli import STAGES


@pytest.mark.slow
def test_tiny_answers_every_question(monkeypatch, capsys):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import train_rates

    train_rates.main(tiny=True)
    printed = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in printed if line.startswith("{")]
    assert [line["stage"] for line in lines] == list(STAGES)
    for line in lines:
        assert line["benchmark"] == "train_rates" and "hours" not in line
        assert line["steps_per_s"] > 0 and line["parameters"] > 100
        assert 0 <= line["waiting_for_input"] <= 1
    assert [line["examples"] for line in lines] == [8, 8, 32, 8, 8]
    for name in ("train_rates", "data_batches", "timing"):
        del sys.modules[name]
