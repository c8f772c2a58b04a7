"""Portrait videos -> a Portrait: look, crop, track, fit, matte, listen.

Tracking runs on the source's own pixels inside the crop; pictures are stored at `size`.
From tracking on, points are in px of the stored pictures and all clips of a person are
one: one camera, one rest shape.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from emogene_jax.audio.features import LOG_MEL, audio_features
from emogene_jax.data.schema import Portrait
from emogene_jax.face import landmarks as lm
from emogene_jax.face.look import describe, first_look
from emogene_jax.face.matting import make_mattes
from emogene_jax.face.morphable import (
    TRACKER_WEIGHT,
    fit_morphable,
    in_head_space,
    load_morphable,
)
from emogene_jax.face.pose_fit import fit_head, head_mesh, smooth_pose
from emogene_jax.face.tracking import canonical_mesh, find_model, track_video
from emogene_jax.signals import (
    EMOTIONS,
    FPS,
    SAMPLE_RATE,
    Pose,
    UserError,
    landmarks_to_motion,
)
from emogene_jax.video import iter_frames

_VIDEO_ENDS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"}
_VIEW = 2.0  # side of the automatic crop, in heights of the face
_USUAL = (
    0.35,
    0.68,
)  # face heights over the side at which a square clip stays as it is
_MATTE_SIZE = 256  # px at least, where mattes are made
# Other names by which data sets and people call the emotions.
ALIASES = {
    "anger": "angry",
    "ang": "angry",
    "disgusted": "disgust",
    "dis": "disgust",
    "fearful": "fear",
    "fea": "fear",
    "happiness": "happy",
    "hap": "happy",
    "neu": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
} | {name: name for name in EMOTIONS}


def emotion_of(path) -> str:
    """The emotion of a clip by its folder's name or a part of its own (MEAD:
    M030_sad_3_001.mp4); neutral where none is told."""
    path = Path(path)
    parts = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
    return next((ALIASES[part] for part in parts if part in ALIASES), "neutral")


def find_videos(paths: Sequence) -> list[Path]:
    """The video files named, or inside the folders named (a sub-folder per emotion)."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in _VIDEO_ENDS
            )
            if not inside:
                raise UserError(f"{path}: no video in this folder, expected some")
            found += inside
        else:
            found.append(path)
    if not found:
        raise UserError("0 videos given, expected at least one")
    return found


def prepare(
    videos: Sequence,
    size: int = 512,
    crop: str | tuple[int, int, int] = "auto",
    face_model=None,
    content: dict | None = None,
    need_sound: bool = False,
    say: Callable[[str], None] = print,
) -> Portrait:
    """A Portrait out of video files of one person.

    Args:
      videos: files, or folders with a sub-folder per emotion.
      size: px, side of the stored pictures.
      crop: 'auto' (head and shoulders; a square clip with a face of the usual size
        stays whole), 'none' (the largest square in the middle) or (left, top, side) px.
      face_model: MediaPipe's face_landmarker.task; None = $EMOGENE_FACE_MODEL, the
        cache or a download. A .mat file is a morphable model (face/morphable.py): the
        landmarks are then those of its fit to MediaPipe's points, as in the paper.
      content: which content features (audio.features); None = log-mel.
      need_sound: a clip without sound is an error.
      say: gets lines for people.
    """
    files, model = find_videos(videos), find_model(face_model)
    morphable = find_morphable(face_model)
    looks = _look(files, model, size, need_sound, say)
    boxes = _crop_boxes(files, looks, crop)
    clips = [
        _track_clip(file, box, size, model)
        for file, box in zip(files, boxes, strict=True)
    ]
    frames, points, found = (np.concatenate(part) for part in zip(*clips, strict=True))
    lengths = [len(clip[0]) for clip in clips]
    emotion = np.repeat([EMOTIONS.index(emotion_of(f)) for f in files], lengths)
    centre = _centre(looks, boxes, size)
    fit, pose, mesh, landmarks = fit_clips(
        points, lengths, model, size, centre, morphable
    )
    rest_mesh, rest = rest_shapes(mesh, landmarks, found & _calmest(emotion))
    pictures, mattes = _mattes(frames, points, lengths, size)
    content = content or LOG_MEL
    sound = _listen(files, looks, lengths, content)
    return Portrait(
        frames=pictures,
        head_matte=mattes[0],
        torso_matte=mattes[1],
        background=mattes[2],
        mesh=mesh.astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        rest_mesh=rest_mesh.astype(np.float32),
        rest=rest.astype(np.float32),
        pose=pose,
        camera=fit.camera,
        **sound,
        clip=np.repeat(np.arange(len(files)), lengths).astype(np.int32),
        source_frame=np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        emotion=emotion.astype(np.int32),
        info=_info(files, boxes, looks, found, fit) | {"content": content},
    )


