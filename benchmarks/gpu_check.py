"""What would a GPU do in a step of training, or to render frames? Computed, not measured.

    make gpu-check
    python benchmarks/gpu_check.py [--cards h100 h200 a100] [--devices 1 8]
                                   [--programs NAME ...] [--tiny] [--keep]

Of every card one device, of the first card the other numbers of devices as well.

JAX compiles for a GPU that is not there: `jax-cuda13-plugin` and `jax-cuda13-pjrt`, and
`nvidia-cuda-nvcc` and `nvidia-nvvm` for their tools, all without what they depend on
(`make gpu-check` installs them). Nothing runs, so there is no time here: `bound_ms` is the
memory's, of the bytes that XLA counts, `model_ms` what XLA's own model of the card says
without library calls. Nothing is tuned, so products are tiled as by default.

Of every program: launches, bytes, flops, memory, what devices send each other, how they
add to random rows, how precise products are, and where a device has to be waited for.
Exit code 1 where one of them is over its ceiling.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CARDS = FOLDER / "cards"  # GpuTargetConfigProto, of the makers' data sheets
OPTIONS = {}
if importlib.metadata.version("jaxlib") > "0.10.2":
    # Or PTX isn't left; 0.10.2 crashes by it.
    OPTIONS = {"xla_dump_emitter_re": ".*"}
# Where a product may round its factors to 10 bits: networks, and planes of features. In
# all that makes a coordinate that is half a pixel.
ROUNDED = re.compile(
    r"rest_face|colour|baked_face|_refined|_blended|"
    r"TorsoField\)*/(first|second|last|pose_bias)|"
    r"^\?$"  # the density's, whose name XLA loses
)
LAUNCHES = {
    "rendering 8": 64,
    "rendering 1": 64,
    "head": 300,
    "torso": 160,
    "vae": 950,
    "hubert": 20,
}
# Rows of a softmax or a norm are one Triton kernel, which XLA's model holds for 20 s.
UNMODELLED = ("hubert",)


def over(line: dict) -> list[str]:
    """What of a line is over its ceiling."""
    found = []
    most = LAUNCHES.get(line["program"])
    if most and line["devices"] > 1:
        most += most // 5  # what is sent is put together, and taken apart
    if most and line["launches"] > most:
        found.append(f"{line['launches']} launches, expected {most} at most")
    if line["conditionals"]:
        found.append(f"{line['conditionals']} conditionals that wait for the host")
    if line["scatters"].get("compare-and-swap") and line["sm"] >= 90:
        found.append("rows are added by compare-and-swap")
    if line["rounded_coordinates"]:
        found.append(f"coordinates in TF32: {line['rounded_coordinates']}")
    # The expert compares every sound with every mouth of the batch.
    if line["collectives"].keys() - {"all-reduce"} and line["program"] != "expert":
        found.append(f"devices send each other {line['collectives']}")
    return found


def examine(name: str, card: str, devices: int, tiny: bool, dump: Path) -> dict:
    """One line of a program, compiled for so many of a card."""
    import compiled
    import gpu_programs

    text = (CARDS / f"{card}.txtpb").read_text()
    lowered = gpu_programs.PROGRAMS[name](_devices(card, devices), tiny)
    began = time.perf_counter()
    before = set(dump.iterdir())
    major = re.search(r"cuda_compute_capability \{ major: (\d+)", text)[1]
    # XLA's model of an A100 is incomplete: asked for, it ends the compiler.
    model = {"xla_gpu_collect_cost_model_stats": int(major) >= 9}
    # Of this program alone: dumping what is made for a CPU on the way may end it, too.
    left_in = {"xla_dump_to": str(dump), **OPTIONS}
    program = lowered.compile(compiler_options=left_in | model)
    seconds = time.perf_counter() - began
    left = set(dump.iterdir()) - before
    # Helpers that JAX compiles along the way are small.
    thunks = max(
        (p for p in left if p.name.endswith("thunk_sequence.txt")),
        key=lambda p: p.stat().st_size,
    )
    stem = thunks.name.removesuffix("thunk_sequence.txt")
    ptx = [
        p.read_text() for p in left if p.name.startswith(stem) and p.suffix == ".ptx"
    ]
    module, memory = compiled.Module(program.as_text()), program.memory_analysis()
    launches = compiled.launches(thunks.read_text(), module.trips())
    cost, products = module.cost(), module.products()
    bandwidth = float(re.search(r"memory_bandwidth: (\d+)", text)[1])
    rounded = [p for kind, p in products if kind == "tf32" and not ROUNDED.search(p)]
    fields = name.startswith(("rendering", "head", "torso"))
    return {
        "program": name,
        "card": re.search(r'device_description_str: "(.*)"', text)[1],
        "sm": 10 * int(major),
        "devices": devices,
        "launches": sum(launches.values()),
        "library_calls": sum(n for kind, n in launches.items() if kind in LIBRARIES),
        "copies": sum(n for kind, n in launches.items() if "Copy" in kind),
        "loops": module.trips(),
        "conditionals": module.conditionals(),
        "host_reads": module.host_reads(),
        "gflop": round(cost["flops"] / 1e9, 3),
        "gigabytes": round(cost["bytes"] / 1e9, 4),
        "bound_ms": round(1e3 * cost["bytes"] / bandwidth, 4),
        "model_ms": None if name in UNMODELLED else round(module.model_us() / 1e3, 4),
        "arguments_gib": round(memory.argument_size_in_bytes / 2**30, 4),
        "temporary_gib": round(memory.temp_size_in_bytes / 2**30, 4),
        "collectives": {
            kind: {"count": len(sizes), "bytes": sum(sizes)}
            for kind, sizes in module.collectives().items()
        },
        "scatters": dict(compiled.scatters(ptx)),
        "products": dict(Counter(kind for kind, _ in products)),
        "rounded_coordinates": sorted(set(rounded)) if fields else [],
        "compile_s": round(seconds, 1),
    }


@functools.cache
def _devices(card: str, count: int) -> tuple:
    from jax.experimental import topologies

    text = (CARDS / f"{card}.txtpb").read_text()
    told = {"topology": f"1x1x{count}", "target_config": text}
    return tuple(topologies.get_topology_desc(card, "cuda", **told).devices)


LIBRARIES = ("kConvolution", "kGemm", "kCublasLt", "kCudnn", "kCustomCall")


def main() -> int:
    """One line a program, a card and a number of devices; 0 if none is over a ceiling."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    cards = ["h100", "h200", "a100"]
    parser.add_argument("--cards", nargs="+", choices=cards, default=cards)
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--programs", nargs="+")
    parser.add_argument("--tiny", action="store_true", help="small sizes")
    parser.add_argument("--keep", action="store_true", help="append to results/")
    args = parser.parse_args()
    if importlib.util.find_spec("jax_plugins.xla_cuda13") is None:
        parser.error("needs jax-cuda13-plugin and jax-cuda13-pjrt: make gpu-check")
    with tempfile.TemporaryDirectory() as dump:
        # Before JAX is imported.
        os.environ["JAX_PLATFORMS"] = "cpu"
        sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
        import gpu_programs
        import run_all
        import timing

        bad = False
        for card in args.cards:
            # What devices send each other is the same whichever card they are.
            several = args.devices if card == args.cards[0] else args.devices[:1]
            for devices in several:
                for name in args.programs or gpu_programs.PROGRAMS:
                    line = examine(name, card, devices, args.tiny, Path(dump))
                    told = {"benchmark": "gpu_check", "computed": True, **line}
                    told["device"] = f"computed, {line['card']}"
                    told |= timing.versions()
                    print(json.dumps(told), flush=True)
                    if args.keep:
                        run_all.keep(told)
                    for what in over(line):
                        bad = True
                        place = f"{devices} x {line['card']}, {name}"
                        print(f"over its ceiling: {place}: {what}", file=sys.stderr)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
