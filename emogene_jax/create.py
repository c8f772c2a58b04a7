"""`emogene create`: video of a person -> an avatar, and how good it is.

Everything unfinished stays in AVATAR/.work; a run that was killed goes on from there.
What is held out is cut off before anything is learned.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from pathlib import Path

import jax
import numpy as np

from emogene_jax import __version__, parallel
from emogene_jax.avatar import save_avatar
from emogene_jax.cache import cache_folder
from emogene_jax.data.pack import load_portrait, save_portrait
from emogene_jax.data.pairs import NEUTRAL, Takes, takes_of
from emogene_jax.data.schema import Portrait
from emogene_jax.emotion_to_video.fit import Plan, thinned
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.evaluate.avatar import evaluate_avatar
from emogene_jax.headers import write_json
from emogene_jax.pipeline import (
    FELT,
    Lesson,
    learn,
    learn_prior,
    learn_style,
    random_expressions,
)
from emogene_jax.signals import FPS, Pose, UserError
from emogene_jax.train import checkpoint

LONGEST_HOLDOUT = 20.0  # seconds, where nothing else is asked for
SHORTEST_TRAINING = 2.0  # seconds
VARIED_FRAMES = 160
PRIOR_VERSION = 3  # of what the built-in deformation model learns from


def prepare(videos, out, size=512, crop="auto", face_model=None, content="auto"):
    """Videos of one person -> a prepared portrait in folder `out`."""
    from emogene_jax.audio.features import choose_content
    from emogene_jax.data.records import write_portrait_records
    from emogene_jax.face.portrait import prepare as prepare_portrait

    heard = choose_content(content)
    portrait = prepare_portrait(videos, size, crop, face_model, heard)
    save_portrait(portrait, Path(out))
    write_portrait_records(Path(out))


def create(
    sources,
    out,
    size=None,
    holdout_seconds=None,
    preset="auto",
    crop="auto",
    audio_to_motion=None,
    deformation=None,
    face_model=None,
    content="auto",
):
    """An avatar of the person in `sources` (videos, or one prepared portrait), written
    to folder `out`; metrics.json, preview.png and heldout.mkv beside it.

    Raises:
        UserError: an input that can't be used; nothing is left of the attempt.
    """
    began, out = time.perf_counter(), Path(out)
    work = out / ".work"
    if preset == "auto":
        preset = "cpu" if jax.default_backend() == "cpu" else "gpu"
    request = {
        "sources": [_identity(source) for source in sources],
        "size": size,
        "holdout_seconds": holdout_seconds,
        "preset": preset,
        "crop": crop if isinstance(crop, str) else list(crop),
        "audio_to_motion": audio_to_motion and str(audio_to_motion),
        "deformation": deformation and str(deformation),
        "content": content,
    }
    if _already(out, work, request):
        print(f"{out}: finished before; nothing to do")
        return
    parallel.enable_compilation_cache()
    with _nothing_left(out, work):
        spoken, wanted = load_audio_to_motion(audio_to_motion)
        prior = deformation and load_deformation(deformation)
        heard = None  # of a prepared portrait: what it was prepared with
        if spoken or not _is_portrait(sources[0]):
            heard = heard_content(content, audio_to_motion, wanted)
        portrait = _portrait(sources, work, size, crop, face_model, heard, not spoken)
        held = held_out(len(portrait.frames), holdout_seconds)
    prior = prior or load_deformation(None)  # it takes a while, when first asked for
    portrait = without_hindsight(portrait, len(portrait.frames) - held)
    training = cut(portrait, slice(0, len(portrait.frames) - held))
    plan = lesson(portrait.camera.size, preset, len(training.frames))
    takes = told_takes(training)
    deformation = learn_style(takes, prior, work / "deformation")
    varied = vary(training, deformation, takes.filmed)
    known = (deformation, spoken, heard, varied, takes)
    avatar, results = learn(training, plan, work, *known)
    avatar.info.update(request=request, filmed_emotions=takes.filmed)
    shown = cut(portrait, slice(-held, None)) if held else training
    metrics = evaluate_avatar(avatar, shown, out, face_model, held_out=held > 0)
    write_json(out / "metrics.json", metrics | _circumstances(results, began))
    save_avatar(avatar, out)
    shutil.rmtree(work)
    print(f"{out}: done{_scores(metrics)}")


def _scores(metrics: dict) -> str:
    scores = {name: round(value, 2) for name, value in metrics.get("psnr", {}).items()}
    return f", held-out PSNR {scores}" if scores else ""


def _circumstances(results: dict, began: float) -> dict:
    """How long it took, on what."""
    taken = {name: round(result.seconds, 1) for name, result in results.items()}
    return {
        "train_seconds": taken,
        "seconds": round(time.perf_counter() - began, 1),
        "device": parallel.describe(),
        "versions": versions(),
    }


def versions() -> dict:
    """What made an avatar, for its metrics.json."""
    names = ("jax", "jaxlib", "flax", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"emogene_jax": __version__, "python": platform.python_version(), **found}


@contextlib.contextmanager
def _nothing_left(out: Path, work: Path):
    """An input that can't be used leaves nothing behind."""
    try:
        yield
    except UserError:
        shutil.rmtree(work)
        if not any(out.iterdir()):
            out.rmdir()
        raise


