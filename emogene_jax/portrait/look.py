"""The first look at portrait videos: what was given, what to expect of it, and where
in them a face is."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import laplace

from emogene_jax.emotions import emotion_of
from emogene_jax.face.tracking import face_height, open_tracker
from emogene_jax.media.files import VIDEO_ENDS
from emogene_jax.media.stretch import ALL, stretch_of
from emogene_jax.media.video import iter_frames, video_info
from emogene_jax.portrait.cut import SHORTEST_PART
from emogene_jax.signals import FPS, UserError

_SAMPLES = 24  # frames looked at
_COARSE = 8  # px, by which pictures are compared that may be the same
# MediaPipe's points, and grey levels by which beards and shadows do not reach.
_CHEEKS, _AROUND_MOUTH = [50, 280, 205, 425], [164, 18, 200, 199, 57, 287]
_MOUTH_CORNERS, _LIP_AND_CHIN = [57, 287], [18, 152]
_UNLIKE, _LETTERS = 150, 215
_LEAST_TILE = 320  # px: smaller pictures are looked at as a whole
_BLOCKS = 16  # a side, by which two pictures are compared
_CODING = 0.03  # of its contrast: the same picture, coded again, differs by no more
_OTHER = 24  # grey levels by which the usual block of another shot differs
_VIEW = 2.0  # side of the automatic crop, in heights of the face
_USUAL = (
    0.35,
    0.68,
)  # face heights over the side at which a square clip stays as it is


def find_videos(paths: Sequence) -> list[Path]:
    """The video files named, or inside the folders named (a sub-folder per emotion).

    Of a folder the neutral ones come last: what is held out is the end.

    Raises:
        UserError: there is none, or one of them is no video.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [f for f in path.rglob("*") if f.suffix.lower() in VIDEO_ENDS]
            inside.sort(key=lambda file: (emotion_of(file) == "neutral", file))
            if not inside:
                raise UserError(f"{path}: no video in this folder, expected some")
            found += inside
        else:
            found.append(path)
    if not found:
        raise UserError("0 videos given, expected at least one")
    for file in found:
        video_info(file)  # now, and not once a face model was fetched
    return found


def part_of(files: list[Path], times: tuple | None) -> slice:
    """The frames that are used of a file, between times (begin, end or None) in s; None =
    all, of several files, too.

    Raises:
        UserError: times that are not in it, or several files.
    """
    if times is None:
        return ALL
    if len(files) > 1:
        raise UserError(f"--from and --to go with one video, found {len(files)}")
    return stretch_of(files[0], times, video_info(files[0])["seconds"])


def first_look(path, model, crop="auto", part: slice = ALL) -> dict:
    """Facts of a clip: its video_info, with the `frames` that there are at 25 fps and their
    `seconds`, which of the file's they are (`first`, `stop` or None: to its end), the
    `cuts` (s in the file) at which all of the picture changes, the share of pictures that
    stand `still`, `faces` (most seen at once), `people` (who are there one after the other,
    or at once), and of the one who is there most: `face` (share of frames with it),
    `face_size` (px, forehead to chin), `blur` (px-scale detail of the face; below 1.5 is
    soft), `covered` (share of faces with something over mouth or chin), `boxes` (of the
    faces looked at: [frame, left, top, right, bottom], px); and of the picture's upper
    corners over the clip `camera_movement` (px) and `background_change` (grey levels).

    crop: (left, top, side) px in which alone faces are looked for; else anywhere, small
    ones in large pictures too.
    part: of the file's frames (media.stretch), that is a clip of its own.

    Raises:
        UserError: nothing moves in it, or a face is in less than half of it.
    """
    info = video_info(path)
    regions = _regions(info)
    if isinstance(crop, tuple):
        _must_lie_inside(crop, info, path)
        regions = [(*crop, crop[2])]
    with open_tracker(model) as track:
        expected = len(range(*part.indices(int(info["seconds"] * FPS))))
        watched = _watch(path, track, regions, expected, part)
        if watched.frames < expected // 2:  # a file that is wrong about its length
            watched = _watch(path, track, regions, watched.frames, part)
    seen, frames = watched.seen, watched.frames
    if frames - watched.still < SHORTEST_PART:
        raise UserError(
            f"{path}: {frames - watched.still} different of {frames} pictures, expected a "
            "video of somebody who speaks"
        )
    people = _people(seen)
    most = people[0] if people else []
    if len(most) < 0.5 * len(seen):
        raise UserError(
            f"{path}: a face in {len(most)} of {len(seen)} frames looked at, expected one "
            "person's face in most of them"
        )
    boxes = [[face.frame, *face.box.tolist()] for face in most]
    return info | {
        "file": Path(path).name,
        "frames": frames,
        "seconds": frames / FPS,
        "first": part.start,
        "stop": part.stop,
        "cuts": watched.cuts,
        "still": round(watched.still / frames, 3),
        "faces": max(map(len, seen)),
        "people": sum(len(faces) > 1 for faces in people),
        "face": round(len(most) / len(seen), 3),
        "face_size": round(float(np.median([box[4] - box[2] for box in boxes])), 1),
        "blur": round(float(np.median([face.detail for face in most])), 2),
        "covered": round(float(np.mean([face.covered for face in most])), 2),
        "camera_movement": round(_movement(np.array(watched.corners)), 2),
        "background_change": round(_change(np.array(watched.corners)), 1),
        "boxes": boxes,
    }


