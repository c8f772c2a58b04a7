"""The benchmark of closed lips counts phones, and says how many others close as well."""

import json
import sys
from pathlib import Path

import numpy as np

from emogene_jax.synthetic.flite import Phone
from emogene_jax.synthetic.takes import make_take

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import closing  # noqa: E402


def test_lips_that_close_are_counted():
    opening = np.ones(50)
    opening[[9, 10, 30]] = 0.0, 0.0, 0.3
    phones = [Phone("p", 0.36, 0.44), Phone("b", 1.16, 1.24), Phone("t", 1.6, 1.7)]
    assert closing.share_closed([opening], [phones], closing.LIPS) == 0.5
    assert closing.share_closed([opening], [phones], closing.OTHERS) == 0.0


def test_tiny_answers_for_every_speaker(monkeypatch, capsys):
    take = make_take(0, 0, 0)
    phones = [Phone("m", 0.5, 0.6), Phone("t", 1.0, 1.1)]
    monkeypatch.setattr(closing, "say", lambda text, speaker: (take.waveform, phones))
    monkeypatch.setattr(sys, "argv", ["closing.py"])
    closing.main(tiny=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["speaker"] for line in lines] == ["slt", "rms"]
    assert all(line["count"] == 1 and 0 <= line["closed"] <= 1 for line in lines)