def lesson(size: int, preset: str, frames: int = 0) -> Lesson:
    """How long and how large to learn at a picture size, on a CPU or a GPU, from so many
    frames."""
    # More steps than that on 20 s of speech are learned by heart (5 folds).
    audio_steps = min(3000, max(450, frames))
    head = HeadSize(coarse=int(min(171, max(33, 1.25 * size / 3 + 1))))
    torso = TorsoSize(fine=int(min(512, size)), coarse=max(16, size // 4))
    if preset == "gpu":
        plan = Plan(head, torso, 8000, 4000, head_rays=1024, torso_rays=1024)
        return Lesson(plan, audio_steps)
    # The finer a picture, the longer until hair is sharp; but few frames, and a torso, are
    # learned by heart.
    head_steps = int(6000 * min(2, max(1, size / 128)))
    head_steps = min(head_steps, max(3000, 30 * frames)) if frames else head_steps
    # 10 samples a ray show 256 px in real time, for .3 dB of the head; small pictures are
    # fast enough. Learned in 10, ears get holes.
    shown = 16 if size < 192 else 10
    plan = Plan(head, torso, head_steps, 3000, shown_samples=shown)
    return Lesson(plan, audio_steps)


def held_out(frames: int, seconds: float | None) -> int:
    """How many frames at the end are never learned from."""
    if seconds is None:
        seconds = min(frames / FPS / 11, LONGEST_HOLDOUT)
    held = round(seconds * FPS)
    if frames - held < SHORTEST_TRAINING * FPS:
        raise UserError(
            f"--holdout-seconds {held / FPS:g} of {frames / FPS:.1f} s of usable video: "
            f"expected at least {SHORTEST_TRAINING} s to be left to learn from"
        )
    return held


def without_hindsight(portrait: Portrait, known: int) -> Portrait:
    """The portrait with background and rest from its first `known` frames alone: those
    of a prepared one come from all, held-out pixels too."""
    from emogene_jax.face.matting import fill_background
    from emogene_jax.face.portrait import rest_of

    if known == len(portrait.frames):
        return portrait
    layers = (portrait.frames, portrait.head_matte, portrait.torso_matte)
    faces = (portrait.mesh, portrait.landmarks, portrait.emotion)
    rest_mesh, rest = rest_of(*(part[:known] for part in faces))
    return portrait._replace(
        background=fill_background(*(layer[:known] for layer in layers)),
        rest_mesh=rest_mesh,
        rest=rest,
    )


def cut(portrait: Portrait, part: slice) -> Portrait:
    """Some frames of a portrait, with their sound."""
    total = len(portrait.frames)
    start, stop, _ = part.indices(total)
    values = {}
    for name, value in portrait._asdict().items():
        if name == "pose":
            value = Pose(*(array[part] for array in value))
        elif name in ("content", "f0"):
            value = value[2 * start : 2 * stop]
        elif name == "waveform":
            value = value[start * 640 : stop * 640]
        elif isinstance(value, np.ndarray) and len(value) == total:
            if name not in ("rest", "rest_mesh", "background"):
                value = value[part]
        values[name] = value
    return Portrait(**values)


def told_takes(portrait: Portrait) -> Takes:
    """The takes of a portrait, and a line for people where it has emotional ones."""
    takes = takes_of(portrait)
    if takes.told:
        print(takes.told)
    return takes


def vary(
    portrait: Portrait, deformation, filmed=(), count: int = VARIED_FRAMES
) -> Portrait | None:
    """Frames of a portrait, warped to the expressions that were never filmed: `count`,
    less the share of the emotions that were; None where all were."""
    from emogene_jax.face.augment import augment
    from emogene_jax.face.landmarks import to_68

    missing = [name for name in FELT if name not in filmed]
    if not missing:
        return None
    count = round(count * len(missing) / len(FELT))
    calm = portrait.emotion == NEUTRAL
    if filmed and not calm.all():
        portrait = thinned(portrait, np.flatnonzero(calm))
    augmented = augment(
        portrait.frames,
        (portrait.head_matte, portrait.torso_matte),
        portrait.mesh,
        portrait.rest_mesh,
        portrait.pose,
        portrait.camera,
        lambda motion, rng: random_expressions(motion, deformation, rng, missing),
        np.random.default_rng(0),
        count,
    )
    source = augmented.source
    # The landmarks need not be points of the mesh (a morphable model's are not).
    moved = to_68(augmented.mesh) - to_68(portrait.mesh[source])
    return portrait._replace(
        frames=augmented.frames,
        head_matte=augmented.head_matte,
        torso_matte=augmented.torso_matte,
        mesh=augmented.mesh,
        landmarks=portrait.landmarks[source] + moved.astype(np.float32),
        pose=Pose(*(part[source] for part in portrait.pose)),
    )


def load_deformation(workdir):
    """Parameters of the deformation model in a work directory; None = the built-in one,
    learned from the facial-action prior when first asked for, and kept."""
    if workdir is None:
        workdir = cache_folder() / f"deformation-{PRIOR_VERSION}"
        return learn_prior(workdir)
    params = checkpoint.load(workdir).params
    if "embedding" not in params:
        raise UserError(f"{workdir}: expected a work directory of motion_to_emotion")
    return params


def load_audio_to_motion(workdir):
    """(sizes, {"params", "aux"}) of a work directory and the content features that it
    hears; None and None without one."""
    if workdir is None:
        return None, None
    saved = checkpoint.load(workdir)
    config = saved.config.get("config", {})
    if "encoder_layers" not in config.get("model", {}) or "content" not in config:
        raise UserError(f"{workdir}: expected a work directory of audio_to_motion")
    trained = {"params": saved.params, "aux": saved.aux}
    return (dict(config["model"]), trained), config["content"]


def heard_content(choice: str, audio_to_motion, wanted: dict | None) -> dict:
    """Which content features an avatar hears: those that its audio-to-motion model has
    learned from (`wanted`, of work directory `audio_to_motion`), else what `choice`
    says (audio.features.choose_content)."""
    from emogene_jax.audio.features import choose_content

    if wanted is None:
        return choose_content(choice)
    if wanted["type"] == "log_mel":
        return wanted
    found = choose_content(choice)
    if found["channels"] != wanted["channels"]:
        raise UserError(
            f"{audio_to_motion}: learned from HuBERT features of {wanted['channels']} "
            f"channels, found {found['type']} of {found['channels']}: name a checkpoint "
            "folder with --content or $EMOGENE_HUBERT"
        )
    return found


def _is_portrait(source) -> bool:
    return (Path(source) / "portrait.json").is_file()


def _portrait(sources, work, size, crop, face_model, content, need_sound) -> Portrait:
    """The prepared portrait among the sources, or one that is prepared now (once)."""
    folder = Path(sources[0])
    if _is_portrait(folder):
        if len(sources) > 1:
            raise UserError(f"{folder}: one prepared portrait, or videos; found both")
        portrait = load_portrait(folder)
        if size not in (None, portrait.camera.size):
            raise UserError(
                f"{folder}: prepared at {portrait.camera.size} px, --size asks for "
                f"{size}: leave it out, or prepare again"
            )
        if need_sound and not len(portrait.waveform):
            raise UserError(f"{folder}: no sound track, expected speech")
        return portrait
    data = work / "portrait"
    if not data.exists():
        from emogene_jax.face.portrait import prepare as prepare_portrait

        portrait = prepare_portrait(
            sources, size or 256, crop, face_model, content, need_sound
        )
        save_portrait(portrait, data)
    return load_portrait(data)


def _already(out: Path, work: Path, request: dict) -> bool:
    """Whether `out` is finished; else it is made ready to be worked in.

    Raises:
        UserError: it holds something that another request began.
    """
    request = json.loads(json.dumps(request))
    for path in (out / "avatar.json", work / "request.json"):
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            found = found["info"]["request"] if path.name == "avatar.json" else found
            if found != request:
                differ = [key for key in request if request[key] != found.get(key)]
                raise UserError(
                    f"{out}: holds an avatar of other {', '.join(differ)}; choose "
                    "another folder, or delete it"
                )
            if path.name == "avatar.json":
                shutil.rmtree(work, ignore_errors=True)
                return True
    if out.is_dir() and any(p.name != ".work" for p in out.iterdir()):
        if not work.is_dir():
            raise UserError(f"{out}: found other files, expected a new folder")
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "request.json", request)
    return False


def _identity(source) -> list:
    """Name and content of a source, so that another one is not mistaken for it."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode())
        digest.update(str(file.stat().st_size).encode())
        with file.open("rb") as content:
            digest.update(content.read(1 << 20))
    return [path.name, digest.hexdigest()[:16]]
