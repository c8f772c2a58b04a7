"""A training that is killed ends as one that was left alone. Here it is of the smallest
stage; `emogene create` is killed in test_create.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_stage import TOLD, batches, tiny_stage
from emogene_jax.train.loop import train

train(tiny_stage(), workdir=Path(sys.argv[2]), steps=int(sys.argv[3]),
      batch_source=batches, **TOLD | {"ckpt_steps": 3})
"""


def train(records, workdir, steps):
    command = [sys.executable, "-c", TRAINING, ROOT / "tests" / "train"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, workdir, str(steps)], cwd=ROOT, **quiet)


@pytest.mark.slow
def test_a_kill_changes_nothing(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import kill_and_resume

    monkeypatch.setattr(kill_and_resume, "_train", train)
    monkeypatch.setattr(kill_and_resume, "write_synthetic", lambda *of: None)
    kill_and_resume.main(tiny=True)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["benchmark"] == "kill_and_resume" and line["kills"] == 1
    assert len(line["steps_saved_at_kills"]) == 1 and line["starts"] >= 2
    assert line["steps"] == 12 and line["numbers_that_differ"] == 0
    del sys.modules["kill_and_resume"], sys.modules["timing"]
