"""The benchmark of an avatar's training: its clock, its cut, and what it says."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HELPERS = ("portraits", "timing", "train_avatar")


@pytest.fixture
def train_avatar(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["train_avatar.py"])
    import train_avatar

    yield train_avatar
    for name in HELPERS:
        del sys.modules[name]


def test_the_clock_stands_still_for_a_look(train_avatar, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    seen = []

    def look(part, params, aux):
        seen.append((part, watch.seconds, watch.compile_s))
        clock[0] += 100

    watch = train_avatar.portraits.Watch(look)
    watch.begin()
    for seconds in (7.0, 2.0, 2.0):  # the first compiles for 5
        clock[0] += seconds
        assert watch(None, None, None, None) == {}
    assert seen[1:] == [(2, 4.0, 5.0), (3, 6.0, 5.0)]
    assert watch.ms_per_step(each=4) == 500


def test_the_last_seconds_are_never_seen(train_avatar, filmed, tmp_path):
    person = train_avatar.portraits.split(filmed, tmp_path, vary=False)
    total, held = len(filmed.frames), len(person.held.frames)
    assert held == round(0.2 * total)
    np.testing.assert_array_equal(person.held.frames, filmed.frames[-held:])
    assert len(person.shown) == 1
    np.testing.assert_array_equal(person.shown[0]["frames"], filmed.frames[:-held])
    # Nor does anything else depend on them.
    blank = filmed._replace(frames=filmed.frames.copy(), mesh=filmed.mesh.copy())
    blank.frames[-held:] = 0
    blank.mesh[-held:] += 1
    other = train_avatar.portraits.split(blank, tmp_path, vary=False)
    for mine, theirs in zip(person.rig, other.rig, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(person.training.background, other.training.background)


@pytest.mark.slow
def test_longer_is_better(train_avatar, capsys):
    train_avatar.main(tiny=True)
    lines = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    *marks, whole = map(json.loads, lines)
    assert [line["steps"] for line in marks] == [8, 16, 32, 64]
    assert all(line["benchmark"] == "train_avatar" for line in marks)
    assert marks[0]["rays_per_step"] == 8 * 64 and marks[0]["size"] == 32
    seconds = [line["seconds"] for line in marks]
    assert seconds == sorted(seconds) and seconds[0] > 0
    for region in ("head", "head_matte", "mouth"):
        first, last = (marks[at][f"psnr_{region}"] for at in (0, -1))
        assert 5 < first < last - 1 < 40
    assert whole["benchmark"] == "train_avatar_whole"
    # The same head, before the true torso.
    assert whole["psnr_head"] == marks[-1]["psnr_head"]
    assert 5 < whole["psnr_full"] < 40 and whole["seconds_torso"] > 0
    assert whole["flicker"]["background"]["source"] == 0