class _Watched(NamedTuple):
    """What was seen of a clip."""

    seen: list[list["_Face"]]  # in the frames looked at
    corners: list[np.ndarray]  # of them
    cuts: list[float]  # s
    still: int  # frames like the one before
    frames: int


def _watch(path, track, regions: list, expected: int, part: slice) -> _Watched:
    """Looks through a clip of about so many frames, at some of them for faces."""
    every, still, number = max(1, expected // _SAMPLES), 0, -1
    seen, corners, cuts, before = [], [], [], None
    for number, frame in enumerate(iter_frames(path, part=part)):
        if before is not None:
            if _same(before, frame):
                still += 1
            elif is_cut(before, frame):
                cuts.append((part.start + number) / FPS)
        before = frame
        if number % every:
            continue
        faces = _faces_in(frame, track, regions)
        seen.append([_face(number, face, frame) for face in faces])
        corners.append(_corners(frame))
        if len(seen) > 4 * _SAMPLES:  # much longer than expected
            seen, corners, every = seen[::2], corners[::2], 2 * every
    return _Watched(seen, corners, cuts, still, number + 1)


class _Face(NamedTuple):
    """A face that was looked at."""

    frame: int
    box: np.ndarray  # [4] left, top, right, bottom, px
    height: float  # px
    detail: float
    covered: bool = False  # its mouth or chin

    @property
    def middle(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2


def _face(number: int, points: np.ndarray, picture: np.ndarray) -> _Face:
    at = points[:, :2]
    box = np.concatenate([at.min(0), at.max(0)])
    covered = _covered(picture, points)
    return _Face(number, box, face_height(points), _detail(picture, box), covered)


def _people(looks: list[list[_Face]]) -> list[list[_Face]]:
    """The faces of each person in a clip that was looked at now and then: whoever is less
    than a face away from where they were. Who is there most comes first, of several the
    largest."""
    people: list[list[_Face]] = []
    for faces in looks:
        free = list(people)
        for face in sorted(faces, key=lambda face: -face.height):
            near = [
                (np.linalg.norm(face.middle - person[-1].middle), number)
                for number, person in enumerate(free)
            ]
            way, number = min(near, default=(np.inf, 0))
            if way < face.height:
                free.pop(number).append(face)
            else:
                people.append([face])
    return sorted(people, key=lambda p: (-len(p), -np.mean([f.height for f in p])))


def places(look: dict) -> np.ndarray:
    """Where the one who is there most is expected in each frame of a clip: [T, 2] px."""
    number, left, top, right, bottom = np.array(look["boxes"]).T
    frames = np.arange(look["frames"])
    sides = (left + right) / 2, (top + bottom) / 2
    return np.stack([np.interp(frames, number, side) for side in sides], -1)


def _regions(info) -> list[tuple[int, int, int, int]]:
    """(left, top, width, height) px in which faces are looked for: the whole picture, and,
    since a tracker misses what is less than a tenth of one, halves of a large one, the
    middle first."""
    width, height = info["width"], info["height"]
    whole = [(0, 0, width, height)]
    side = min(width, height) // 2
    if side < _LEAST_TILE:
        return whole
    lefts, tops = (
        np.linspace(0, long - side, -(-2 * (long - side) // side) + 1).astype(int)
        for long in (width, height)
    )
    tiles = [(int(left), int(top), side, side) for left in lefts for top in tops]
    middle = (width - side) / 2, (height - side) / 2
    return whole + sorted(
        tiles, key=lambda tile: np.hypot(*np.subtract(tile[:2], middle))
    )


def _faces_in(frame, track, regions: list) -> list[np.ndarray]:
    """Faces [478, 3] px of a picture, from the first of its regions that shows any, which
    is the first to be looked at the next time."""
    for region in regions:
        left, top, width, height = region
        part = frame[top : top + height, left : left + width]
        faces, _, _ = track(np.ascontiguousarray(part))
        if faces:
            regions.remove(region)
            regions.insert(0, region)
            return [face + (left, top, 0) for face in faces]
    return []


def _corners(frame: np.ndarray) -> np.ndarray:
    """[2, n, n] grey: the upper corners, where a portrait shows the background."""
    side = max(16, min(frame.shape[:2]) // 8)
    grey = frame[:side].astype(np.float32).mean(-1)
    return np.stack([grey[:, :side], grey[:, -side:]])


def _movement(corners: np.ndarray) -> float:
    """Median shift in px of corner pictures [N, 2, n, n] against the middle one, by
    the brightness gradient; flat corners show none."""
    middle = corners[len(corners) // 2]
    dy, dx = np.gradient(middle, axis=(1, 2))
    gradient = np.stack([dx.ravel(), dy.ravel()], -1)
    system = gradient.T @ gradient + 4.0 * len(gradient) * np.eye(2)
    change = (corners - middle).reshape(len(corners), -1)
    shifts = change @ gradient @ np.linalg.inv(system)
    return float(np.median(np.linalg.norm(shifts, axis=1)))


def _change(corners: np.ndarray) -> float:
    """How far in grey levels corner pictures [N, 2, n, n] are from the usual one, in the
    more lively corner."""
    return float(np.abs(corners - np.median(corners, 0)).mean((0, 2, 3)).max())


def _detail(frame: np.ndarray, box: np.ndarray) -> float:
    left, top, right, bottom = np.clip(box, 0, None).astype(int)
    face = frame[top:bottom, left:right].astype(np.float32).mean(-1)
    return float(np.sqrt(np.mean(laplace(face) ** 2))) if face.size else 0.0


def _covered(picture: np.ndarray, points: np.ndarray) -> bool:
    """Whether something lies over the mouth or the chin: what is nowhere like the cheeks,
    or letters, which are as dark and as bright as a picture can be."""
    radius = max(1, int(0.02 * face_height(points)))

    def colours(places) -> np.ndarray:
        """[n, 3]: the usual ones around points."""
        patches = [
            picture[
                max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1
            ]
            for x, y in points[places, :2].astype(int)
        ]
        return np.array(
            [np.median(p, (0, 1)) for p in patches if p.size] or [(0, 0, 0)]
        )

    cheeks = np.median(colours(_CHEEKS), 0)
    unlike = np.median(np.abs(colours(_AROUND_MOUTH) - cheeks).max(-1))
    (left, top), (right, bottom) = np.stack(
        [points[_MOUTH_CORNERS, 0], points[_LIP_AND_CHIN, 1]], -1
    ).astype(int)
    chin = picture[max(0, top) : bottom + 1, max(0, left) : right + 1].mean(-1)
    contrast = np.diff(np.percentile(chin, [2, 98]))[0] if chin.size else 0
    return bool(unlike > _UNLIKE or contrast > _LETTERS)


def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether a picture [H, W, 3] is of another shot than the one before it: nothing that
    moves changes all of a picture at once."""
    before, now = (_blocks(picture) for picture in (before, now))
    return bool(np.median(np.abs(now - before).max(-1)) > _OTHER)


def _same(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether a picture [H, W, 3] is the one before it, but for its coding."""
    before, now = (p[::_COARSE, ::_COARSE].astype(np.int16) for p in (before, now))
    return bool(np.abs(now - before).max() <= _CODING * np.ptp(now))


def _blocks(picture: np.ndarray) -> np.ndarray:
    """[_BLOCKS, _BLOCKS, 3]: means of a few pixels of each block."""
    height, width = np.array(picture.shape[:2]) // _BLOCKS
    whole = picture[: height * _BLOCKS, : width * _BLOCKS]
    parts = whole.reshape(_BLOCKS, height, _BLOCKS, width, 3)
    return parts[:, :: height // 4 or 1, :, :: width // 4 or 1].mean((1, 3))


def crop_boxes(files, looks, crop, usable) -> list[tuple[int, int, int]]:
    """(left, top, side) px of every clip; clips of one shape share one box, around the
    faces in their first `usable` frames."""
    boxes = []
    for file, look in zip(files, looks, strict=True):
        width, height = look["width"], look["height"]
        if crop == "auto":
            box = _auto_box(width, height, _faces_of(look, looks, usable))
        elif crop == "none":
            side = min(width, height)
            box = ((width - side) // 2, (height - side) // 2, side)
        else:
            box = tuple(int(value) for value in crop)
            _must_lie_inside(box, look, file)
        boxes.append(box)
    return boxes


def _must_lie_inside(crop: tuple[int, int, int], look: dict, file) -> None:
    (left, top, side), width, height = crop, look["width"], look["height"]
    inside = min(left, top) >= 0 and left + side <= width
    if side < 32 or not inside or top + side > height:
        raise UserError(
            f"{file}: crop {left},{top},{side} does not lie inside the picture "
            f"of {width} x {height} px"
        )


def _faces_of(look, looks, usable) -> np.ndarray:
    """Boxes [N, 4] px of the faces looked at in the usable frames of clips of one shape
    with `look`; its own, where there is none: another shape's would mean nothing."""
    shape = look["width"], look["height"]
    known = [
        box
        for other, count in zip(looks, usable, strict=True)
        for number, *box in other["boxes"]
        if (other["width"], other["height"]) == shape and number < count
    ]
    return np.array(known or [box for _, *box in look["boxes"]])


def _auto_box(width, height, faces) -> tuple[int, int, int]:
    face = np.median(faces[:, 3] - faces[:, 1])
    if width == height and _USUAL[0] <= face / width <= _USUAL[1]:
        return 0, 0, width
    low, high = faces[:, :2].min(0), faces[:, 2:].max(0)
    wanted = max(_VIEW * face, 1.3 * (high - low).max())
    side = int(min(wanted, width, height))
    middle = (low + high) / 2
    left = np.clip(middle[0] - side / 2, 0, width - side)
    top = np.clip(middle[1] - side * 0.5, 0, height - side)
    return int(left), int(top), side
