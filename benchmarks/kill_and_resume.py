"""Does a training that is killed end as if it had not been?

A small audio-to-motion model learns from clips that are streamed from records; the
process is killed (SIGKILL) at a random instant and started again, many times, and its
last checkpoint compared bit by bit with that of a training that was left alone. The
instants are random over the whole life of a process: while it imports, compiles, trains,
saves, or restores.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import timing

from emogene_jax.synthetic.records import World, write_synthetic
from emogene_jax.train import checkpoint

EVERY = 3  # steps between two checkpoints


def main(tiny=False):
    """One line: how many kills in how many trainings, and how many numbers differ."""
    kills, steps = (1, 12) if tiny else (20, 60)
    world = World(1, 1, 1, 1, ("neutral", "happy"), (0.5, 1.0))
    draw, reached, starts, differ, trainings = random.Random(0), [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        records = write_synthetic(world, folder / "records")
        began = time.monotonic()
        _train(records, folder / "whole", steps).wait()
        life = time.monotonic() - began
        whole = checkpoint.load(folder / "whole")
        while len(reached) < kills:  # one that is finished can't be killed any more
            workdir = folder / f"killed-{trainings}"
            left = kills - len(reached)
            lives = [draw.uniform(0, life) for _ in range(left)]
            found, begun = _killed(records, workdir, steps, lives)
            reached, starts, trainings = reached + found, starts + begun, trainings + 1
            differ += _different(checkpoint.load(workdir), whole)
    result = {
        "kills": len(reached),
        "trainings": trainings,
        "starts": starts,
        "steps_saved_at_kills": reached,
        "numbers_that_differ": differ,
        "undisturbed_s": round(life, 1),
    }
    timing.emit("kill_and_resume", result, steps=steps, checkpoint_steps=EVERY)


def _killed(records, workdir, steps, lives) -> tuple[list[int], int]:
    """One training, whose processes are killed after `lives` seconds, the last not.

    Returns:
      The newest checkpoint's step at each kill, and how many processes it took.
    """
    reached, starts = [], 0
    while True:
        process = _train(records, workdir, steps)
        starts += 1
        try:
            code = process.wait(
                lives[len(reached)] if len(reached) < len(lives) else None
            )
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            reached.append(_newest(workdir))
            continue
        if code or _newest(workdir) < steps:
            raise SystemExit(
                f"a training ended at step {_newest(workdir)}, code {code}"
            )
        return reached, starts


def _different(one: checkpoint.Saved, other: checkpoint.Saved) -> int:
    """How many numbers of two checkpoints differ in a bit."""
    pairs = zip(
        jax.tree.leaves((one.step, one.params, one.aux)),
        jax.tree.leaves((other.step, other.params, other.aux)),
        strict=True,
    )
    return sum(int((np.asarray(a) != np.asarray(b)).sum()) for a, b in pairs)


def _newest(workdir: Path) -> int:
    names = [path.name for path in workdir.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _train(records: Path, workdir: Path, steps: int) -> subprocess.Popen:
    """`emogene train` of the smallest config, in a process of its own."""
    settings = {
        "data": records,
        "batch.frames": "(40,)",
        "train.steps": steps,
        "train.ckpt_steps": EVERY,
        "train.val_steps": steps,
        "train.log_steps": steps,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "emogene_jax.cli", "train", "--workdir", workdir]
    with workdir.with_suffix(".txt").open("w") as log:
        return subprocess.Popen(
            [*command, "--config=audio_to_motion:tiny", *flags],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            cwd=timing.ROOT,
            stdout=log,
            stderr=log,
        )


if __name__ == "__main__":
    main()
