"""How everything here is timed: compilation apart, burn-in, every call waited for.

A benchmark is a script in this folder with `main(tiny=False)` that calls `measure` and
`emit`s one JSON line per question; tiny makes it end in seconds, for the tests. See
NOTES.md for how to read the numbers.
"""

import datetime
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

REST = 0.02  # s: longer, and cores fall asleep
ROOT = Path(__file__).resolve().parent.parent


def measure(call: Callable[[], Any], iterations: int = 20, burn_in: int = 3) -> dict:
    """Times call(), whose result is waited for (jax.block_until_ready) each time.

    Returns:
      compile_s: the first call less a usual one; JAX's compilation cache is off.
      median_ms, p95_ms, iterations: of the calls after the burn-in.
    """
    cached = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    first = _seconds(call)
    jax.config.update("jax_enable_compilation_cache", cached)
    for _ in range(burn_in):
        _seconds(call)
    times = [_seconds(call) for _ in range(iterations)]
    median = float(np.median(times))
    return {
        "compile_s": round(max(first - median, 0.0), 3),
        "median_ms": round(1e3 * median, 3),
        "p95_ms": round(1e3 * float(np.percentile(times, 95)), 3),
        "iterations": iterations,
    }


def take_turns(calls: dict[str, Callable[[], Any]], iterations: int) -> dict:
    """{name: seconds [iterations]} of calls that take turns, so that a busy machine slows
    all of them. Each begins on an idle one: a library's threads wait for more work by
    spinning for a while, which slows whoever comes next."""
    seconds = {name: np.zeros(iterations) for name in calls}
    for turn in range(iterations):
        for name, call in calls.items():
            time.sleep(REST)
            seconds[name][turn] = _seconds(call)
    return seconds


def emit(benchmark: str, result: dict, **sizes) -> dict:
    """Prints one JSON line: what was measured, at which sizes, where, with what."""
    line = {"benchmark": benchmark, **sizes, **result, **_circumstances()}
    print(json.dumps(line), flush=True)
    return line


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _circumstances() -> dict:
    where = {"device": device_name(), "device_count": jax.device_count()}
    return where | versions()


def versions() -> dict:
    """With what a line was made, and when."""
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def device_name() -> str:
    """The accelerator's name; of a CPU its model and how many cores may be used."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    name = model[1].strip() if model else platform.machine()
    return f"{name}, {cores or os.cpu_count()} cores"


def _commit() -> str:
    """The commit measured, with + where files differ from it; "unknown" without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
