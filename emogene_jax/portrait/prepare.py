"""Portrait videos -> a prepared portrait on disk: look, crop, track, fit, matte, listen.

Tracking runs on the source's own pixels inside the crop; pictures are stored at `size`.
From tracking on, points are in px of the stored pictures and all clips of a person are
one: one camera, one rest shape.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.emotions import emotion_of, intensity_of
from emogene_jax.face.fit import (
    at_rest,
    borders,
    calmest,
    find_morphable,
    fit_clips,
    rest_shapes,
)
from emogene_jax.face.identity import face_shape, of_one_person
from emogene_jax.face.pose_fit import away, seen_aside
from emogene_jax.face.tracking import canonical_mesh, filled, find_model, track_video
from emogene_jax.media.stretch import ALL
from emogene_jax.media.video import iter_frames, video_info
from emogene_jax.portrait.cut import faced_parts, learned_from, left_out
from emogene_jax.portrait.listen import listen, load_sounds, say_late
from emogene_jax.portrait.look import (
    crop_boxes,
    find_videos,
    first_look,
    is_cut,
    part_of,
    places,
)
from emogene_jax.portrait.matting import fill_background
from emogene_jax.portrait.pack import (
    code_pictures,
    no_pictures,
    refuse_other_files,
    save_portrait,
)
from emogene_jax.portrait.pictures import (
    MATTE_SIZE,
    FrameStore,
    Picked,
    cut_out_clips,
    must_fit,
    resize,
)
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.told import (
    describe,
    describe_driver,
    told_left_out,
    told_long,
    told_short,
)
from emogene_jax.pose.torso_tracker import TorsoTracker
from emogene_jax.rigid import rotation_exp, rotation_log
from emogene_jax.signals import EMOTIONS, FPS, Pose, UserError, landmarks_to_motion
from emogene_jax.train.progress import Progress

_EASED = 2.0  # frames in which a face that drives comes to rest where it is lost


def prepare_portrait(
    videos: Sequence,
    folder: Path,
    size: int = 512,
    crop: str | tuple[int, int, int] = "auto",
    face_model=None,
    content: dict | None = None,
    need_sound: bool = False,
    holdout_seconds: float | None = None,
    sound_offset: int | None = None,
    times: tuple[float, float | None] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Videos of one person -> a prepared portrait in `folder` (pack.py), or nothing.

    Args:
      videos: files, or folders with a sub-folder per emotion.
      size: px, side of the stored pictures.
      crop: 'auto' (head and shoulders), 'none' (middle square) or (left, top, side) px.
      face_model: a face_landmarker.task (None: find_model's), or a morphable model's .mat.
      content: which content features (audio.features); None = log-mel.
      need_sound: a neutral clip without sound is an error.
      holdout_seconds: of the end, from which nothing is measured; None = cut.held_out's.
      sound_offset: frames by which the sound is late; None = found out of each clip.
      times: (begin, end or None) in s of the one video that alone is used; None = all.
      say: gets lines for people.

    Raises:
      UserError: `folder` holds no portrait to be replaced, or videos can't become one.
    """
    folder, content = Path(folder), content or LOG_MEL
    refuse_other_files(folder)
    files = find_videos(videos)
    part, model = part_of(files, times), find_model(face_model)
    looks = _look(files, model, size, crop, need_sound, folder.parent, say, part)
    frames = sum(look["frames"] for look in looks)
    sounds = load_sounds(files, looks, say, part)
    known = learned_from(frames, holdout_seconds, _calm_frames(files, looks) or frames)
    boxes, centre = _framed(files, looks, crop, known, size)
    steps = Progress(2 * frames, "prepare")
    with FrameStore(folder.parent, max(size, MATTE_SIZE)) as store:
        points, *marks = _tracked(files, looks, boxes, size, model, store, known, steps)
        parts = _parts(files, looks, points, marks[:2], model, known, say)
        clips, rows = _clips(files, looks, boxes, parts)
        points, marks = points[rows], [mark[rows] for mark in marks]
        known, lengths = int((rows < known).sum()), [c.length for c in clips]
        numbers = _numbers(clips)
        calm = _calm(files[0], marks[0][:known], numbers["emotion"][:known])
        camera = model, size, centre, find_morphable(face_model)
        fit, pose, mesh, landmarks = fit_clips(points, lengths, *camera, known=known)
        coded, layers = _layers(store, rows, points, lengths, known, size, steps)
    sound, late = listen(clips, sounds, landmarks[:known], content, sound_offset, say)
    portrait = Portrait(
        **no_pictures(len(rows)) | layers | sound | numbers,
        **_faces(mesh, landmarks, calm),
        pose=pose,
        camera=fit.camera,
        info=_info(clips, marks, landmarks, calm, fit.error[:known], content, late),
    )
    save_portrait(portrait, folder, coded)


