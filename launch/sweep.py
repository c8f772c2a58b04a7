"""Prints, or runs, one training for each point of a sweep.

    python launch/sweep.py configs/head.py lr,width [--workdir runs] [--run] [-- …]

`lr,width` is the product of the config's sweep_lr() and sweep_width(). What follows `--`
goes to every `emogene train`. The printed lines can be piped to a scheduler.
"""

import argparse
import importlib.util
import itertools
import shlex
import subprocess
from pathlib import Path


def commands(config: Path, sweeps: str, workdir: Path, rest: list[str]):
    """A command line, as a list, for each point of the product of `sweeps`."""
    spec = importlib.util.spec_from_file_location("config", config)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parts = [getattr(module, f"sweep_{name}")() for name in sweeps.split(",")]
    for point in itertools.product(*parts):
        overrides = {key: value for part in point for key, value in part.items()}
        module.get_config().update_from_flattened_dict(overrides)  # a typo ends it here
        name = ",".join(f"{k.split('.')[-1]}={v}" for k, v in overrides.items())
        flags = [f"--config.{key}={value}" for key, value in overrides.items()]
        place = workdir / config.stem / name
        yield [
            *("emogene", "train", "--config", str(config), "--workdir", str(place)),
            *flags,
            *rest,
        ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("sweeps", help="names of sweep_… functions, comma-separated")
    parser.add_argument("--workdir", type=Path, default=Path("runs"))
    parser.add_argument("--run", action="store_true", help="one after the other")
    args, rest = parser.parse_known_args()
    rest = [flag for flag in rest if flag != "--"]
    for command in commands(args.config, args.sweeps, args.workdir, rest):
        print(shlex.join(command), flush=True)
        if args.run:
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
