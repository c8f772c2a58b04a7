"""A sweep: its runs, what it does with those that fail, and its table."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "launch" / "sweep.py"
HEAD = ROOT / "configs" / "head.py"
# In place of training: a checkpoint that was written before; one rate fails.
EMOGENE = """#!{python}
import os, shutil, sys
given = dict(part.split("=", 1) for part in sys.argv if "=" in part)
rate, hidden = (given["--config." + n] for n in ("optimizer.learning_rate", "model.hidden"))
print("training with", rate, "on", os.environ.get("CUDA_VISIBLE_DEVICES"))
if float(rate) == 2e-3:
    sys.exit("error: diverged")
workdir = sys.argv[sys.argv.index("--workdir") + 1]
saved = "{saved}/learning_rate=" + rate + ",hidden=" + hidden
shutil.copytree(saved, workdir, dirs_exist_ok=True)
"""


@pytest.fixture
def sweep():
    spec = importlib.util.spec_from_file_location("sweep", SWEEP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_runs_are_the_product(sweep):
    spec = f"{HEAD}:cpu,size=64,frames=200"
    runs = sweep.runs(spec, "lr,width", Path("runs"), ["--x=1"])
    assert len(runs) == 9 and all(run.command[-1] == "--x=1" for run in runs)
    assert len({run.workdir for run in runs}) == 9
    assert runs[0].workdir == Path("runs/head/learning_rate=0.001,hidden=32")
    assert "--config.model.hidden=128" in runs[-1].command
    assert all(spec in run.command for run in runs)


def test_one_table_of_all_and_a_failure_stops_nothing(sweep, tmp_path):
    from emogene_jax.train import checkpoint

    for run in sweep.runs(HEAD, "lr,width", tmp_path / "saved", []):
        loss = np.prod(list(run.overrides.values()))
        metrics = {"metrics": {"val_loss": loss, "val_psnr_head_matte": loss}}
        checkpoint.write(run.workdir, {"w": np.zeros(2, np.float32)}, {}, metrics, 7)
    fake = EMOGENE.format(python=sys.executable, saved=tmp_path / "saved" / "head")
    (tmp_path / "emogene").write_text(fake)
    (tmp_path / "emogene").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    variables = {"PATH": path, "CUDA_VISIBLE_DEVICES": "3,5", "JAX_PLATFORMS": "cpu"}
    call = [sys.executable, SWEEP, HEAD, "lr,width", "--workdir", tmp_path / "runs"]
    ended = subprocess.run(
        [*call, "--run"], env=os.environ | variables, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    rows = (tmp_path / "runs/head/sweep.tsv").read_text().splitlines()
    head = ["val_psnr_head_matte", "step", "optimizer.learning_rate"]
    assert rows[0].split("\t")[:3] == head
    values = [row.split("\t")[0] for row in rows[1:]]
    assert len(values) == 9 and values[-3:] == ["-"] * 3
    found = [float(value) for value in values[:6]]
    assert found == sorted(found, reverse=True)
    failed = tmp_path / "runs/head/learning_rate=0.002,hidden=32"
    assert "error: diverged" in (failed / "log.txt").read_text()
    assert "failed" in ended.stdout
    logs = [path.read_text() for path in (tmp_path / "runs").rglob("log.txt")]
    assert {log.split()[-1] for log in logs if "error" not in log} <= {"3", "5"}


def test_the_best_is_what_the_config_says(sweep, tmp_path):
    assert sweep.metric_of(f"{HEAD}:tiny") == ("val_psnr_head_matte", True)
    other = HEAD.with_name("motion_to_emotion.py")
    assert sweep.metric_of(other) == ("val_landmark_error", False)
    # Of another metric its name says it.
    assert sweep.metric_of(HEAD, "val_loss") == ("val_loss", False)
    assert sweep.metric_of(other, "val_accuracy") == ("val_accuracy", True)


def test_an_argument_that_the_config_does_not_know_is_told(sweep, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep.py", f"{HEAD}:huge", "lr"])
    with pytest.raises(SystemExit) as stop:
        sweep.main()
    assert stop.value.code == 2 and "'huge'" in capsys.readouterr().err


def test_rows_without_the_metric_come_last(sweep, tmp_path):
    from emogene_jax.train import checkpoint

    runs = sweep.runs(HEAD, "lr", tmp_path, [])
    for run, metrics in zip(
        runs, ({"val_psnr": 30.0}, {"psnr": 40.0}, {"val_psnr": 31.0}), strict=True
    ):
        arrays = {"w": np.zeros(2, np.float32)}
        checkpoint.write(run.workdir, arrays, {}, {"metrics": metrics}, 1)
    for highest, values in ((True, ["31", "30", "-"]), (False, ["30", "31", "-"])):
        rows = sweep.table(runs, "val_psnr", highest).splitlines()
        assert [row.split("\t")[0] for row in rows[1:]] == values


def test_a_job_array_has_every_run(sweep, tmp_path):
    runs = sweep.runs(HEAD, "lr,width", tmp_path, [])
    text = sweep.slurm_script(runs, tmp_path / "head").read_text()
    assert "--array=0-8" in text and text.count("exec emogene train") == 9
    checked = subprocess.run(["sh", "-n"], input=text, text=True)
    assert checked.returncode == 0


# Two rates and two widths of a real training; one rate is as wrong as can be.
CONFIG = """
from emogene_jax.configs import motion_to_emotion

