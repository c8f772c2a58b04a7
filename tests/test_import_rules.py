"""Who may import whom, read from the source; and that a GPU node needs little."""

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, CONFIGS = ROOT / "emogene_jax", ROOT / "configs"
# The house from below: a file imports from its own room, and from those before it.
ROOMS = (
    *("landmarks", "signals", "trees", "rigid", "folders", "emotions"),  # words
    *("media", "arguments", "parallel", "precision", "configs"),
    *("audio", "face", "pose", "train", "input"),  # what all stages are made of
    *("audio_to_motion", "motion_to_emotion"),  # stages
    "portrait",  # what was filmed of one person
    "augmentation",  # what is made of it: expressions that were not filmed
    "emotion_to_video",  # a stage
    *("synthetic", "corpora"),  # what there is to learn from
    *("evaluate", "recipes", "avatar", "live", "pipeline"),
    *("commands", "app", "cli"),
)
STAGES = ("audio_to_motion", "motion_to_emotion", "emotion_to_video")
LARGEST_ROOM = 12  # files
# These prepare nothing: they train and render on a machine that has only these packages.
LEAN = (
    *("landmarks.py", "signals.py", "trees.py", "rigid.py", "folders.py"),
    "precision.py",
    *("parallel.py", *STAGES, "face/rig.py", "face/mesh.py", "face/fit.py"),
    *(f"pose/{name}.py" for name in ("alignment", "code", "join", "sampler", "torso")),
    *(
        "train",
        "input/frames.py",
        "input/stream.py",
        "recipes",
        "avatar",
        "pipeline.py",
    ),
    *(f"portrait/{name}.py" for name in ("schema", "pack", "cut", "takes")),
    *("augmentation", "evaluate/reconstruction.py", "evaluate/metrics.py"),
    "audio/align.py",
)
LEAN_PACKAGES = {
    *("numpy", "jax", "flax", "optax", "orbax", "safetensors", "ml_collections"),
    *("absl", "PIL", "emogene_jax"),
    "scipy",  # jax needs it
}
OPTIONAL = {
    "tqdm",
    "tensorboard",
    "chex",
    "librosa",
    "cv2",
}  # in a function, or done without
ABSENT = (
    "tensorflow tensorflow_datasets mediapipe librosa av transformers tqdm tensorboard"
)


def sources():
    return sorted([*PACKAGE.rglob("*.py"), *CONFIGS.glob("*.py")])


def module_of(path: Path) -> str:
    """The name by which a file is imported."""
    place = path.relative_to(ROOT).with_suffix("")
    parts = (
        place.parts if path.is_relative_to(PACKAGE) else ("emogene_jax", *place.parts)
    )
    return ".".join(part for part in parts if part != "__init__")


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


def file_of(name: str, modules: set[str]) -> str | None:
    """The module of ours that an imported name is, or is in; None = it is not ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name if name not in ("", "emogene_jax") else None


def known(paths) -> dict[str, set[str]]:
    """{module: modules of ours that it imports, at the top or in a function}."""
    modules = {module_of(path) for path in paths}
    graph = {}
    for path in paths:
        found = {file_of(name, modules) for name, _ in imports(path)}
        graph[module_of(path)] = found - {None, module_of(path)}
    return graph


def room_of(module: str) -> str:
    return module.split(".")[1]


def inside(path: Path, parts: tuple[str, ...]) -> bool:
    if not path.is_relative_to(PACKAGE):
        return False
    place = path.relative_to(PACKAGE).as_posix()
    return any(place == part or place.startswith(f"{part}/") for part in parts)


def test_reads_imports(tmp_path):
    (tmp_path / "a.py").write_text("import b.c\ndef f():\n    from d import e\n")
    assert imports(tmp_path / "a.py") == [("b.c", True), ("d.e", False)]
    modules = {"emogene_jax", "emogene_jax.b", "emogene_jax.b.c"}
    assert file_of("emogene_jax.b.c.name", modules) == "emogene_jax.b.c"
    assert file_of("emogene_jax.__version__", modules) is None
    assert file_of("numpy.random", modules) is None


def test_every_room_has_its_place():
    rooms = {room_of(module) for module in known(sources()) if "." in module}
    assert rooms == set(ROOMS)


def test_imports_go_downwards():
    upwards = [
        f"{module} imports {other}"
        for module, others in known(sources()).items()
        if "." in module
        for other in others
        if ROOMS.index(room_of(other)) > ROOMS.index(room_of(module))
    ]
    assert not upwards


def test_no_files_import_each_other_in_a_circle():
    try:
        tuple(graphlib.TopologicalSorter(known(sources())).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_room_is_too_large_to_know():
    files = Counter(path.parent for path in sources())
    large = {str(room): n for room, n in files.items() if n > LARGEST_ROOM}
    assert not large


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_no_other(stage):
    others = tuple(f"emogene_jax.{other}" for other in STAGES if other != stage)
    for path in (PACKAGE / stage).rglob("*.py"):
        bad = [name for name, _ in imports(path) if name.startswith(others)]
        assert not bad, f"{path} imports {bad}"


def test_lean_parts_import_little():
    for part in LEAN:
        assert (PACKAGE / part).exists(), part
    for path in sources():
        if not inside(path, LEAN):
            continue
        for name, top in imports(path):
            root = name.split(".")[0]
            allowed = root in LEAN_PACKAGES or root in sys.stdlib_module_names
            assert allowed or (not top and root in OPTIONAL), f"{path} imports {name}"


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    for path in sources():
        for name, top in imports(path):
            root = name.split(".")[0]
            if root == "tensorflow":
                assert not top and inside(path, ("input",)), f"{path} imports {name}"
            if root in ("librosa", "mediapipe", "transformers"):
                assert not top, f"{path} imports {name}"
            assert root != "torch", f"{path} imports {name}"


def test_devices_are_named_in_one_file():
    words = ("jax.devices(", "NamedSharding", "jax.pmap", "device_put(", "jax.sharding")
    for path in sources():
        text = path.read_text(encoding="utf-8")
        bad = [word for word in words if word in text]
        assert not bad or path.name == "parallel.py", f"{path} names {bad}"


LEAN_RUN = """
import importlib, sys
workdir, absent, lean, portrait = sys.argv[1:]
for name in absent.split():
    sys.modules[name] = None
import pathlib
sys.path.insert(0, "tests/train")
package = pathlib.Path("emogene_jax")
for part in lean.split():
    files = (package / part).glob("*.py") if not part.endswith(".py") else [package / part]
    for path in sorted(files):
        importlib.import_module(".".join(path.with_suffix("").parts))
from emogene_jax.recipes import head
from emogene_jax.recipes.run import stage_config
from emogene_jax.train.loop import train
from tiny_stage import TOLD, resident, tiny_stage
config = stage_config("head", "tiny", {"data": portrait, "augment.frames": 0})
recipe = head.build(config, pathlib.Path(workdir))
assert len(recipe.data["frames"]) == config.portrait.frames - config.portrait.held_out
result = train(
    tiny_stage(), workdir=workdir, steps=4, batch_source=resident(), **TOLD
)
assert int(result.aux["seen"]) == 64
print("trained")
"""


def test_trains_without_the_rest(work, tmp_path):
    """A head's frames are made ready, and a stage is trained."""
    told = str(tmp_path), ABSENT, " ".join(LEAN), str(work["portrait"])
    done = subprocess.run(
        [sys.executable, "-c", LEAN_RUN, *told],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "trained\n", done.stderr
    assert "tensorboard is not installed" in done.stderr
