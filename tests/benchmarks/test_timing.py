"""How benchmarks are timed and kept."""

import json
import re
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from benchmarks import run_all, timing


def test_measure_keeps_the_first_call_apart(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    # The first call compiles, the next two warm up, one of the rest is slow.
    seconds = iter([2.010, 0.5, 0.5, 0.010, 0.010, 0.110, 0.010, 0.010])

    def call():
        clock[0] += next(seconds)

    result = timing.measure(call, iterations=5, burn_in=2)
    assert next(seconds, None) is None
    assert result == {
        "compile_s": pytest.approx(2.0),
        "median_ms": pytest.approx(10.0),
        "p95_ms": pytest.approx(90.0),
        "iterations": 5,
    }


def test_measure_waits_for_the_device(monkeypatch):
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", lambda x: waited.append(x) or x)
    timing.measure(lambda: "result", iterations=3, burn_in=1)
    assert waited == ["result"] * 5


def test_a_line_says_what_was_measured_and_where(capsys):
    result = timing.measure(lambda: jnp.ones(3) + 1, iterations=2, burn_in=0)
    timing.emit("addition", result, height=64)
    line = json.loads(capsys.readouterr().out)
    assert line["benchmark"] == "addition" and line["height"] == 64
    assert line["jax"] == jax.__version__ and line["device"]
    assert re.fullmatch(r"[0-9a-f]{7,}\+?|unknown", line["commit"])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.py").write_text(
        "import timing\n"
        "def main(tiny=False):\n"
        "    timing.emit('good', {'median_ms': 1.0}, tiny=tiny)\n"
        "    print('chatter')\n"
    )
    (tmp_path / "bad.py").write_text("def main(tiny=False):\n    raise SystemExit(3)\n")
    (tmp_path / "helper.py").write_text("def other():\n    pass\n")
    return tmp_path


def test_run_all_finds_runs_and_keeps(folder):
    assert run_all.scripts(folder) == ["bad", "good"]
    lines, well = run_all.run("good", tiny=True, folder=folder)
    assert well and [line["benchmark"] for line in lines] == ["good"]
    assert lines[0]["tiny"] is True
    assert run_all.run("bad", tiny=True, folder=folder) == ([], False)
    for _ in range(2):
        path = run_all.keep(lines[0] | {"device": "NVIDIA H200"}, folder / "results")
    assert path.name == "nvidia-h200.jsonl"
    assert len(path.read_text().splitlines()) == 2


def test_run_all_refuses_unknown_names(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run_all.py", "no_such"])
    with pytest.raises(SystemExit) as stop:
        run_all.main()
    assert stop.value.code == 2 and "no_such" in capsys.readouterr().err
