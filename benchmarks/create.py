"""How good is the avatar that `emogene create` makes of a video, and how long does it take?

    python benchmarks/create.py [VIDEO|PORTRAIT] [--size N] [--holdout-seconds 4]
                                [-- MORE FOR emogene create]
    python benchmarks/create.py --made AVATAR [VIDEO|PORTRAIT]

The command itself, in a process of its own and a new folder: preparation (of a video; a
folder that `emogene prepare` made has that behind it), training, assembly, evaluation.
Scores are those of metrics.json, of the held-out end. Without a portrait the synthetic
character's, which no tracker follows and which needs no preparation. `--made` reads what
the command left before, in place of running it: of that there is no wall time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import portraits
import timing

SCORES = ("psnr", "ssim", "lmd", "expression", "absent", "train_seconds", "versions")
# `create` with the configs' smallest variants, which its command line does not offer.
TINY = """
import sys
from emogene_jax.commands import create
from emogene_jax.recipes.run import stage_config
create.stage_config = lambda stage, arg, changes: stage_config(stage, "tiny", changes)
create.create(sys.argv[1:2], sys.argv[2], holdout_seconds=0.4, preset="tiny")
"""


def main(tiny: bool = False):
    """One line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="?", metavar="VIDEO|PORTRAIT")
    parser.add_argument("--size", type=int, help="px; default: create's own")
    parser.add_argument("--holdout-seconds", type=float, default=4.0)
    parser.add_argument("--made", type=Path, metavar="AVATAR")
    args, rest = parser.parse_known_args()
    name = Path(args.portrait).stem if args.portrait else "synthetic"
    if args.made:
        told, sizes = read(args.made)
        timing.emit("create", told, portrait=name, made_before=True, **sizes)
        return
    with tempfile.TemporaryDirectory() as folder:
        source, size = args.portrait, args.size
        if source is None:
            size = 32 if tiny else size or 128
            source = portraits.prepared(None, Path(folder), size, tiny)
        out = Path(folder) / "avatar"
        held = ["--holdout-seconds", str(args.holdout_seconds)]
        sized = ["--size", str(size)] if size else []
        more = [flag for flag in rest if flag != "--"]
        wall = create(source, out, [*held, *sized, *more], tiny)
        told, sizes = read(out)
    timing.emit("create", told | {"wall_s": wall}, portrait=name, **sizes)


def create(source, out: Path, more: list[str], tiny: bool = False) -> float:
    """Runs the command; the seconds that it took."""
    call = ["-m", "emogene_jax.cli", "create", source, "--out", out, *more]
    if tiny:
        call = ["-c", TINY, source, out]
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, *map(str, call)])
    if ended.returncode:
        sys.exit(f"{source}: emogene create ended with {ended.returncode}")
    return round(time.perf_counter() - began, 1)


def read(avatar: Path) -> tuple[dict, dict]:
    """(what came out, of what) of an avatar's folder with its kept work."""
    metrics = json.loads((avatar / "metrics.json").read_text())
    decided = json.loads((avatar / ".work" / "decided.json").read_text())
    header = json.loads((avatar / "avatar.json").read_text())
    cut = header["info"]["configs"]["head"]["portrait"]
    told = {name: metrics[name] for name in SCORES if name in metrics}
    for name in ("psnr", "ssim", "lmd"):
        if name in told:
            told[name] = {part: round(v, 4) for part, v in told[name].items()}
    sizes = {
        "size": header["camera"]["size"],
        "training_frames": cut["frames"] - cut["held_out"],
        "held_out_frames": cut["held_out"],
        "seed": decided["seed"],
        "configs": decided["configs"],
        "content": header["info"]["content"],
    }
    return told, sizes


if __name__ == "__main__":
    main()