def _layers(store, rows, points, lengths, known: int, size: int, progress: Progress):
    """(coded pictures, the Portrait's torso [T, 6] and background [size, size, 3]) of the
    rows [T] of a FrameStore, with meshes [T, 478, 3] px of `size`."""
    frames = Picked(store, rows)
    at, seen, torso = points[..., :2] * (frames.shape[1] / size), [], TorsoTracker()

    def layers():
        for parts in cut_out_clips(frames, at, lengths, known, size, seen):
            yield parts
            progress.update(progress.done + len(parts[0]))

    coded = code_pictures(torso.followed(layers()))
    background = resize(fill_background(*map(np.stack, zip(*seen))), size)
    progress.close()
    motions = torso.track(borders(lengths, known), known)
    return coded, {"torso": motions, "background": background}


class _Clip(NamedTuple):
    """A stretch of a file in which a face is seen, a clip of its own."""

    file: Path
    look: dict[str, Any]
    box: tuple[int, int, int]
    length: int  # frames
    first: int  # of the file's


def _parts(
    files, looks, points, marks, model, known: int, say, done="left out"
) -> list:
    """Of what was tracked the stretches (cut.faced_parts) of one person, whoever is there
    most in what may be learned from; what is `done` to others is said. marks: found and
    cuts."""
    lengths = [look["frames"] for look in looks]
    parts = faced_parts(*marks, lengths)
    if not parts:
        raise UserError(f"{files[0]}: no face stays in view, expected one")
    canonical, _ = canonical_mesh(model)
    shapes = [face_shape(points[start:stop], canonical) for _, start, stop in parts]
    frames = [max(0, min(stop, known) - start) for _, start, stop in parts]
    mine = of_one_person(shapes, frames, [clip for clip, _, _ in parts])
    for number, (file, length) in enumerate(zip(files, lengths, strict=True)):
        begin = sum(lengths[:number])
        own = [
            (a - begin, b - begin, kept)
            for (clip, a, b), kept in zip(parts, mine, strict=True)
            if clip == number
        ]
        first = looks[number]["first"]
        for gaps, why in (
            (
                left_out([(a, b) for a, b, _ in own], length),
                "no face, or only its side,",
            ),
            ([(a, b) for a, b, kept in own if not kept], "another person"),
        ):
            if gaps:
                say(told_left_out(file, gaps, why, done, first))
    return [part for part, kept in zip(parts, mine, strict=True) if kept]


def _clips(files, looks, boxes, parts) -> tuple[list[_Clip], np.ndarray]:
    """(clips, the rows [N] of theirs among all frames) of parts of files."""
    lengths = [look["frames"] for look in looks]
    begins = np.cumsum(lengths) - lengths
    clips, rows = [], []
    for number, start, stop in parts:
        mine = files[number], looks[number], boxes[number]
        first = looks[number]["first"] + start - begins[number]
        clips.append(_Clip(*mine, stop - start, first))
        rows.append(np.arange(start, stop))
    return clips, np.concatenate(rows)


def _faces(mesh, landmarks, calm) -> dict[str, np.ndarray]:
    """The Portrait's shapes of the face, in float32; calm [n] bool, of the first frames."""
    rest_mesh, rest = rest_shapes(mesh[: len(calm)], landmarks[: len(calm)], calm)
    found = {"mesh": mesh, "landmarks": landmarks, "rest_mesh": rest_mesh, "rest": rest}
    return {name: part.astype(np.float32) for name, part in found.items()}


