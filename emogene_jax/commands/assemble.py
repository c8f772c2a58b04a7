"""`emogene assemble`: work directories, however they were trained -> an avatar."""

import contextlib
import importlib.metadata
import platform
import time
from pathlib import Path

import numpy as np

from emogene_jax import __version__, parallel
from emogene_jax.avatar.assemble import Parts, assemble, matching_fields
from emogene_jax.avatar.file import Avatar, save_avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.evaluate.judge import READ_AS, asked_for, read_expressions
from emogene_jax.evaluate.reconstruction import evaluate_fields
from emogene_jax.evaluate.report import metrics_table, training_curves, write_report
from emogene_jax.face.fit import calmest
from emogene_jax.face.tracking import find_model
from emogene_jax.folders import must_be_new, read_json, write_json
from emogene_jax.pipeline import express
from emogene_jax.portrait.cut import parted, spread_rows
from emogene_jax.portrait.pack import load_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import takes_of
from emogene_jax.pose.code import pose_code
from emogene_jax.recipes.audio_to_motion import arg_of
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import EMOTIONS, FPS, Pose, UserError, landmarks_to_motion

_JUDGED = 12  # frames of each emotion
# In out/.work, from when the avatar is saved until it is judged: where its parts are.
_UNJUDGED = "unjudged.json"


def assemble_avatar(
    portrait, head, torso, out, audio_to_motion=None, deformation=None, face_model=None
) -> None:
    """The avatar of work directories and the portrait that they learned from, written to
    folder `out`, judged as `create` does. What was killed while it judged, goes on when it
    is asked for again.

    Args:
        audio_to_motion, deformation: work directories; without them the person's own are
            trained from the portrait (which takes a minute), in `out`/.work.

    Raises:
        UserError: a part is missing, of another stage, or does not fit the others.
    """
    began, out = time.perf_counter(), Path(out)
    parts = Parts(Path(portrait), Path(head), Path(torso), audio_to_motion, deformation)
    asked = {
        name: place and str(Path(place).resolve())
        for name, place in parts._asdict().items()
    }
    _must_be_free(out, asked)
    parallel.enable_compilation_cache()
    if not (audio_to_motion and deformation):
        parts = _own(parts, out / ".work")
    avatar, training, held = assemble(parts)
    more = {"seconds": lambda: time.perf_counter() - began}
    unjudged = out / ".work" / _UNJUDGED
    unjudged.parent.mkdir(parents=True, exist_ok=True)
    write_json(unjudged, asked)
    told = save_and_judge(avatar, training, held, out, face_model, more)
    unjudged.unlink()
    with contextlib.suppress(OSError):  # parts that were trained for it are kept
        unjudged.parent.rmdir()
    print(f"{out}: done{told}")


def _must_be_free(out: Path, asked: dict) -> None:
    """Raises UserError where a folder holds other files than an avatar of the parts that
    are asked for, saved before and not judged yet."""
    unjudged = out / ".work" / _UNJUDGED
    if unjudged.is_file() and not (out / "metrics.json").is_file():
        must_be_same(out, asked, read_json(unjudged))
    else:
        must_be_new(out, {".work"})


def must_be_same(out: Path, request: dict, before: dict) -> None:
    """Raises UserError where an avatar was asked for with other words before."""
    differ = [key for key in request if request[key] != before.get(key)]
    if differ:
        raise UserError(
            f"{out}: holds an avatar of other {', '.join(differ)}; choose another "
            "folder, or delete it"
        )


def _own(parts: Parts, work: Path) -> Parts:
    """The parts, with those that were not given trained from the portrait."""
    head, _ = matching_fields(parts)  # before a minute of training
    held = head.config["config"]["portrait"]["held_out"]
    training, _ = parted(load_portrait(parts.portrait, pictures=False), held)
    data = {"data": str(parts.portrait), "holdout_seconds": held / FPS}
    if not parts.deformation and takes_of(training).filmed:
        config = stage_config("motion_to_emotion", "person", data)
        train_from_config(config, work / "motion_to_emotion")
        parts = parts._replace(deformation=work / "motion_to_emotion")
    if not parts.audio_to_motion:
        config = stage_config("audio_to_motion", arg_of(training), data)
        train_from_config(config, work / "voice")
        parts = parts._replace(audio_to_motion=work / "voice")
    return parts