def _info(files, boxes, looks, found, fit) -> dict:
    return {
        "sources": [file.name for file in files],
        "crop": [[int(v) for v in box] for box in boxes],
        "look": looks,
        "no_face": np.flatnonzero(~found).tolist(),
        "reprojection_px": round(float(np.median(fit.error)), 3),
        "units": {"landmarks": "cm", "translation": "cm", "focal": "px"},
    }


def _look(files, model, size, need_sound, say) -> list[dict]:
    """The first look at every file, said aloud."""
    looks = []
    for file in files:
        look = first_look(file, model)
        for line in describe(look, size):
            say(line)
        if need_sound and not look["sound"]:
            raise UserError(f"{file}: no sound track, expected speech")
        looks.append(look)
    return looks


def _crop_boxes(files, looks, crop) -> list[tuple[int, int, int]]:
    """(left, top, side) px of every clip; clips of one shape share one box."""
    shared = {}
    for look in looks:
        shared.setdefault((look["width"], look["height"]), []).append(look)
    boxes = []
    for file, look in zip(files, looks, strict=True):
        width, height = look["width"], look["height"]
        if crop == "auto":
            box = _auto_box(width, height, shared[width, height])
        elif crop == "none":
            side = min(width, height)
            box = ((width - side) // 2, (height - side) // 2, side)
        else:
            box = left, top, side = tuple(int(value) for value in crop)
            inside = min(left, top) >= 0 and left + side <= width
            if side < 32 or not inside or top + side > height:
                raise UserError(
                    f"{file}: crop {left},{top},{side} does not lie inside the picture "
                    f"of {width} x {height} px"
                )
        boxes.append(box)
    return boxes


def _auto_box(width, height, looks) -> tuple[int, int, int]:
    face = np.median([look["face_size"] for look in looks])
    if width == height and _USUAL[0] <= face / width <= _USUAL[1]:
        return 0, 0, width
    box = np.array([look["box"] for look in looks])
    low, high = box[:, :2].min(0), box[:, 2:].max(0)
    wanted = max(_VIEW * face, 1.3 * (high - low).max())
    side = int(min(wanted, width, height))
    middle = (low + high) / 2
    left = np.clip(middle[0] - side / 2, 0, width - side)
    top = np.clip(middle[1] - side * 0.5, 0, height - side)
    return int(left), int(top), side


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


def _resize(picture: np.ndarray, size: int) -> np.ndarray:
    """[size, size, ...] uint8 by area averaging (or cubic, where it must grow)."""
    if len(picture) == size:
        return picture
    way = Image.Resampling.BOX if len(picture) > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((size, size), way))


def _track_clip(file, box, size, model):
    """(frames [T, S, S, 3] at the matting size, points [T, 478, 3] in px of `size`,
    found [T]) of one clip."""
    left, top, side = box
    kept = []

    def cropped():
        for frame in iter_frames(file):
            frame = np.ascontiguousarray(frame[top : top + side, left : left + side])
            kept.append(_resize(frame, max(size, _MATTE_SIZE)))
            yield frame

    track = track_video(cropped(), model, name=str(file))
    return np.stack(kept), track.points * (size / side), track.found


def find_morphable(face_model):
    """The MorphableModel that --face-model names (a .mat file), or None."""
    named = face_model is not None and Path(face_model).suffix.lower() == ".mat"
    return load_morphable(face_model) if named else None


def fit_clips(points, lengths, model, size, centre, morphable=None, looked_at=100):
    """(HeadFit, smoothed Pose, mesh [T, 478, 3] cm, landmarks [T, 68, 3] cm) of all clips
    together. The landmarks are the mesh's own, or those of a morphable model fitted to
    the same image points and brought into the same head space. `looked_at`: fit_head's.
    """
    canonical, _ = canonical_mesh(model)
    fit = fit_head(points, canonical, size, centre, looked_at=looked_at)
    mesh = head_mesh(points, fit)
    landmarks = lm.to_68(mesh)
    if morphable is not None:
        at = lm.to_68(points)[..., :2]
        face = fit_morphable(morphable, at, fit.camera, TRACKER_WEIGHT)
        landmarks = in_head_space(face, landmarks, TRACKER_WEIGHT).landmarks
    middle = fit.shape.mean(0)
    rotations, translations, meshes, faces = [], [], [], []
    for clip in np.split(np.arange(len(points)), np.cumsum(lengths)[:-1]):
        raw = Pose(fit.pose.rotation[clip], fit.pose.translation[clip])
        pose = smooth_pose(raw, middle)
        rotations.append(pose.rotation)
        translations.append(pose.translation)
        # A breath of smoothing: a plosive's two closed frames keep nine tenths.
        for part, smooth in ((mesh, meshes), (landmarks, faces)):
            smooth.append(gaussian_filter1d(part[clip], 0.5, axis=0, mode="nearest"))
    pose = Pose(np.concatenate(rotations), np.concatenate(translations))
    return fit, pose, np.concatenate(meshes), np.concatenate(faces)


