"""`emogene doctor`: what this machine has, what is missing, what is known to be bad.

Each row is (topic, "ok" | "note" | "bad", what was found). Nothing is downloaded.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from emogene_jax import __version__, parallel
from emogene_jax.audio.features import choose_content
from emogene_jax.face.tracking import MODEL_SHA256, find_model
from emogene_jax.folders import cache_folder
from emogene_jax.signals import UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "av")
OPTIONAL = {
    "tensorflow": "records (input/): prepare, demo, training on a corpus",
    "mediapipe": "tracking faces in videos: prepare, create, evaluate",
    "librosa": "log-mel of speech, takes aligned in time: prepare, create, talk",
}
# What only some want: (module, what is installed, for what).
WANTED_BY_SOME = (
    ("gradio", '"emogene_jax[app]"', "the page: app, serve"),
    ("aiortc", '"emogene_jax[app]"', "a microphone in the page"),
    ("c2pa", '"emogene_jax[c2pa]"', "signed content credentials"),
)
CODECS = {"w": ("libx264", "aac", "ffv1"), "r": ("h264", "hevc", "vp9", "aac", "opus")}
_LEAST_MEMORY = 4  # GB: less, and preparing a portrait swaps
# jaxlib 0.10.2 to 0.11.0 compile float32 scatter-adds on GPUs to a loop of
# compare-and-swap (openxla/xla#46225): 450 to 2000 times slower, and every gradient of
# the fields is such a scatter.
_SLOW_SCATTER = ((0, 10, 2), (0, 11, 0))
_SCATTERS_PER_S = 1e8  # a healthy GPU does billions
_WIDTHS = 1, 3, 8  # of rows: those of 8 may be fast where the others crawl
_FREE_DISK = 5  # GB: an avatar needs less, a corpus far more

Row = tuple[str, str, str]


def examine() -> str:
    """A readable table of all checks. A check that fails is a row, not an exception."""
    rows = [("emogene_jax", "ok", f"{__version__}, Python {platform.python_version()}")]
    of_the_machine = (_versions, _devices, _memory, _scatter, _optional, _codecs)
    models = (_face_model, _hubert, _speech_embedding)
    for check in (*of_the_machine, _credentials, *models, _disk):
        rows += _guarded(check)
    width = max(len(topic) for topic, _, _ in rows)
    lines = [f"{topic:<{width}}  {state:<4}  {text}" for topic, state, text in rows]
    bad = sum(state == "bad" for _, state, _ in rows)
    lines.append(f"{bad} of {len(rows)} need attention" if bad else "all is well")
    return "\n".join(lines)


def _guarded(check: Callable[[], list[Row]]) -> list[Row]:
    try:
        return check()
    except Exception as error:  # a doctor must survive every patient
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return [(check.__name__.strip("_"), "bad", reason)]


def _versions() -> list[Row]:
    rows = []
    for name in PACKAGES:
        try:
            rows.append((name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "bad", f"not installed: pip install {name}"))
    return rows


def _devices() -> list[Row]:
    import jax

    rows = [
        (f"device {name.split(':')[0]}", "ok", name.split(": ", 1)[1])
        for name in parallel.device_names()
    ]
    cores = os.cpu_count()
    rows.append(("processor", "ok", f"{platform.machine()}, {cores} cores"))
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        advice = 'pip install -e ".[cuda13]"'
        rows.append(("GPU", "bad", f"there is one that JAX does not see: {advice}"))
    return rows


def _memory() -> list[Row]:
    from jax.extend.backend import get_backend

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    text, state = f"{total:.0f} GB", "ok" if total >= _LEAST_MEMORY else "bad"
    if state == "bad":
        text += f": {_LEAST_MEMORY} GB are needed; prepare at --size 256 or less"
    rows = [("memory", state, text)]
    if free := parallel.device_memory():
        rows.append(("device memory", "ok", f"{free / 1e9:.0f} GB for JAX"))
    backend = get_backend()
    build = " ".join(backend.platform_version.split())
    return [*rows, ("JAX build", "ok", f"{backend.platform}, {build[:60]}")]


def _codecs() -> list[Row]:
    import av

    lacking = []
    for mode, names in CODECS.items():
        for name in names:
            try:
                av.Codec(name, mode)
            except ValueError:
                lacking.append(f"{name} ({'written' if mode == 'w' else 'read'})")
    if lacking:
        mend = "pip install --force-reinstall --only-binary av av"
        return [("codecs", "bad", f"without {', '.join(lacking)}: {mend}")]
    known = sorted({name for names in CODECS.values() for name in names})
    return [("codecs", "ok", ", ".join(known))]


def _credentials() -> list[Row]:
    from emogene_jax.media.provenance import can_sign

    text = (
        "videos are signed" if can_sign() else "no certificate: videos carry tags alone"
    )
    return [("credentials", "ok" if can_sign() else "note", text)]


def _scatter() -> list[Row]:
    """Measures a float32 scatter-add where a known-bad version may make it crawl."""
    import jax

    found = tuple(map(int, jax.lib.__version__.split(".")[:3]))
    suspect = _SLOW_SCATTER[0] <= found <= _SLOW_SCATTER[1]
    rates = [scatter_adds_per_second(width) for width in _WIDTHS]
    text = ", ".join(f"{rate / 1e6:.0f}" for rate in rates)
    widths = ", ".join(map(str, _WIDTHS))
    text += f" million float32 scatter-adds a second in rows of {widths}"
    if jax.default_backend() == "cpu":
        note = "; this version is slow on GPUs only" if suspect else ""
        return [("scatter-add", "ok", text + note)]
    if min(rates) >= _SCATTERS_PER_S:
        return [("scatter-add", "ok", text)]
    why = f"jaxlib {jax.lib.__version__} is known for it; " if suspect else ""
    return [("scatter-add", "bad", f"{text}: slow; {why}use jaxlib 0.11.1 or newer")]


def scatter_adds_per_second(width: int, points: int = 1 << 18) -> float:
    """How many floats a second are added to random rows of a table [2^14, width]."""
    import jax
    import jax.numpy as jnp

    rows = jax.random.randint(jax.random.key(0), (points,), 0, 1 << 14)
    values = jnp.ones((points, width))
    add = jax.jit(lambda table: table.at[rows].add(values))
    table = jax.block_until_ready(add(jnp.zeros((1 << 14, width))))  # compiles
    start = time.perf_counter()
    jax.block_until_ready(add(table))
    return values.size / (time.perf_counter() - start)


def _optional() -> list[Row]:
    rows = []
    for name, purpose in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            text = f"not installed; needed for {purpose}: pip install {name}"
            rows.append((name, "bad", text))
        else:
            versions = importlib.metadata.packages_distributions().get(name, [name])
            rows.append((name, "ok", importlib.metadata.version(versions[0])))
    for name, install, purpose in WANTED_BY_SOME:
        if importlib.util.find_spec(name) is None:
            text = f"not installed; {purpose}: pip install {install}"
            rows.append((name, "note", text))
        else:
            rows.append((name, "ok", purpose))
    return rows


def _face_model() -> list[Row]:
    face = cache_folder() / "face_landmarker.task"
    mend = f"rm {face}, and it is fetched again"
    if os.environ.get("EMOGENE_FACE_MODEL"):
        mend = "unset EMOGENE_FACE_MODEL, and the usual one is used"
        try:
            face = find_model()  # which fetches nothing in place of what is named
        except UserError as error:
            return [("face model", "bad", f"{error}: {mend}")]
    elif not face.is_file():
        text = f"not at {face}; fetched at first use, or --face-model FILE"
        return [("face model", "note", text)]
    digest = hashlib.sha256(face.read_bytes()).hexdigest()
    if digest == MODEL_SHA256:
        return [("face model", "ok", f"{face}, SHA-256 {digest[:12]}")]
    text = f"{face}: SHA-256 {digest[:12]}, expected {MODEL_SHA256[:12]}"
    return [("face model", "bad", f"{text}: {mend}")]


def _hubert() -> list[Row]:
    if given := os.environ.get("EMOGENE_HUBERT"):
        try:
            # All of it is read, as create does: half a file of weights looks like one.
            found = choose_content("auto")
        except UserError as error:
            told = " ".join(str(error).split())
            mend = "unset EMOGENE_HUBERT, or export EMOGENE_HUBERT=FOLDER of another"
            return [("HuBERT", "bad", f"{told}: {mend}")]
        text = f"{given}, {found['channels']} channels, SHA-256 {found['sha256'][:12]}"
        return [("HuBERT", "ok", text)]
    from huggingface_hub import try_to_load_from_cache

    hubert = try_to_load_from_cache("facebook/hubert-large-ls960-ft", "config.json")
    text = f"weights in {Path(hubert).parent}" if hubert else "no weights on disk"
    return [("HuBERT", "note", text)]


def _speech_embedding() -> list[Row]:
    digest = choose_content("speech_embedding")["sha256"]
    return [("speech embedding", "ok", f"SHA-256 {digest[:12]}")]


def _disk() -> list[Row]:
    cache = cache_folder()
    place = cache
    while not place.exists():
        place = place.parent
    rows = []
    try:
        with tempfile.TemporaryFile(dir=place):
            size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) / 1e6
            rows.append(("cache", "ok", f"{cache}, {size:.0f} MB"))
    except OSError as error:
        text = f"{cache}: can't be written ({error.strerror}); set EMOGENE_CACHE"
        rows.append(("cache", "bad", text))
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    state = "ok" if free >= _FREE_DISK else "bad"
    text = f"{free:.0f} GB free in {Path.cwd()}"
    if state == "bad":
        text += f": {_FREE_DISK} GB are wanted; `rm -r {cache / 'xla'}` frees programs"
    rows.append(("disk", state, text))
    return rows
