"""One video against its reference: every metric that can be told, frame by frame.

Both are read at 25 fps and compared by frame number from the first on, as long as both
last; a picture of another size is resized to the reference's. Each video is decoded and
tracked once; where networks are asked (networks.py) it is decoded once more. Memory does
not grow with length, but for landmarks.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emogene_jax.audio.load import load_audio
from emogene_jax.corpora.watch import seen_of
from emogene_jax.emotions import emotion_of
from emogene_jax.evaluate import judge, metrics, networks, temporal
from emogene_jax.evaluate.geometry import in_crop
from emogene_jax.evaluate.lip_sync import lip_sync, mouth_crop
from emogene_jax.evaluate.networks import Networks
from emogene_jax.face.fit import find_morphable
from emogene_jax.face.mesh import to_68
from emogene_jax.face.tracking import Track, find_model, open_tracker, track_video
from emogene_jax.landmarks import FACE, MOUTH
from emogene_jax.media.video import iter_frames, video_info
from emogene_jax.portrait.listen import ends_early
from emogene_jax.portrait.look import crop_boxes, first_look, places
from emogene_jax.portrait.told import file_notices, seen_notices
from emogene_jax.signals import FPS, UserError

SMALL = 0.25  # of a picture's side: a face is looked for around it, not in all of it


class Tools(NamedTuple):
    """What there is to measure with."""

    model: Path | None  # MediaPipe's bundle
    morphable: object | None
    networks: Networks
    judge: Callable | None  # of expressions (judge.load_judge)
    absent: dict[str, str]  # metric: why


class Reference(NamedTuple):
    """A true video, tracked."""

    path: Path
    size: tuple[int, int]  # height, width, px
    landmarks: np.ndarray | None  # [T, 68, 2] px, NaN where no face was found
    readings: np.ndarray | None  # [T / networks.EVERY, 7] of the judge, NaN likewise
    where: tuple | None  # of _whereabouts
    values: dict[str, dict[str, float]]  # sync, syncnet, expression
    notes: list[str]


class Clip(NamedTuple):
    """What was measured of one video."""

    curves: dict[
        str, dict[str, np.ndarray]
    ]  # {metric: {region: [frames]}}, NaN allowed
    values: dict[str, dict[str, float]]  # of the clip as a whole
    frames: int
    notes: list[str]
    features: list[np.ndarray]  # Inception's, of the video
    true_features: list[np.ndarray]  # of its reference


def load_tools(face_model=None, weights=None) -> Tools:
    """What is installed and given; what is not is in `absent`, with the reason.

    Raises:
      UserError: a face model or a folder of weights that is named can't be used.
    """
    found = networks.load_networks(weights)
    absent = {NAMES[name]: why for name, why in found.absent.items()}
    read = None
    try:
        read = judge.load_judge()
    except (ImportError, UserError) as error:
        absent["expression"] = str(error)
    try:
        model = find_model(face_model)
        with open_tracker(model):
            pass
    except UserError as error:
        if face_model is not None:
            raise
        needs_a_face = (
            "lmd, aligned_lmd, jitter, sync, identity, expression, regions face, mouth"
        )
        return Tools(None, None, found, None, absent | {needs_a_face: str(error)})
    return Tools(model, find_morphable(face_model), found, read, absent)


# networks.Networks: what it tells.
NAMES = {
    "lpips": "lpips",
    "identity": "identity",
    "inception": "fid",
    "syncnet": "syncnet (LSE-C, LSE-D)",
}


def watch_reference(path, tools: Tools, progress: Callable = lambda: None) -> Reference:
    """Tracks a true video; `progress` is called once a frame."""
    size = []
    where, told = _whereabouts(path, tools.model)

    def frames():
        for frame in iter_frames(path):
            size[:] = frame.shape[:2]
            progress()
            yield frame

    track, readings, notes = _track(frames(), tools, path, where)
    notes, size = told + notes, tuple(size)
    values = {}
    if track is not None:
        values, more = _sync(path, track, size, tools)
        notes += more
    asked = _asked(path, readings)
    if asked is not None:
        values["expression"] = {"asked": float(np.nanmean(asked))}
    landmarks = None if track is None else _landmarks(track)
    if track is not None and where is not None:
        at = track.points[..., :2]
        where = where[0], (at.min(1) + at.max(1)) / 2 - where[0][:2]
    return Reference(Path(path), size, landmarks, readings, where, values, notes)


def compare(
    reference: Reference, path, tools: Tools, progress: Callable = lambda: None
) -> Clip:
    """Everything about one video against its reference.

    Raises:
      UserError: it is damaged, or of another shape than the reference (check_shape).
    """
    curves: dict[str, dict[str, list]] = {}
    lengths = np.zeros(2, int)

    def measure(pair, previous, masks) -> None:
        for region, scores in metrics.frame_scores(
            metrics.frame_maps(*pair), masks
        ).items():
            for metric, value in scores.items():
                curves.setdefault(metric, {}).setdefault(region, []).append(value)
        if previous is not None:
            change = temporal.unlike_changes(*zip(previous, pair))
            curves.setdefault("flicker", {}).setdefault("full", []).append(change)

    def frames():
        # The metrics of one frame are made while the next one is tracked.
        previous, pending = None, None
        for number, pair in enumerate(pairs(reference, path, lengths)):
            masks = _masks(reference, number)
            if pending is not None:
                pending.result()
            pending = worker.submit(measure, pair, previous, masks)
            previous = pair
            progress()
            yield pair[1]
        pending.result()

    with ThreadPoolExecutor(1) as worker:
        track, readings, notes = _track(frames(), tools, path, reference.where)
    count = int(lengths.min())
    notes = _notes(path, reference, lengths) + notes
    values, found = {}, networks.Found([], [], [], [])
    if track is not None:
        values, more = _sync(path, track, reference.size, tools)
        notes += more
    landmarks = None if track is None else _landmarks(track)
    if landmarks is not None and reference.landmarks is not None:
        curves |= _landmark_curves(reference.landmarks[:count], landmarks)
    curves |= _expression_curves(reference, readings)
    if tools.networks.lpips or tools.networks.inception or tools.networks.identity:
        found = networks.look(tools.networks, _some(reference, path, landmarks, count))
        curves["lpips"] = {"full": found.lpips}
        curves["identity"] = {"face": found.identity}
    curves = {
        metric: {
            region: np.array(line) for region, line in regions.items() if len(line)
        }
        for metric, regions in curves.items()
    }
    return Clip(curves, values, count, notes, found.features, found.true_features)


def pairs(reference: Reference, path, lengths=None) -> Iterator[tuple]:
    """(reference's frame, this video's at its size) [H, W, 3], as long as both last;
    `lengths` [2] are how many frames this video and its reference have."""
    lengths = np.zeros(2, int) if lengths is None else lengths
    videos = iter_frames(path), iter_frames(reference.path)
    while True:
        image, true = (next(video, None) for video in videos)
        lengths += (image is not None, true is not None)
        if image is None or true is None:
            break
        yield true, resized(image, reference.size)
    for number, video in enumerate(videos):
        lengths[number] += sum(1 for _ in video)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame [H, W, 3] at a size (height, width)."""
    if image.shape[:2] == tuple(size):
        return image
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.LANCZOS))


