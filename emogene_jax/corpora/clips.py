"""One clip of a corpus: what is seen and heard in it, and the small file that keeps it.

`extract` works on one clip and knows nothing of others, so that a pool of processes
(extract.py), a Beam pipeline or a cluster's scheduler may run it in any order. It is two
steps: `notice` needs no accelerator, and `keep` has the content of many clips made at once
where there is one. What it finds goes into one .npz file beside nothing else, written whole
or not at all: whoever is killed loses the clips in flight. A clip that can't be used leaves
a .skipped file with the reason, and is not tried again.
"""

import errno
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax.audio.features import contents, fitted
from emogene_jax.audio.load import load_audio
from emogene_jax.audio.pitch import pitch
from emogene_jax.audio.silence import speech_frames
from emogene_jax.audio_to_motion.offset import estimate, moved
from emogene_jax.corpora.clock import Clock
from emogene_jax.corpora.watch import Seen, watch
from emogene_jax.folders import read_header
from emogene_jax.media.video import video_info
from emogene_jax.signals import FPS, Camera, Pose, UserError

# What is kept of a clip, as it is on disk; content is most of it, with HuBERT.
ARRAYS = {
    "landmarks": np.float32,  # [T, 68, 3] cm, canonical head space
    "found": np.bool_,  # [T]; where False, the face is interpolated
    "rotation": np.float32,  # [T, 3, 3]
    "translation": np.float32,  # [T, 3] cm
    "camera": np.float64,  # [4] focal, cx, cy and width of the source in px
    "source_fps": np.float32,  # []; rows are 25 per second
    "sound_offset": np.float32,  # []; frames by which the sound was late: corrected
    "content": np.float16,  # [2T, F]
    "f0": np.float32,  # [2T] Hz
    "speech": np.bool_,  # [T]
}
EXTRACTION, FORMAT = "extraction.json", 2  # says what a folder of clips is of
DONE, SKIPPED = ".npz", ".skipped"  # the ends of the files of a clip
STAGES = ("decode", "track", "fit", "features")
# Troubles of the machine, not of the clip: they stop the work.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM)


class Task(NamedTuple):
    """One clip that is to be extracted."""

    path: str  # inside the corpus, parts joined by /
    sound: str | None  # the same, of the sound that counts if the video has none


class Job(NamedTuple):
    """What is the same for all clips."""

    corpus: str  # the corpus' folder
    out: str  # the folder of what was found
    content: dict  # which content features (audio.features)
    face_model: str | None = None  # as of watch.watch
    watch: Callable = watch  # (video, face_model, clock) -> Seen
    late_from: int = 1  # frames, from which on sound that is late is corrected
    seen: str | None = None  # another extraction of these clips, whose faces count


class Outcome(NamedTuple):
    """What came of a clip."""

    path: str
    reason: str | None = None  # why it was skipped
    told: str | None = None  # what people should know of it
    seconds: float = 0.0  # of video
    wall: dict = {}  # {stage: seconds}
    processor: dict = {}
    new: bool = True  # False: it had been done before


class Noticed(NamedTuple):
    """A clip of which all is found but the content of its sound."""

    path: str
    waveform: np.ndarray  # [640 T], of which the content is to be made
    arrays: dict[str, np.ndarray]  # ARRAYS without the content
    told: str | None
    clock: Clock


def extract(task: Task, job: Job) -> Outcome:
    """Leaves a file in `job.out` for the clip, unless one is there already.

    Raises:
      OSError: of the machine (a full disk), never of the clip.
    """
    noticed = notice(task, job)
    return noticed if isinstance(noticed, Outcome) else keep([noticed], job)[0]


def notice(task: Task, job: Job) -> Noticed | Outcome:
    """The first step: what is seen and heard in the clip; or what came of it, where it was
    done before or can't be used. Raises as `extract` does."""
    if kept(job.out, task.path, DONE).is_file():
        return Outcome(task.path, new=False)
    skipped = kept(job.out, task.path, SKIPPED)
    if skipped.is_file():
        return Outcome(task.path, skipped.read_text(encoding="utf-8"), new=False)
    clock = Clock()
    try:
        return _see_and_hear(task, job, clock)
    except Exception as error:
        return _skipped(task.path, job, error)


def keep(noticed: list[Noticed], job: Job) -> list[Outcome]:
    """The second step: leaves the files of clips, their content made together. Raises as
    `extract` does."""
    clock = Clock()
    try:
        with clock.stage("features"):
            made = contents([clip.waveform for clip in noticed], job.content)
    except Exception as error:
        if len(noticed) > 1:  # which of them is it?
            return [keep([clip], job)[0] for clip in noticed]
        return [_skipped(noticed[0].path, job, error)]
    for clip in noticed:
        for mine, its in zip(clip.clock.seconds(), clock.seconds(), strict=True):
            mine["features"] += its["features"] / len(noticed)
    return [_keep(*each, job) for each in zip(noticed, made, strict=True)]


