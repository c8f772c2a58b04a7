"""Runs every benchmark in this folder, or those named, and keeps what they measured.

    python benchmarks/run_all.py [--tiny] [NAME ...]

Each runs in a process of its own; its JSON lines are appended to
results/<device>.jsonl. With --tiny nothing is kept. Exit code 1 if any failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def scripts(folder: Path = FOLDER) -> list[str]:
    """The names of the benchmarks: scripts with a `main(tiny=False)`."""
    return sorted(
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"^def main\(tiny", path.read_text(), re.MULTILINE)
    )


def keep(line: dict, folder: Path = FOLDER / "results") -> Path:
    """Appends one line to the file of its device."""
    folder.mkdir(exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", line["device"].lower()).strip("-")
    path = folder / f"{name}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return path


def run(name: str, tiny: bool, folder: Path = FOLDER) -> tuple[list[dict], bool]:
    """The lines that a benchmark prints, and whether it ended well."""
    call = f"import {name}; {name}.main(tiny={tiny})"
    paths = [str(folder), str(FOLDER), str(FOLDER.parent), os.environ.get("PYTHONPATH")]
    process = subprocess.run(
        [sys.executable, "-c", call],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines], process.returncode == 0


def main() -> int:
    """Runs them one after another; 0 if all ended well."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    unknown = set(args.names) - set(scripts())
    if unknown:
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(scripts())}")
    failed = []
    for name in args.names or scripts():
        lines, well = run(name, args.tiny)
        failed += [] if well else [name]
        for line in lines:
            print(json.dumps(line), flush=True)
            if not args.tiny:
                keep(line)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