def check_shape(path, reference_info: dict) -> None:
    """Raises UserError where a video's shape is not its reference's (video_info): it
    would have to be stretched."""
    info = video_info(path)
    wide, high = reference_info["width"], reference_info["height"]
    if abs(info["width"] / info["height"] - wide / high) > 0.02 * wide / high:
        raise UserError(
            f"{path}: {info['width']}x{info['height']} px, expected the reference's "
            f"{wide}x{high} or the same shape at another size"
        )


def track_landmarks(frames, model, name: str) -> np.ndarray:
    """[T, 68, 2] px of frames [H, W, 3], NaN where no face was found."""
    return _landmarks(track_video(frames, model, name))


def _landmarks(track: Track) -> np.ndarray:
    return np.where(track.found[:, None, None], to_68(track.points)[..., :2], np.nan)


def _whereabouts(path, model) -> tuple:
    """((left, top, side) px and [T, 2] px therein, where the face of the one who is there
    most is looked for, or None: it is the larger one, and easily found), notes."""
    if model is None:
        return None, file_notices(video_info(path))
    try:
        look = first_look(path, model)
    except UserError as error:  # pictures can be compared all the same
        told = str(error).removeprefix(f"{path}: ")
        return None, [told, *file_notices(video_info(path))]
    told, many = seen_notices(look), max(look["faces"], look["people"]) > 1
    if not many and look["face_size"] > SMALL * min(look["width"], look["height"]):
        return None, told
    (box,) = crop_boxes([path], [look], "auto", [look["frames"]])
    return (box, places(look) - box[:2]), told


