"""What `emogene talk` does: an avatar and speech, silence or another face -> a video."""

import contextlib
import copy
import itertools
import os
import threading
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from emogene_jax.audio.features import FRAME, audio_features
from emogene_jax.audio.load import StoredSound
from emogene_jax.avatar.file import Avatar, load_avatar
from emogene_jax.avatar.voice import check_voice
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotions import never_reached
from emogene_jax.folders import must_unpack_sanely
from emogene_jax.media.video import write_video
from emogene_jax.parallel import (
    enable_compilation_cache,
    host_apart,
    on_accelerator,
)
from emogene_jax.pipeline import (
    Performance,
    perform_idle,
    perform_in_stretches,
)
from emogene_jax.pose.torso import MOTION
from emogene_jax.rigid import mean_rotation
from emogene_jax.signals import (
    FPS,
    Pose,
    UserError,
    eye_distance,
    landmarks_to_motion,
    motion_to_landmarks,
)

MOST_AT_ONCE = 4  # speeches that are rendered side by side


def talk(avatar, audio, track, out, seed=0, background=None, landmarks_out=None):
    """Speech files -> one video each. One file: `out` is the mp4; several: a folder, and
    hosts share them. While one is listened to or its encoder ends, others are rendered."""
    names = [Path(path).stem for path in audio]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"{name}: two speeches of this name; their videos would too"
            )
    index, hosts = host_apart()
    spoken = [(path, StoredSound(path)) for path in audio[index::hosts]]
    if not spoken:
        return
    several = len(audio) > 1
    person, picture = open_avatar(avatar), open_background(background)
    renderer = Renderer(person.fields)
    listening, ended = threading.Lock(), threading.Event()

    def say(path, waveform, shown):
        with listening:  # a network is loaded once
            features = audio_features(waveform, person.info["content"])
        if late := never_reached(track, len(features.speech)):
            warnings.warn(f"{path}: {late}", stacklevel=1)
        performance = perform_in_stretches(person, features, track, seed)
        if landmarks_out is not None:
            motion = np.concatenate(list(performance.motion))
            performance = performance._replace(motion=motion)
        target = Path(out) / f"{Path(path).stem}.mp4" if several else Path(out)
        # Its own windows: no frame depends on what else is rendered.
        alone = copy.copy(renderer)
        _show(person, alone, performance, target, path, picture, shown)
        _save(landmarks_out, person, performance)

    total = sum(max(1, -(-len(waveform) // FRAME)) for _, waveform in spoken)
    with _progress(total, out, ended) as shown:
        if len(spoken) == 1:
            say(*spoken[0], shown)
        else:
            _side_by_side([(say, *each, shown) for each in spoken], ended)


def _side_by_side(calls, ended: threading.Event) -> None:
    """Calls (function, *arguments), some at a time. Where one fails, `ended` is set, by
    which those that run end as well, and no other begins."""
    cores = os.cpu_count() or 1
    # An encoder keeps a few cores busy; a CPU renders one as fast as two.
    at_once = min(MOST_AT_ONCE, max(2, cores // 4)) if on_accelerator() else 2

    def run(function, *arguments):
        if ended.is_set():
            return
        try:
            function(*arguments)
        except CancelledError:
            pass  # it ended as another failed
        except BaseException:
            ended.set()
            raise

    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(run, *call) for call in calls]
        try:
            for each in running:
                each.result()
        except BaseException:  # Ctrl-C, too
            ended.set()
            raise


def idle(avatar, seconds, out, seed=0, background=None, landmarks_out=None):
    """A video of `seconds` in which the person says nothing, and lives."""
    person, picture = open_avatar(avatar), open_background(background)
    frames = max(1, round(seconds * FPS))
    performance = perform_idle(person, frames, seed)
    with _progress(frames, out) as shown:
        renderer = Renderer(person.fields)
        _show(person, renderer, performance, out, None, picture, shown)
    _save(landmarks_out, person, performance)


def drive(avatar, source, out, landmarks_out=None, background=None, face_model=None):
    """Re-enact a video of somebody, or saved landmarks (.npz)."""
    person, picture = open_avatar(avatar), open_background(background)
    if Path(source).suffix.lower() == ".npz":
        performance, sound = _load(source), None
    else:
        performance, has_sound = _track(source, person, face_model)
        sound = source if has_sound else None
    with _progress(len(performance.pose.rotation), out) as shown:
        renderer = Renderer(person.fields)
        _show(person, renderer, performance, out, sound, picture, shown)
    _save(landmarks_out, person, performance)


def open_avatar(avatar) -> Avatar:
    """The avatar of a folder, ready to be rendered."""
    enable_compilation_cache()
    person = load_avatar(avatar)
    try:
        check_voice(person)
    except UserError as error:
        raise UserError(f"{avatar}: {error}") from None
    return person


@contextlib.contextmanager
def _progress(frames: int, out, ended: threading.Event | None = None):
    """A function to be called after each of so many frames, in any thread; once `ended`,
    it raises."""
    from emogene_jax.train.progress import Progress

    progress, numbers = Progress(frames, Path(out).name), itertools.count(1)
    lock = threading.Lock()

    def shown():
        if ended is not None and ended.is_set():
            raise CancelledError
        with lock:
            progress.update(next(numbers), {})

    yield shown
    progress.close({})


def _show(person, renderer, performance: Performance, out, sound, picture, shown):
    size = person.fields.camera.size
    if picture is not None:
        picture = np.asarray(picture.resize((size, size), Image.LANCZOS))

    def frames():
        for frame in renderer.frames(*performance, picture):
            yield frame
            shown()

    write_video(out, frames(), sound)


def open_background(path):
    """The middle square of a picture; None of None."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a picture ({error})") from None
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _save(path, person: Avatar, performance: Performance):
    """Landmarks [T, 68, 3] in cm, poses, the torso's motions and rest: what `--drive`
    reads."""
    if path is None:
        return
    temporary = Path(path).with_name(f".{Path(path).name}.part")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    # In double precision: rounded, they would drive to some pixels one off.
    rest, motion = (
        np.asarray(x, np.float64) for x in (person.rest, performance.motion)
    )
    with temporary.open("wb") as target:
        np.savez(
            target,
            landmarks=motion_to_landmarks(motion, rest, np.float64),
            rest=rest,
            **performance.pose._asdict(),
            **({} if performance.torso is None else {"torso": performance.torso}),
        )
    temporary.replace(path)


def _load(path) -> Performance:
    expected = (
        "an .npz of landmarks [T, 68, 3], rest [68, 3], rotation [T, 3, 3], translation "
        f"[T, 3] and perhaps torso [T, {MOTION}]"
    )
    must_unpack_sanely(path)
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: np.asarray(saved[name], np.float64) for name in saved.files}
        landmarks, rest = arrays["landmarks"], arrays["rest"]
        pose = Pose(arrays["rotation"], arrays["translation"])
        torso = arrays.get("torso", np.zeros((len(landmarks), MOTION)))
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; expected {expected}") from None
    except (OSError, ValueError, TypeError, EOFError, MemoryError, BadZipFile):
        raise UserError(f"{path}: can't be read; expected {expected}") from None
    count = landmarks.shape[0] if landmarks.ndim else 0
    shapes = [part.shape for part in (landmarks, rest, *pose, torso)]
    expected_shapes = [
        (count, 68, 3),
        (68, 3),
        (count, 3, 3),
        (count, 3),
        (count, MOTION),
    ]
    if not count or shapes != expected_shapes:
        raise UserError(f"{path}: found arrays of shapes {shapes}; expected {expected}")
    if not all(np.isfinite(part).all() for part in (landmarks, rest, *pose, torso)):
        raise UserError(f"{path}: found NaN or infinity; expected finite numbers")
    if eye_distance(rest) < 1e-3:
        raise UserError(f"{path}: rest has its eye corners in one place; expected cm")
    product = pose.rotation @ pose.rotation.swapaxes(1, 2)
    if (
        np.abs(product - np.eye(3)).max() > 1e-2
        or np.linalg.det(pose.rotation).min() < 0
    ):
        raise UserError(f"{path}: rotation holds matrices that are no rotations")
    motion = landmarks_to_motion(landmarks, rest)
    return Performance(motion, pose, arrays.get("torso"))


def _track(path, person: Avatar, face_model) -> tuple[Performance, bool]:
    """What a tracked face does, carried over: its motion, and its turns and shifts, put on
    the avatar's mean pose; and whether the video has sound."""
    from emogene_jax.portrait.prepare import track_performance

    motion, pose, has_sound = track_performance(path, face_model)
    rotation = mean_rotation(person.pose.rotation) @ pose.rotation
    translation = person.pose.translation.mean(0) + pose.translation
    return Performance(motion, Pose(rotation, translation)), has_sound
