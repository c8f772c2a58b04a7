"""The benchmark of an avatar's training: its clock, its cut, and what it says."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.portrait.pack import load_portrait, save_portrait

HELPERS = ("portraits", "timing", "train_avatar")


@pytest.fixture
def train_avatar(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["train_avatar.py", "--steps", "64"])
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
        assert watch(None, None) == {}
    assert seen[1:] == [(2, 4.0, 5.0), (3, 6.0, 5.0)]
    assert watch.ms_per_step(each=4) == 500


def test_the_last_seconds_are_never_seen(train_avatar, filmed, tmp_path):
    portraits, total = train_avatar.portraits, len(filmed.frames)
    save_portrait(filmed, tmp_path / "portrait")
    config = portraits.head_config(tmp_path / "portrait", tiny=True, seed=3, steps=50)
    recipe = train_avatar.head.build(config, tmp_path)
    held = round(0.2 * total)
    assert config.portrait.to_dict()["held_out"] == config.val_frames == held
    shown = load_portrait(tmp_path / "portrait").frames
    np.testing.assert_array_equal(recipe.data["frames"], shown[:-held])
    # In whole parts, each of which is looked at.
    assert config.train.steps == 48 and config.train.val_steps == 3


@pytest.mark.slow
def test_longer_is_better(train_avatar, capsys):
    train_avatar.main(tiny=True)
    lines = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    *marks, whole = map(json.loads, lines)
    assert [line["steps"] for line in marks] == [8, 16, 32, 64]
    assert all(line["benchmark"] == "train_avatar" for line in marks)
    assert marks[0]["rays_per_step"] == 8 * 16 and marks[0]["size"] == 32
    seconds = [line["seconds"] for line in marks]
    assert seconds == sorted(seconds) and seconds[0] > 0
    for region in ("head", "head_matte", "mouth"):
        first, last = (marks[at][f"psnr_{region}"] for at in (0, -1))
        assert 5 < first < last - 1 < 40
    assert whole["benchmark"] == "train_avatar_whole"
    # The same head, before the true torso.
    assert whole["psnr_head"] == marks[-1]["psnr_head"]
    assert 5 < whole["psnr_full"] < 40 and whole["seconds_torso"] > 0
    assert whole["flicker"]["background"]["source"] < 0.001  # of coded pictures