def _numbers(clips: list[_Clip]) -> dict[str, np.ndarray]:
    """Of every frame [T] int32: its clip, its number in the file, its emotion."""
    lengths = [clip.length for clip in clips]
    numbers = [clip.first + np.arange(clip.length) for clip in clips]
    emotions = [EMOTIONS.index(emotion_of(clip.file)) for clip in clips]
    return {
        "clip": np.repeat(np.arange(len(clips)), lengths).astype(np.int32),
        "source_frame": np.concatenate(numbers).astype(np.int32),
        "emotion": np.repeat(emotions, lengths).astype(np.int32),
    }


def _calm_frames(files, looks) -> int:
    emotions = map(emotion_of, files)
    told = zip(emotions, looks, strict=True)
    return sum(look["frames"] for name, look in told if name == "neutral")


def _framed(files, looks, crop, known: int, size: int):
    """(crop boxes of the clips, principal point), by what is seen in known frames."""
    lengths = [look["frames"] for look in looks]
    usable = np.clip(known - np.cumsum(lengths) + lengths, 0, lengths)  # of each clip
    boxes = crop_boxes(files, looks, crop, usable)
    learned = np.count_nonzero(usable)  # clips, the first ones
    return boxes, _centre(looks[:learned], boxes[:learned], size)


def _tracked(
    files, looks, boxes, size, model, frames: FrameStore, known: int, progress: Progress
):
    """(points [T, 478, 3] px, found [T], cuts [T], smiles [T]) of all clips; their
    pictures go to `frames`."""

    def keep(frame):
        frames.append(frame)
        progress.update(len(frames))

    tracks = [
        _track_clip(file, look, box, size, model, keep)
        for file, look, box in zip(files, looks, boxes, strict=True)
    ]
    points, *marks = (np.concatenate(part) for part in zip(*tracks, strict=True))
    found = marks[0]
    # A face that is lost when the known frames end is not looked for behind them.
    last = max(np.flatnonzero(found[:known]), default=0)
    points[last:known] = points[last]
    return points, *marks


def _calm(file, found: np.ndarray, emotion: np.ndarray) -> np.ndarray:
    """[T] bool: the neutral ones of known frames in which a face was found."""
    calm = found & calmest(emotion)
    if not calm.any():
        raise UserError(
            f"{file}: a face in 0 of {len(calm)} frames that may be learned from, "
            "expected one in most of the neutral ones"
        )
    return calm


def _info(clips, marks, landmarks, calm, error, content, late) -> dict:
    """marks: found, cuts and smiles [T]; calm, error [n]: of the frames that may be learned
    from."""
    (found, _, smiles), known = marks, len(calm)
    resting = at_rest(landmarks[:known], calm)
    return {
        "sources": [clip.file.name for clip in clips],
        "intensity": [intensity_of(clip.file) for clip in clips],
        "crop": [[int(v) for v in clip.box] for clip in clips],
        "look": [{k: v for k, v in c.look.items() if k != "boxes"} for c in clips],
        "no_face": np.flatnonzero(~found).tolist(),
        "reprojection_px": round(float(np.median(error)), 3),
        "units": {"landmarks": "cm", "translation": "cm", "focal": "px"},
        "content": content,
        "held_out": len(found) - len(error),
        "sound_offset_frames": late,  # > 0: its sound was late, and is not any more
        # MediaPipe's score of the face at rest
        "smile": round(float(np.median(smiles[:known][resting])), 3),
    }


def _look(files, model, size, crop, need_sound, place, say, part=ALL) -> list[dict]:
    """The first look at every file, or a part of it, said aloud; there is room for their
    pictures. What files say of themselves is looked at before, in no time."""
    looks, declared = [], 0.0
    calm = [emotion_of(file) == "neutral" for file in files]
    for file, neutral in zip(files, calm, strict=True):
        info = video_info(file)
        # Beside neutral ones, an emotional take without sound still shows the face.
        if need_sound and not info["sound"] and (neutral or not any(calm)):
            raise UserError(f"{file}: no sound track, expected speech")
        # An mkv does not say how many pictures it has.
        length = FPS * (info["frames"] / info["fps"] or info["seconds"])
        declared += len(range(*part.indices(int(length))))
    must_fit(place, int(declared), size)
    if told := told_long(declared / FPS):
        say(told)
    for file in files:
        looks.append(first_look(file, model, crop, part))
        for line in describe(looks[-1], size):
            say(line)
    if told := told_short(sum(look["seconds"] for look in looks)):
        say(f"  {told}")
    must_fit(place, sum(look["frames"] for look in looks), size)
    return looks