def _track(frames: Iterator, tools: Tools, path, where: tuple | None) -> tuple:
    """(Track or None, the judge's readings or None, notes on why); frames are used up in
    any case. where: of _whereabouts.

    Raises:
      UserError: they can't be read.
    """
    if tools.model is None:
        for _ in frames:
            pass
        return None, None, []
    read, faces, expected, box = [], {}, None, (0, 0, None)
    if where is not None:
        box, expected = where
    left, top, side = box

    def all_frames():
        for frame in frames:
            whole = side is None
            yield frame if whole else frame[top : top + side, left : left + side]
        read.append(True)

    def look(number, frame, points):
        if tools.judge is not None and number % networks.EVERY == 0:
            faces[number // networks.EVERY] = judge.face_picture(frame, points)

    try:
        track = track_video(all_frames(), tools.model, str(path), expected, look)
        track = track._replace(points=track.points + [left, top, 0])
    except UserError as error:
        if not read:  # it is the video that can't be read
            raise
        what = "lmd, jitter, sync, expression and identity are absent"
        return None, None, [f"{what}: {error}"]
    readings = None
    if faces:
        shown = -(-len(track.found) // networks.EVERY)
        readings = np.full((shown, len(judge.CLASSES)), np.nan)
        readings[list(faces)] = tools.judge(np.stack(list(faces.values())))
    lost, notes = int((~track.found).sum()), []
    if lost:
        notes.append(
            f"no face in {lost} of {len(track.found)} frames: they count in what is "
            "measured on pixels, and not in what needs a face"
        )
    return track, readings, notes


def _sync(path, track: Track, size, tools: Tools) -> tuple[dict, list[str]]:
    """({"sync", "syncnet"}, notes on why that can't be told) of a tracked video."""
    values: dict[str, dict] = {}
    notes: list[str] = []
    try:
        sound, notes = _heard(path, len(track.found) / FPS)
        seen = seen_of(track, size[::-1], FPS, tools.model, tools.morphable)
        values["sync"] = lip_sync(sound, seen, str(path))
        if tools.networks.syncnet is not None:
            landmarks = to_68(track.points)[..., :2]  # of lost frames: interpolated
            frames = islice(iter_frames(path), len(landmarks))
            crops = (
                mouth_crop(resized(frame, size), points)
                for frame, points in zip(frames, landmarks)
            )
            values["syncnet"] = tools.networks.syncnet(sound, crops)
        return values, notes
    except UserError as error:
        absent = "syncnet" if values else "sync"
        return values, [*notes, f"{absent} is absent: {error}"]


def _heard(path, seconds: float) -> tuple[np.ndarray, list[str]]:
    """(the sound of a video that lasts so long, notes on what it is like)."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sound = load_audio(path)
    notes = [str(one.message).removeprefix(f"{path}: ") for one in told]
    early = ends_early(len(sound), seconds)
    return sound, notes + ([early] if early else [])


def _masks(reference: Reference, number: int) -> dict:
    """Where to look in the reference's frame of that number."""
    if reference.landmarks is None:
        return {"full": None}
    masks = metrics.region_masks(reference.landmarks[number, None], *reference.size)
    return {"full": None, **{region: mask[0] for region, mask in masks.items()}}


def _landmark_curves(true: np.ndarray, landmarks: np.ndarray) -> dict:
    """lmd, aligned_lmd and jitter, frame by frame, of landmarks [T, 68, 2] px."""
    regions = {"mouth": MOUTH, "face": FACE}
    cropped = in_crop(true), in_crop(landmarks)
    return {
        "lmd": {r: metrics.lmd_curve(true, landmarks, p) for r, p in regions.items()},
        "aligned_lmd": {r: metrics.lmd_curve(*cropped, p) for r, p in regions.items()},
        "jitter": {"face": temporal.jitter(cropped[1], cropped[0])},
    }


def _expression_curves(reference: Reference, readings: np.ndarray | None) -> dict:
    """expression, of one frame of networks.EVERY."""
    if readings is None or reference.readings is None:
        return {}
    count = min(len(readings), len(reference.readings))
    readings = readings[:count]
    asked = _asked(reference.path, readings)
    curves = {} if asked is None else {"asked": asked}
    curves["agreement"] = judge.agreement(reference.readings[:count], readings)
    return {"expression": curves}


def _asked(path, readings: np.ndarray | None) -> np.ndarray | None:
    """How much of the emotion in a reference's name is in readings [n, 7]: [n]; None where
    it has none, or one that the judge does not know."""
    emotion = emotion_of(path)
    if readings is None or emotion not in judge.READ_AS:
        return None
    return judge.asked_for(emotion, readings)


def _some(reference: Reference, path, landmarks, count: int) -> Iterator[tuple]:
    """Pairs of frames with their landmarks, one of networks.EVERY."""
    nowhere = np.full((count, 68, 2), np.nan)
    true = nowhere if reference.landmarks is None else reference.landmarks
    seen = nowhere if landmarks is None else landmarks
    for number, pair in enumerate(pairs(reference, path)):
        if number % networks.EVERY == 0:
            yield *pair, true[number], seen[number]


def _notes(path, reference: Reference, lengths: np.ndarray) -> list[str]:
    """What the rules had to do to a video; lengths = its frames, the reference's."""
    info = video_info(path)
    notes = file_notices(info)
    size = info["height"], info["width"]
    if size != reference.size:
        (height, width), (true_height, true_width) = size, reference.size
        notes.append(f"resized from {width}x{height} to {true_width}x{true_height} px")
    if lengths[0] != lengths[1]:
        notes.append(
            f"{lengths[0]} frames against the reference's {lengths[1]}: the first "
            f"{lengths.min()} were compared"
        )
    return notes
