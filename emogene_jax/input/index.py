"""Where the records of a split lie in its files, and how long their clips are.

It takes reading every record to find out, half an hour of a corpus of a million. So it is
kept beside the files, for as long as they are the same.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax.folders import digest


class Index(NamedTuple):
    """Of each record of a split, in order."""

    shard: np.ndarray  # [N] int32, which of the files
    offset: np.ndarray  # [N] int64, bytes before it
    size: np.ndarray  # [N] int64, bytes
    frames: np.ndarray  # [N] int32, of its clip
    paired: np.ndarray  # [N] bool: whether it has a neutral motion


def kept(files: Sequence[str], make: Callable[[], Index]) -> Index:
    """make(), or what it made of these files before.

    A folder that can't be written keeps none."""
    names = [Path(file).name for file in files]
    path = Path(files[0]).with_name(f".index-{digest(repr(names).encode())}.npz")
    now = _state(files)
    try:
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["state"]) == now:
                return Index(*(saved[name] for name in Index._fields))
    except (OSError, ValueError, KeyError, EOFError):
        pass  # none yet, or a damaged one
    made = make()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, state=now, **made._asdict())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
    return made


def _state(files: Sequence[str]) -> str:
    """What changes when a file does: names, sizes and times."""
    found = [(Path(file).name, os.stat(file)) for file in files if os.path.exists(file)]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found])
