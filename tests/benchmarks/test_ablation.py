"""The ablation of the deformation model says what is learned, and what is not."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.takes import make_take


@pytest.fixture
def ablation(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import ablation

    yield ablation
    del sys.modules["ablation"], sys.modules["timing"]


def test_without_a_model_nothing_moves(ablation):
    """The error is all that the emotion moves, and neutral alone is right."""
    row = ablation.world(None, range(1000, 1001))
    assert row["landmark_error_share"] == 1
    assert row["nearest_emotion_accuracy"] == 1 / 8


def test_a_perfect_model_is_seen(ablation, monkeypatch):
    person = 1000
    takes = {name: make_take(0, person, person, name).motion for name in EMOTIONS}
    monkeypatch.setattr(ablation, "felt", lambda params, n, i: takes[EMOTIONS[i]])
    row = ablation.world({}, [person])
    assert row == {"landmark_error_share": 0, "nearest_emotion_accuracy": 1}
    # Half way there, half is left.
    half = {name: 0.5 * (motion + takes["neutral"]) for name, motion in takes.items()}
    monkeypatch.setattr(ablation, "felt", lambda params, n, i: half[EMOTIONS[i]])
    assert np.isclose(ablation.world({}, [person])["landmark_error_share"], 0.5)


def test_one_command_prints_a_line(ablation, monkeypatch, capsys, tmp_path):
    changes = {
        "talkers": 2,
        "train.steps": 60,
        "train.val_steps": 60,
        "train.ckpt_steps": 60,
    }
    config = ablation.stage_config("motion_to_emotion", "generic", changes)
    ablation.train_from_config(config, tmp_path / "model")
    argv = ["ablation.py", "--deformation", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", argv)
    ablation.main(tiny=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    found = json.loads(line)
    assert found["benchmark"] == "ablation_world" and found["people"] == 2
    assert found["landmark_error_share_with"] < 0.7
    assert found["landmark_error_share_without"] == 1


def test_tiny_needs_no_model(ablation):
    assert "embedding" in ablation.learned_in_seconds()


def test_an_avatar_needs_its_speech(ablation, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation.py", "avatar"])
    with pytest.raises(SystemExit):
        ablation.main()
    assert "AVATAR SPEECH, or neither" in capsys.readouterr().err