def save_and_judge(avatar: Avatar, training, held, out: Path, face_model, more) -> str:
    """Write an avatar, then judge it on the held-out end (None: only a preview) and write
    metrics.json, whatever can't be judged.

    Args:
        more: of metrics.json; what can be called is, when all is done.

    Returns:
        the scores, in words.
    """
    save_avatar(avatar, out)
    shown = training if held is None else held
    metrics = evaluate_fields(avatar.fields, shown, out, face_model, held is not None)
    try:
        metrics["expression"] = expressions(avatar, shown, face_model)
    except (ImportError, UserError) as error:
        reason = " ".join(str(error).split())
        metrics["absent"] = metrics.get("absent", {}) | {"expression": reason}
    metrics |= {k: round(v(), 1) if callable(v) else v for k, v in more.items()}
    metrics |= {"device": parallel.describe(), "versions": versions()}
    write_page(out, metrics, held)
    write_json(out / "metrics.json", metrics)
    scores = {name: round(value, 2) for name, value in metrics.get("psnr", {}).items()}
    told = f", held-out PSNR {scores}" if scores else ""
    for name, reason in metrics.get("absent", {}).items():
        told += f"; no {name}: {reason}"
    return told


def expressions(avatar: Avatar, shown: Portrait, face_model) -> dict[str, dict]:
    """What an independent judge reads in renderings of some neutral frames of a portrait,
    once for each emotion: {emotion: {"asked": its mean probability, "neutral": the same
    of the neutral rendering}} (evaluate.judge).

    Raises:
        ImportError, UserError: the judge or the tracker is not at hand, or no face is
            seen.
    """
    model, renderer = find_model(face_model), Renderer(avatar.fields)
    rows = np.flatnonzero(calmest(shown.emotion))
    rows = rows[spread_rows(len(rows), _JUDGED)]
    motion = landmarks_to_motion(shown.landmarks[rows], shown.rest)
    pose = Pose(*(part[rows] for part in shown.pose))
    codes = pose_code(avatar.fields.code, shown.pose)[rows]

    def read(emotion: str) -> np.ndarray:
        weights = np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(emotion)]]
        strength = np.full(len(rows), float(emotion != "neutral"), np.float32)
        felt = express(avatar, motion, weights.repeat(len(rows), 0), strength)
        frames = renderer.frames(felt, pose, shown.torso[rows], codes=codes)
        return read_expressions(frames, model, every=1).mean(0)

    calm = read("neutral")
    return {
        emotion: {
            name: round(float(asked_for(emotion, found)), 3)
            for name, found in (("asked", read(emotion)), ("neutral", calm))
        }
        for emotion in READ_AS
    }


def write_page(out: Path, metrics: dict, held) -> None:
    """index.html of an avatar: what was held out, filmed beside rendered (heldout.mp4),
    curves of what was trained in out/.work, numbers."""
    from emogene_jax.media.video import iter_frames, write_video

    videos = []
    if held is not None:
        shown = iter_frames(out / "heldout.mkv")
        beside = (np.concatenate(pair, 1) for pair in zip(held.frames, shown))
        sound = held.waveform if len(held.waveform) else None
        write_video(out / "heldout.mp4", beside, sound)
        videos.append(("held out: filmed, rendered", out / "heldout.mp4"))
    absent = metrics.get("absent", {}).items()
    tables = [metrics_table(metrics, "On frames that nothing was learned from")]
    if "expression" in metrics:
        header = ("asked for", "probability of it", "in the neutral face")
        rows = [
            (name, *found.values()) for name, found in metrics["expression"].items()
        ]
        tables.append(("What a network reads in rendered emotions", header, rows))
    write_report(
        out,
        videos,
        [("rendered above filmed", out / "preview.png")],
        training_curves(out / ".work", metrics.get("train_seconds", {})),
        tables,
        notes=[
            *(f"No {name}: {reason}" for name, reason in absent),
            f"Made on {metrics['device']}.",
        ],
        title="EmoGene: an avatar",
        summary="Head, torso and expression as tracked in the filmed frames, rendered.",
        footer="This page shows filmed and synthetic frames side by side.",
        wide=True,
    )


def versions() -> dict:
    """What made an avatar, for its metrics.json."""
    names = ("jax", "jaxlib", "flax", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"emogene_jax": __version__, "python": platform.python_version(), **found}
