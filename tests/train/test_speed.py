"""What a training says of its speed, and the trace that it leaves."""

import gzip
import itertools
import json
import sys
import time
from pathlib import Path

import pytest

from emogene_jax.train import speed
from emogene_jax.train.board import read_curves
from emogene_jax.train.loop import train
from emogene_jax.train.speed import Speed

sys.path.insert(0, str(Path(__file__).parent))
from tiny_stage import TOLD, batches, resident, tiny_stage  # noqa: E402

pytestmark = pytest.mark.usefixtures("eight_devices")


def test_rates_are_of_the_time_since_the_last_lap(monkeypatch):
    clock = itertools.chain([10.0, 14.0, 15.0], itertools.repeat(15.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    told = Speed(rows=16)
    told.begin(1, waited=3.0)  # what went by before counts for nothing
    told.begin(2, waited=9.0)
    rates = {"steps_per_s": 2.0, "examples_per_s": 32.0, "waiting_for_input": 0.25}
    assert told.lap(9, waited=4.0) == rates
    assert told.lap(9, waited=4.0) == rates == told.latest
    assert told.lap(12, waited=4.0)["waiting_for_input"] == 0


def slow(start):
    for batch in batches(start):
        time.sleep(0.02)
        yield batch


@pytest.mark.parametrize("source", [slow, resident()], ids=["streamed", "resident"])
def test_curves_say_how_fast_and_what_for(tmp_path, source):
    options = TOLD | {"batch_source": source, "log_steps": 10}
    train(tiny_stage(), workdir=tmp_path, steps=30, **options)
    curves = read_curves(tmp_path / "board")
    names = ("steps_per_s", "examples_per_s", "waiting_for_input")
    for (_, rate), (_, examples), (_, waiting) in zip(
        *(curves[name] for name in names)
    ):
        assert examples == pytest.approx(16 * rate)
        if source is slow:
            assert 0.0199 < waiting / rate < 1 / rate  # seconds per step
        else:
            assert waiting == 0


def test_a_profile_is_left_in_the_work_directory(tmp_path, capsys):
    options = TOLD | {"batch_source": batches, "log_steps": 5, "profile": True}
    train(tiny_stage(), workdir=tmp_path, steps=30, **options)
    assert f"{tmp_path}/profile: a profile of 10 dispatches" in capsys.readouterr().err
    assert len(list(tmp_path.rglob("profile/plugins/profile/*/*.xplane.pb"))) == 1
    (path,) = tmp_path.rglob("profile/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = {e["args"]["step_num"] for e in events if e.get("name") == "train"}
    assert steps == {str(step) for step in range(speed.BEFORE, 15)}


def test_too_few_steps_for_a_profile_are_told(tmp_path, capsys):
    options = TOLD | {"batch_source": batches, "profile": True}
    train(tiny_stage(), workdir=tmp_path, steps=3, **options)
    assert "no profile: the training ended within 5" in capsys.readouterr().err
    assert not (tmp_path / "profile").exists()
