"""One training for each point of a sweep, and one table of what came out, best first.

    python launch/sweep.py configs/head.py lr,width [--workdir runs] [-- --config.…=…]
    python launch/sweep.py configs/head.py lr,width --run       # here, one run a GPU
    python launch/sweep.py configs/head.py lr,width --slurm     # as a job array
    python launch/sweep.py configs/head.py lr,width --table     # what has come out so far
    python launch/sweep.py configs/head.py:cpu,size=64,frames=200 lr,width --run

`lr,width` is the product of the config's sweep_lr() and sweep_width(); what follows the
colon is the config's argument. What follows `--` goes to every `emogene train`. Without
--run, --slurm or --table the commands are printed. A run's log is `log.txt` in its work
directory; a run that fails stops no other. Run again, what is finished is not trained
again. The table is sorted by the metric that the config names, of held-out data; its last
column is the work directory, as `emogene assemble` takes those of heads and torsos.
"""

import argparse
import contextlib
import importlib.util
import itertools
import os
import queue
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from emogene_jax.signals import UserError

WRONG = (AttributeError, KeyError, SyntaxError, TypeError, ValueError, UserError)
HIGHEST = ("psnr", "accuracy", "confidence")  # is best, of metrics with such names


class Run(NamedTuple):
    """One point of a sweep."""

    overrides: dict
    workdir: Path
    command: list[str]


def load(spec: str):
    """(module, argument) of a config's path, or `path:argument`."""
    place, _, arg = str(spec).partition(":")
    found = importlib.util.spec_from_file_location("config", place)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module, arg


def runs(spec: str, sweeps: str, workdir: Path, rest: list[str]) -> list[Run]:
    """A run for each point of the product of `sweeps`, of a config (see load)."""
    module, arg = load(spec)
    parts = [list(getattr(module, f"sweep_{name}")()) for name in sweeps.split(",")]
    points = []
    for point in itertools.product(*parts):
        overrides = {key: value for part in point for key, value in part.items()}
        module.get_config(arg).update_from_flattened_dict(
            overrides
        )  # or a typo ends it
        name = ",".join(f"{k.split('.')[-1]}={v}" for k, v in overrides.items())
        place = workdir / path_of(spec).stem / name
        flags = [f"--config.{key}={value}" for key, value in overrides.items()]
        train = ["emogene", "train", "--config", str(spec), "--workdir", str(place)]
        points.append(Run(overrides, place, [*train, *flags, *rest]))
    return points


def path_of(spec: str) -> Path:
    """The file of a config."""
    return Path(str(spec).partition(":")[0])


def metric_of(spec: str, asked: str | None = None) -> tuple[str, bool]:
    """(what the table is sorted by, whether the highest is the best): what is asked for,
    or what the config names."""
    module, arg = load(spec)
    config = module.get_config(arg)
    own = config.get("metric")
    metric = asked or own or "val_loss"
    if metric == own:
        return metric, config.best == "highest"
    return metric, any(name in metric for name in HIGHEST)


def run_here(points: list[Run], gpus: list[str]) -> None:
    """Runs all, one a GPU at a time; on a machine without any, one after the other."""
    free: queue.Queue = queue.Queue()
    for gpu in gpus or [None]:
        free.put(gpu)

    def one(point: Run) -> None:
        gpu = free.get()
        try:
            point.workdir.mkdir(parents=True, exist_ok=True)
            seen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
            with (point.workdir / "log.txt").open("ab") as log:
                code = subprocess.run(
                    point.command,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | seen,
                ).returncode
            print(f"{point.workdir}: {'done' if code == 0 else f'failed ({code})'}")
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(free.qsize()) as pool:
        list(pool.map(one, points))


def visible_gpus() -> list[str]:
    """The GPUs that trainings may use, by CUDA's names."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return [str(n) for n, line in enumerate(listed.splitlines()) if "GPU" in line]


def slurm_script(points: list[Run], folder: Path) -> Path:
    """A job array, one GPU a run: `sbatch` takes it."""
    lines = [
        "#!/bin/sh",
        "#SBATCH --job-name=emogene-sweep",
        f"#SBATCH --array=0-{len(points) - 1}",
        "#SBATCH --gpus-per-task=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --requeue",
        f"#SBATCH --output={folder.absolute()}/%A_%a.txt",
        'case "$SLURM_ARRAY_TASK_ID" in',
        *(f"{n}) exec {shlex.join(p.command)} ;;" for n, p in enumerate(points)),
        "esac",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sweep.sbatch"
    path.write_text("\n".join(lines) + "\n")
    return path


def table(points: list[Run], metric: str, highest: bool) -> str:
    """Tab-separated: each run's `metric` and overrides, best first (the highest, or the
    lowest); then those that have none."""
    from emogene_jax.train.checkpoint import open_checkpoints

    sign, found = -1 if highest else 1, []
    for point in points:
        value, step = None, 0
        if (point.workdir / "checkpoints").is_dir():
            # A run without one whole checkpoint is a run without a result.
            with (
                contextlib.suppress(UserError),
                open_checkpoints(point.workdir) as checkpoints,
            ):
                value = checkpoints.config()["metrics"].get(metric)
                step = checkpoints.latest()
        found.append((value is None, sign * (value or 0), value, step, point))
    names = list(points[0].overrides)
    rows = [[metric, "step", *names, "workdir"]]
    for _, _, value, step, point in sorted(found, key=lambda row: row[:2]):
        shown = "-" if value is None else f"{value:.5g}"
        settings = [str(point.overrides[name]) for name in names]
        rows.append([shown, str(step), *settings, str(point.workdir)])
    return "\n".join("\t".join(row) for row in rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", metavar="CONFIG.py[:arg]")
    parser.add_argument("sweeps", help="names of sweep_… functions, comma-separated")
    parser.add_argument("--workdir", type=Path, default=Path("runs"))
    parser.add_argument("--metric", help="of the table; default: the config's own")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--run", action="store_true", help="here, one run a GPU at a time")
    how.add_argument("--slurm", action="store_true", help="as a SLURM job array")
    how.add_argument("--table", action="store_true", help="only the table")
    args, rest = parser.parse_known_args()
    rest = [flag for flag in rest if flag != "--"]
    path = path_of(args.config)
    if path.suffix != ".py" or not path.is_file():
        parser.error(f"{args.config}: expected a config file, e.g. configs/head.py")
    try:
        points = runs(args.config, args.sweeps, args.workdir, rest)
        metric = metric_of(args.config, args.metric)
    except WRONG as error:
        parser.error(f"{args.config} {args.sweeps}: {error}")
    folder = args.workdir / path.stem
    if args.slurm:
        script = slurm_script(points, folder)
        if shutil.which("sbatch") is None:
            sys.exit(f"{script}: written; found no sbatch here to hand it to")
        subprocess.run(["sbatch", str(script)], check=True)
    elif args.run or args.table:
        if args.run:
            run_here(points, visible_gpus())
        text = table(points, *metric)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.tsv").write_text(text + "\n")
        print(text)
    else:
        print("\n".join(shlex.join(point.command) for point in points))


if __name__ == "__main__":
    main()