def _calmest(emotion: np.ndarray) -> np.ndarray:
    """[T] bool: the neutral frames, or all where none is neutral."""
    neutral = emotion == EMOTIONS.index("neutral")
    return neutral if neutral.any() else np.ones_like(neutral)


def rest_shapes(mesh, landmarks, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rest mesh [478, 3] and landmarks [68, 3]: the median of the usable [T] frames that
    are at rest."""
    calm = at_rest(landmarks, usable)
    return np.median(mesh[calm], axis=0), np.median(landmarks[calm], axis=0)


def at_rest(points: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """[T] bool: the usable frames of landmarks [T, 68, 3] with closed lips and open
    eyes."""
    gap, eyes = lm.lip_gap(points), lm.eye_opening(points).mean(-1)
    open_eyes = usable & (eyes > 0.9 * np.median(eyes[usable]))
    return open_eyes & (gap <= max(0.03, np.percentile(gap[open_eyes], 15)))


def rest_of(mesh, landmarks, emotion) -> tuple[np.ndarray, np.ndarray]:
    """(rest mesh [M, 3], rest landmarks [68, 3]) cm, of the neutral ones of frames with
    mesh [T, M, 3], landmarks [T, 68, 3] and emotion [T]."""
    rest_mesh, rest = rest_shapes(mesh, landmarks, _calmest(emotion))
    return rest_mesh.astype(np.float32), rest.astype(np.float32)


def _mattes(frames, points, lengths, size):
    """(pictures at `size`, (head, torso, background) at `size`)."""
    at = points[..., :2] * (frames.shape[1] / size)
    heads, torsos, backgrounds = [], [], []
    for clip in np.split(np.arange(len(frames)), np.cumsum(lengths)[:-1]):
        mattes = make_mattes(frames[clip], at[clip])
        for head, torso in zip(mattes.head, mattes.torso, strict=True):
            whole = _resize(head + torso, size)  # so that rounding never exceeds 255
            heads.append(np.minimum(_resize(head, size), whole))
            torsos.append(whole - heads[-1])
        backgrounds.append(_resize(mattes.background, size))
    pictures = np.stack([_resize(frame, size) for frame in frames])
    longest = backgrounds[int(np.argmax(lengths))]
    return pictures, (np.stack(heads), np.stack(torsos), longest)


def _listen(files, looks, lengths, content) -> dict:
    """The Portrait's audio fields; silence where a clip has no sound."""
    from emogene_jax.audio.load import load_audio

    waveforms, heard = [], []
    for file, look, frames in zip(files, looks, lengths, strict=True):
        samples = frames * SAMPLE_RATE // FPS
        waveform = load_audio(file) if look["sound"] else np.zeros(0, np.float32)
        waveform = np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))
        waveforms.append(waveform.astype(np.float32))
        heard.append(audio_features(waveforms[-1], content))
    whole = np.concatenate(waveforms)
    has_sound = any(look["sound"] for look in looks)
    return {
        "content": np.concatenate([part.content for part in heard]),
        "f0": np.concatenate([part.f0 for part in heard]),
        "speech": np.concatenate([part.speech for part in heard]),
        "waveform": np.round(whole * 32767).astype(np.int16)
        if has_sound
        else whole[:0],
    }


def track_performance(video, face_model=None) -> tuple[np.ndarray, Pose, bool]:
    """What a face does in a video: motion [T, 68, 3] in its own eye distances, T poses,
    and whether there is a sound track."""
    model, size = find_model(face_model), 512
    look = first_look(video, model)
    box = _crop_boxes([video], [look], "auto")[0]
    _, points, found = _track_clip(video, box, size, model)
    centre = _centre([look], [box], size)
    morphable = find_morphable(face_model)
    _, pose, mesh, landmarks = fit_clips(
        points, [len(points)], model, size, centre, morphable
    )
    _, rest = rest_shapes(mesh, landmarks, found)
    return landmarks_to_motion(landmarks, rest), pose, look["sound"]
