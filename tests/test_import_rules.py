"""Who may import whom, read from the source; and that a GPU node needs little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "emogene_jax"
STAGES = ("audio_to_motion", "motion_to_emotion", "emotion_to_video")
KNOW_ALL_STAGES = ("pipeline.py", "cli.py", "training.py")
# These train and render on a machine that has only these packages.
LEAN = (*STAGES, "train", "pose", "parallel.py", "signals.py", "data/schema.py")
LEAN_PACKAGES = {
    *("numpy", "jax", "flax", "optax", "orbax", "safetensors", "ml_collections"),
    *("absl", "PIL", "emogene_jax"),
    "scipy",  # jax needs it
}
OPTIONAL = {
    "tqdm",
    "tensorboard",
    "chex",
}  # imported inside a function, or done without
ABSENT = (
    "tensorflow tensorflow_datasets mediapipe librosa av transformers tqdm tensorboard"
)


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """[(module, at the top level?)] of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(name, node not in inner) for name in names]
    return found


def inside(path: Path, parts: tuple[str, ...]) -> bool:
    place = path.relative_to(PACKAGE).as_posix()
    return any(place == part or place.startswith(f"{part}/") for part in parts)


def test_reads_imports(tmp_path):
    (tmp_path / "a.py").write_text("import b.c\ndef f():\n    from d import e\n")
    assert imports(tmp_path / "a.py") == [("b.c", True), ("d.e", False)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_no_other(stage):
    others = tuple(f"emogene_jax.{other}" for other in STAGES if other != stage)
    for path in (PACKAGE / stage).rglob("*.py"):
        bad = [name for name, _ in imports(path) if name.startswith(others)]
        assert not bad, f"{path} imports {bad}"


def test_training_knows_no_stage():
    every = tuple(f"emogene_jax.{stage}" for stage in STAGES)
    for path in (PACKAGE / "train").rglob("*.py"):
        bad = [name for name, _ in imports(path) if name.startswith(every)]
        assert not bad, f"{path} imports {bad}"


def test_only_the_top_knows_all_three():
    for path in sources():
        name = path.relative_to(PACKAGE).as_posix()
        known = {
            stage
            for stage in STAGES
            for module, _ in imports(path)
            if module.startswith(f"emogene_jax.{stage}")
        }
        assert len(known) < 3 or name in KNOW_ALL_STAGES, f"{name} imports {known}"


def test_lean_parts_import_little():
    for path in sources():
        if not inside(path, LEAN):
            continue
        for name, top in imports(path):
            root = name.split(".")[0]
            allowed = root in LEAN_PACKAGES or root in sys.stdlib_module_names
            assert allowed or (not top and root in OPTIONAL), f"{path} imports {name}"


def test_tensorflow_is_imported_late_and_only_by_data():
    for path in sources():
        for name, top in imports(path):
            root = name.split(".")[0]
            if root == "tensorflow":
                assert not top and inside(path, ("data",)), f"{path} imports {name}"
            if root in ("librosa", "mediapipe", "transformers"):
                assert not top, (
                    f"{path} imports {name}: slow, import it where it is used"
                )
            assert root != "torch", f"{path} imports {name}"


def test_devices_are_named_in_one_file():
    words = ("jax.devices(", "NamedSharding", "jax.pmap", "device_put(", "jax.sharding")
    for path in sources():
        text = path.read_text(encoding="utf-8")
        bad = [word for word in words if word in text]
        assert not bad or path.name == "parallel.py", f"{path} names {bad}"


LEAN_RUN = """
import importlib, sys
for name in sys.argv[2].split():
    sys.modules[name] = None
import pathlib
import numpy as np
sys.path.insert(0, "tests/train")
package = pathlib.Path("emogene_jax")
for folder in ("emotion_to_video", "audio_to_motion", "motion_to_emotion", "train", "pose"):
    for path in sorted((package / folder).glob("*.py")):
        importlib.import_module(".".join(path.with_suffix("").parts))
import emogene_jax.data.pack
from emogene_jax.train.loop import train
from tiny_stage import resident, tiny_stage
result = train(tiny_stage(), workdir=sys.argv[1], steps=4, batch_source=resident())
assert int(result.aux["seen"]) == 64
print("trained")
"""


def test_trains_without_the_rest(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LEAN_RUN, str(tmp_path), ABSENT],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "trained\n", done.stderr
    assert "tensorboard is not installed" in done.stderr