def _centre(looks, boxes, size) -> tuple[float, float]:
    """The principal point in px of the stored pictures: the middle of the source, where
    one crop serves all; else that of the picture."""
    if (
        len({(look["width"], look["height"], box) for look, box in zip(looks, boxes)})
        > 1
    ):
        return size / 2, size / 2
    (left, top, side), look = boxes[0], looks[0]
    return (
        (look["width"] / 2 - left) * size / side,
        (look["height"] / 2 - top) * size / side,
    )


def _track_clip(file, look, box, size, model, keep=None):
    """(points [T, 478, 3] in px of `size`, found [T] from the front, cuts [T], smiles [T]
    0 to 1) of one clip; `keep` gets its frames [S, S, 3] at the matting size."""
    (left, top, side), cuts, before = box, [], None

    def cropped():
        nonlocal before
        for frame in iter_frames(file, part=slice(look["first"], look["stop"])):
            if len(cuts) == look["frames"]:
                raise UserError(
                    f"{file}: grew while it was read, expected a whole file"
                )
            frame = np.ascontiguousarray(frame[top : top + side, left : left + side])
            cuts.append(before is not None and is_cut(before, frame))
            before = frame
            if keep:
                keep(resize(frame, max(size, MATTE_SIZE)))
            yield frame

    expected = places(look) - (left, top)
    track = track_video(cropped(), model, name=str(file), places=expected)
    found = track.found & ~seen_aside(track.points, canonical_mesh(model)[0])
    points, smiles = filled(track.points, found), track.score("mouthSmile")
    return points * (size / side), found, np.array(cuts), smiles


def track_performance(
    video, face_model=None, say: Callable[[str], None] = print
) -> tuple[np.ndarray, Pose, bool]:
    """What a face does in a video: motion [T, 68, 3] in its own eye distances, T poses away
    from the mean of their shot, and whether there is a sound track; `say` gets lines for
    people. Where nobody is there, or somebody else, it is at rest: sound goes on."""
    model, size = find_model(face_model), 512
    files, looks = [Path(video)], [first_look(video, model)]
    for line in describe_driver(looks[0]):
        say(line)
    sounds, frames = load_sounds(files, looks, say), looks[0]["frames"]
    (box,) = boxes = crop_boxes(files, looks, "auto", [frames])
    points, *marks, _ = _track_clip(*files, *looks, box, size, model)
    parts = _parts(files, looks, points, marks, model, frames, say, "at rest there")
    clips, rows = _clips(files, looks, boxes, parts)
    lengths, centre = [c.length for c in clips], _centre(looks, boxes, size)
    _, pose, mesh, landmarks = fit_clips(
        points[rows], lengths, model, size, centre, find_morphable(face_model)
    )
    found, cuts = (mark[rows] for mark in (marks[0], np.cumsum(marks[1])))
    _, rest = rest_shapes(mesh, landmarks, found)
    say_late(clips, sounds, landmarks, say)
    motion = landmarks_to_motion(landmarks, rest)
    return *_unbroken(motion, away(pose, cuts), rows, len(points)), looks[0]["sound"]


def _unbroken(motion, pose: Pose, rows: np.ndarray, total: int):
    """(motion [total, 68, 3], pose) of all frames, of those of `rows` [N]: between them a
    face comes to rest, and its head goes to where it is next."""
    if len(rows) == total:
        return motion, pose
    at = np.arange(total)
    known = rotation_log(pose.rotation), pose.translation, motion.reshape(len(rows), -1)
    columns = np.concatenate(known, -1).T
    whole = np.stack([np.interp(at, rows, column) for column in columns], -1)
    there = gaussian_filter1d(np.isin(at, rows).astype(float), _EASED)
    motion = (there[:, None] * whole[:, 6:]).reshape(total, *motion.shape[1:])
    return motion, Pose(rotation_exp(whole[:, :3]), whole[:, 3:6])