def _keep(clip: Noticed, content: np.ndarray, job: Job) -> Outcome:
    found = clip.arrays | {"content": np.asarray(content, ARRAYS["content"])}
    arrays = {name: found[name] for name in ARRAYS}
    bad = [
        name
        for name, array in arrays.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if bad:
        told = f"{clip.path}: {', '.join(bad)} with values that are not finite"
        return _skipped(clip.path, job, UserError(told))
    _write(kept(job.out, clip.path, DONE), lambda file: np.savez(file, **arrays))
    seconds = len(arrays["found"]) / FPS
    return Outcome(clip.path, None, clip.told, seconds, *clip.clock.seconds())


def _skipped(path: str, job: Job, error: Exception) -> Outcome:
    """Notes that the clip can't be used; if that is the machine's fault, raises it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", 0) in _MACHINE:
        raise error
    reason = _reason(error, job.corpus)
    skip(job.out, path, reason)
    return Outcome(path, reason)


def read_extraction(out) -> dict:
    """What `out` is the extraction of: corpus, and content (audio.features).

    Raises:
      UserError: it is no such folder, or of another version.
    """
    what = "what emogene_jax.corpora.extract has written"
    return read_header(Path(out) / EXTRACTION, FORMAT, what)


def kept(out, path: str, end: str) -> Path:
    """Where the file of the clip `path` is, by its end (DONE or SKIPPED)."""
    return Path(out) / "clips" / (path + end)


def skip(out, path: str, reason: str) -> None:
    """Notes that a clip can't be used, and why."""
    _write(kept(out, path, SKIPPED), lambda file: file.write(reason.encode()))


def kept_paths(out, end: str) -> list[str]:
    """The paths of all clips in `out` that have a file of that end, sorted."""
    root = Path(out) / "clips"
    found = []
    for place, _, names in os.walk(root):
        inside = Path(place).relative_to(root)
        found += [
            (inside / name.removesuffix(end)).as_posix()
            for name in names
            if name.endswith(end) and not name.startswith(".")
        ]
    return sorted(found)


def sweep(out) -> None:
    """Removes what killed processes left half-written, an hour ago or more."""
    for part in (Path(out) / "clips").rglob(".*.part"):
        if time.time() - part.stat().st_mtime > 3600:
            part.unlink(missing_ok=True)


def read_clip(out, path: str, names=tuple(ARRAYS)) -> dict[str, np.ndarray]:
    """Some of ARRAYS of a clip that was extracted.

    Raises:
      UserError: its file is damaged.
    """
    file = kept(out, path, DONE)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file}: damaged ({error}): remove it and extract again"
        ) from None


def seen_before(out, path: str) -> Seen:
    """The face in a clip, as another extraction has it.

    Raises:
      UserError: it has no such clip.
    """
    if not kept(out, path, DONE).is_file():
        raise UserError(f"{out}: {path} was not extracted")
    clip = read_clip(out, path)
    *camera, size = map(float, clip["camera"])
    pose = Pose(clip["rotation"], clip["translation"])
    camera, fps = Camera(*camera, int(size)), float(clip["source_fps"])
    return Seen(clip["landmarks"], clip["found"], pose, camera, fps)


def _see_and_hear(task: Task, job: Job, clock: Clock) -> Noticed:
    video = Path(job.corpus) / task.path
    with clock.stage("decode"):
        own_sound = video_info(video)["sound"]
    sound = video
    if not own_sound and task.sound is not None:
        sound = Path(job.corpus) / task.sound
        if not sound.is_file():
            raise UserError(f"{video}: no sound track, expected one or {sound}")
    with clock.stage("features"):  # before the picture: without sound that is in vain
        waveform = load_audio(sound)
    if job.seen:
        seen = seen_before(job.seen, task.path)
    else:
        seen = job.watch(video, job.face_model, clock)
    with clock.stage("features"):
        waveform = fitted(waveform, len(seen.found))
        offset = estimate(waveform, seen.landmarks)
        late = offset.correction(job.late_from) if offset else 0
        waveform = moved(waveform, late)
        heard = {"f0": pitch(waveform, 2 * len(seen.found))}
        heard |= {"speech": speech_frames(waveform)}
    found = seen._asdict() | seen.pose._asdict() | heard
    found |= {"source_fps": seen.fps, "camera": tuple(seen.camera)}
    found |= {"sound_offset": late}
    # Of NumPy: they may go to another process.
    told = ((name, ARRAYS[name]) for name in ARRAYS if name != "content")
    arrays = {name: np.asarray(found[name], dtype) for name, dtype in told}
    return Noticed(task.path, waveform, arrays, offset and offset.told(), clock)


def _reason(error: Exception, corpus: str) -> str:
    """One line, without the place where the corpus happens to be."""
    text = " ".join(str(error).replace(f"{corpus}/", "").split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _write(path: Path, write: Callable) -> None:
    """Writes a file, whole or not at all; also if two processes write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