def get_config(arg=""):
    return motion_to_emotion.get_config("tiny")

def sweep_lr():
    for rate in (1e-3, 1e30):
        yield {"optimizer.learning_rate": rate, "optimizer.warmup_steps": 0}

def sweep_width():
    for hidden in (4, 32):
        yield {"model.hidden": hidden}
"""


@pytest.mark.slow
def test_four_real_trainings_and_one_table(tmp_path):
    (tmp_path / "small.py").write_text(CONFIG)
    (tmp_path / "emogene").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m emogene_jax.cli "$@"\n'
    )
    (tmp_path / "emogene").chmod(0o755)
    variables = {
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "CUDA_VISIBLE_DEVICES": "0,1",  # two at a time
        "JAX_PLATFORMS": "cpu",
        "EMOGENE_CACHE": str(tmp_path / "cache"),
    }
    call = [sys.executable, SWEEP, tmp_path / "small.py", "lr,width", "--run"]
    ended = subprocess.run(
        # Its data is made in a second, and without TensorFlow.
        [*call, "--workdir", tmp_path / "runs", "--", "--config.data=facial_actions"],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    table = ended.stdout.splitlines()[-5:]
    assert (tmp_path / "runs/small/sweep.tsv").read_text().splitlines() == table
    head, *rows = (row.split("\t") for row in table)
    assert head[0] == "val_landmark_error" and head[-2] == "model.hidden"
    assert float(rows[0][0]) < float(rows[1][0])
    assert [row[0] for row in rows[2:]] == ["-", "-"]
    assert [row[1] for row in rows] == ["2", "2", "0", "0"]  # steps
    assert {row[-2] for row in rows[:2]} == {row[-2] for row in rows[2:]} == {"4", "32"}
    for row in rows:
        log = Path(row[-1], "log.txt").read_text()
        assert ("not finite at step 1" in log) == (row[0] == "-"), log
    assert ended.stdout.count("failed (2)") == 2


HEADS = """
from emogene_jax.configs import head

get_config = head.get_config

# Its program is the same: of rates there would be one for each.
def sweep_seed():
    for seed in (0, 1):
        yield {"seed": seed}

def sweep_width():
    for hidden in (8, 16):
        yield {"model.hidden": hidden}
"""


@pytest.mark.slow
def test_heads_of_a_sweep_are_sorted_and_each_becomes_an_avatar(
    sweep, filmed, person, tmp_path
):
    from emogene_jax.avatar.assemble import assemble
    from emogene_jax.portrait.pack import save_portrait
    from emogene_jax.recipes.run import train_from_config

    save_portrait(filmed, tmp_path / "portrait")
    (tmp_path / "small.py").write_text(HEADS)
    spec = f"{tmp_path / 'small.py'}:tiny"
    points = sweep.runs(spec, "seed,width", tmp_path / "runs", [])
    module, arg = sweep.load(spec)
    for point in points:
        config = module.get_config(arg)
        config.data, config.holdout_seconds = str(tmp_path / "portrait"), 0.4
        config.train.update({name: 60 for name in ("steps", "val_steps", "ckpt_steps")})
        config.augment.frames = 0
        config.update_from_flattened_dict(point.overrides)
        train_from_config(config, point.workdir)
    text = sweep.table(points, *sweep.metric_of(spec))
    head, *rows = (row.split("\t") for row in text.splitlines())
    assert head[0] == "val_psnr_head_matte" and head[-1] == "workdir"
    values = [float(row[0]) for row in rows]  # none is a dash
    assert len(values) == 4 and values == sorted(values, reverse=True)
    assert values[0] > values[-1] > 5
    parts = others_of(person, tmp_path, best=Path(rows[0][-1]))
    _, _, held = assemble(parts)
    assert len(held.frames) == 10
    for row in rows[1:]:
        with pytest.warns(UserWarning, match="trained behind another head"):
            avatar, _, _ = assemble(parts._replace(head=Path(row[-1])))
        assert avatar.fields.head_size.hidden == int(row[-2])


def others_of(person, folder: Path, best: Path):
    """What an avatar wants beside a head, as if it had been trained: the torso behind
    the best head."""
    from emogene_jax.avatar.assemble import Parts
    from emogene_jax.recipes.torso import params_digest
    from emogene_jax.train import checkpoint

    head, fields, info = checkpoint.load(best), person.fields, person.info
    torso = {
        "model": fields.torso_size._asdict(),
        "portrait": head.config["config"]["portrait"],
        "frozen": {"head_digest": params_digest(head.params)},
    }
    voice = {"model": info["audio_to_motion"], "content": info["content"]}
    heard = person.audio_to_motion
    for name, params, aux, config in (
        ("torso", fields.torso, {}, torso),
        ("voice", heard["params"], heard["aux"], voice),
        ("deformation", person.deformation, {}, {}),
    ):
        checkpoint.write(folder / name, params, aux, {"config": config})
    places = [folder / n for n in ("torso", "voice", "deformation")]
    return Parts(folder / "portrait", best, *places)
