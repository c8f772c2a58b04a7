"""The benchmark of idle heads measures what it says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.synthetic.motion import head_motion


@pytest.fixture
def idle(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import idle

    yield idle
    del sys.modules["idle"], sys.modules["timing"]


def test_synthetic_heads_keep_the_bars(idle, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["idle.py"])
    idle.main(tiny=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    found = json.loads(line)
    assert found["benchmark"] == "idle_head" and found["heads"] == 2
    assert 0.1 < found["idle_speed_least"]
    assert max(found["idle_speed_turn"], found["idle_speed_shift"]) < 0.5
    assert max(found["idle_joint_turn"], found["idle_joint_shift"]) < 1


def test_a_head_that_jumps_or_rushes_is_seen(idle, monkeypatch):
    source = head_motion(500, np.random.default_rng(0))

    def jumps(poses, stretches, seed):
        joint, total = stretches[0][1], stretches[-1][1]
        shift = np.zeros((total, 3))
        shift[joint:] = 3.0
        return poses._replace(
            rotation=np.tile(np.eye(3), (total, 1, 1)), translation=shift
        )

    monkeypatch.setattr(idle, "head_path", jumps)
    monkeypatch.setattr(idle, "sample_idle", lambda source, frames, seed: source)
    found = idle.head([source])
    assert found["idle_joint_shift"] > 10 and found["idle_joint_turn"] == 0
    assert found["idle_speed_turn"] == found["idle_speed_shift"] == 1


def test_speech_and_silence_take_turns(idle):
    stretches, joints = idle.conversation(4)
    assert [start for start, _, _ in stretches[1:]] == joints.tolist()
    assert all(a[2] != b[2] for a, b in zip(stretches, stretches[1:], strict=False))


def test_lips_are_judged_under_eyes_that_rest(idle):
    still, shown = np.zeros((2, 8, 4, 3)), np.ones((2, 8, 4, 3))
    seen = np.full((2, 68, 2), np.nan)
    seen[0, idle.RIDGE] = 2.0, 4.6
    one, lost = idle.below_the_ridge(still, shown, seen)
    assert one[:5].max() == 0 and one[5:].min() == 1
    assert lost.min() == 1  # no face was seen: nothing of it will count
