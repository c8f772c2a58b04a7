"""A training that is killed ends as one that was left alone."""

import json
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_kill_changes_nothing(monkeypatch, capsys):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import kill_and_resume

    kill_and_resume.main(tiny=True)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["benchmark"] == "kill_and_resume" and line["kills"] == 1
    assert len(line["steps_saved_at_kills"]) == 1 and line["starts"] >= 2
    assert line["steps"] == 12 and line["numbers_that_differ"] == 0
    del sys.modules["kill_and_resume"], sys.modules["timing"]
