"""Faces in pictures: MediaPipe's FaceLandmarker, and the model file it needs.

Every picture is tracked by itself: MediaPipe's video mode filters its points, and that
filter lags behind a moving head by more than the noise it takes away (rigid patches of
a 512 px clip: .79 px off the picture against .35 px).
"""

import contextlib
import functools
import hashlib
import os
import sys
import urllib.request
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax.face.mesh import MESH_POINTS
from emogene_jax.folders import cache_folder
from emogene_jax.signals import UserError

MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
    "float16/1/face_landmarker.task"
)
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_TIMEOUT = 5  # s without an answer, and the download is given up
_BLENDSHAPES = 52


class Track(NamedTuple):
    """What the tracker saw in one clip."""

    points: np.ndarray  # [T, 478, 3] px: column, row, relative depth
    found: np.ndarray  # [T] bool; where False, points are interpolated
    faces: np.ndarray  # [T] int: how many faces were seen
    blendshapes: np.ndarray  # [T, 52] scores in [0, 1]
    blendshape_names: tuple

    def score(self, channel: str) -> np.ndarray:
        """A blendshape's score [T], the mean of both sides; 0 where no face was seen."""
        sides = [name.startswith(channel) for name in self.blendshape_names]
        return self.blendshapes[:, sides].mean(1)


def find_model(path=None) -> Path:
    """The model bundle: `path`, else $EMOGENE_FACE_MODEL, else the cache, else a
    download whose checksum is verified. A `path` that ends in .mat is a morphable model
    (face/morphable.py), which takes its points from the bundle found without it."""
    if path and Path(path).suffix.lower() == ".mat":
        path = None
    for given, name in (
        (path, "--face-model"),
        (os.environ.get("EMOGENE_FACE_MODEL"), "$EMOGENE_FACE_MODEL"),
    ):
        if given:
            if not Path(given).is_file():
                raise UserError(f"{given}: {name}: no such file, expected a face model")
            if not zipfile.is_zipfile(given):
                raise UserError(
                    f"{given}: {name} is no face model, expected MediaPipe's "
                    "face_landmarker.task"
                )
            return Path(given)
    cached = cache_folder() / "face_landmarker.task"
    if not (cached.is_file() and _sha256(cached.read_bytes()) == MODEL_SHA256):
        _download(cached)
    return cached


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(target: Path) -> None:
    advice = (
        f"expected the model there, in --face-model FILE, in $EMOGENE_FACE_MODEL or in "
        f"{target}"
    )
    try:
        with urllib.request.urlopen(MODEL_URL, timeout=_TIMEOUT) as answer:
            data = answer.read()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{MODEL_URL}: cannot be fetched ({reason}), {advice}"
        ) from None
    if _sha256(data) != MODEL_SHA256:
        raise UserError(
            f"{MODEL_URL}: sha256 {_sha256(data)[:12]}…, expected {MODEL_SHA256[:12]}…"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    part.write_bytes(data)
    os.replace(part, target)


def import_mediapipe():
    """(mediapipe, its BaseOptions, its vision); UserError where it cannot be had."""
    # mediapipe imports TensorFlow where it finds it: 4 s and 1 GB for nothing.
    hide = "tensorflow" not in sys.modules
    if hide:
        sys.modules["tensorflow"] = None
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except (ImportError, OSError) as error:
        raise UserError(
            f"mediapipe: cannot be imported ({error}), expected mediapipe >= 1.2 and its "
            "system libraries (libGL, libglib)"
        ) from None
    finally:
        if hide:
            del sys.modules["tensorflow"]
    return mediapipe, BaseOptions, vision


def as_image(mediapipe, picture: np.ndarray):
    """A picture [H, W, 3] uint8 as mediapipe takes it."""
    pixels = np.ascontiguousarray(picture)
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)


@contextlib.contextmanager
def quiet_libraries():
    """Keeps what C++ libraries write to stderr from people: they would look for the one
    line that matters among it. Python's own stderr goes on."""
    try:
        terminal = os.dup(2)
    except OSError:
        yield
        return
    ours, void = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    ours.flush()
    os.dup2(void, 2)
    if ours is sys.__stderr__:
        sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    try:
        yield
    finally:
        if ours is sys.__stderr__:
            sys.stderr.close()
            sys.stderr = ours
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(void)


@contextlib.contextmanager
def open_tracker(model, faces=2):
    """A context that gives a function: picture [H, W, 3] uint8 -> (list of faces
    [478, 3] px, list of blendshape scores [52], their names)."""
    with quiet_libraries(), _tracker(model, faces) as track:
        yield track


@contextlib.contextmanager
def _tracker(model, faces):
    mediapipe, BaseOptions, vision = import_mediapipe()  # noqa: N806
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        num_faces=faces,
        output_face_blendshapes=True,
    )
    try:
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0][:80]
        raise UserError(
            f"{model}: not a face model ({reason}), expected MediaPipe's "
            "face_landmarker.task"
        ) from None

    def track(picture):
        height, width = picture.shape[:2]
        result = landmarker.detect(as_image(mediapipe, picture))
        points = [
            np.array([(p.x, p.y, p.z) for p in face]) * [width, height, width]
            for face in result.face_landmarks
        ]
        scores = [[c.score for c in face] for face in result.face_blendshapes]
        names = [c.category_name for c in (result.face_blendshapes or [[]])[0]]
        return points, scores, tuple(names)

    with landmarker:
        yield track


def face_height(points: np.ndarray) -> float:
    """Height in px of a face [478, 3], forehead to chin."""
    return float(np.ptp(points[:, 1]))


def track_video(
    frames: Iterable[np.ndarray], model, name="video", places=None, look=None
) -> Track:
    """Track the larger face of every frame [H, W, 3] uint8; with places [T, 2] px, where
    one person's is expected, the nearest to there, if no further than it is high.

    Frames without a face are marked and interpolated; UserError where that is most of
    them. look(number, frame, its points [478, 3]) is called for each of the others.
    """
    empty = ([np.full((MESH_POINTS, 3), np.nan)], [np.zeros(_BLENDSHAPES)])
    points, scores, seen, names = [], [], [], ()
    with open_tracker(model) as track:
        for number, frame in enumerate(frames):
            faces, blendshapes, found_names = track(frame)
            place = None if places is None else places[min(number, len(places) - 1)]
            chosen = _chosen(faces, place)
            seen.append(0 if chosen is None else len(faces))
            faces, blendshapes = empty if chosen is None else (faces, blendshapes)
            points.append(faces[chosen or 0])
            scores.append(blendshapes[chosen or 0])
            names = found_names or names
            if look is not None and chosen is not None:
                look(number, frame, points[-1])
    points, seen = np.array(points), np.array(seen)
    found = seen > 0
    if found.mean() < 0.5 or found.sum() < 2:
        raise UserError(
            f"{name}: a face in {found.sum()} of {len(seen)} frames, expected one in "
            "most of them"
        )
    if places is None and (seen > 1).mean() > 0.02:
        warnings.warn(
            f"{name}: {seen.max()} faces in {(seen > 1).sum()} of {len(seen)} frames; "
            "the larger one is taken",
            stacklevel=2,
        )
    return Track(filled(points, found), found, seen, np.array(scores), names)


def _chosen(faces: list[np.ndarray], place: np.ndarray | None) -> int | None:
    """Which of a picture's faces is the person's, None for none of them."""
    if not faces:
        return None
    heights = np.array([face_height(face) for face in faces])
    if place is None:
        return int(heights.argmax())
    middles = np.array([(f[:, :2].min(0) + f[:, :2].max(0)) / 2 for f in faces])
    ways = np.linalg.norm(middles - place, axis=-1) / heights
    return int(ways.argmin()) if ways.min() < 1 else None


def filled(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Points [T, P, D] with the frames that are not found interpolated in time."""
    if found.all() or found.sum() < 2:
        return points
    at, flat = np.arange(len(points)), points.reshape(len(points), -1)
    known = np.flatnonzero(found)
    right = np.clip(np.searchsorted(known, at), 1, len(known) - 1)
    low, high = known[right - 1], known[right]
    part = np.clip((at - low) / (high - low), 0, 1)[:, None]
    filled = flat[low] * (1 - part) + flat[high] * part
    return np.where(found[:, None], flat, filled).reshape(points.shape)


@functools.cache
def canonical_mesh(model) -> tuple[np.ndarray, np.ndarray]:
    """MediaPipe's metric face out of the bundle: points [468, 3] cm, triangles [N, 3].

    The bundle holds it as a protocol buffer: message 1 has floats x y z u v (field 3)
    and triangle indices (field 4).
    """
    try:
        with zipfile.ZipFile(model) as bundle:
            data = bundle.read("geometry_pipeline_metadata_landmarks.binarypb")
        mesh = next(value for field, value in _fields(data) if field == 1)
        vertices = b"".join(value for field, value in _fields(mesh) if field == 3)
        triangles = [value for field, value in _fields(mesh) if field == 4]
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{model}: no face geometry in it ({error}), expected MediaPipe's "
            "face_landmarker.task"
        ) from None
    points = np.frombuffer(vertices, "<f4").reshape(-1, 5)[:, :3].astype(np.float64)
    return points, np.array(triangles).reshape(-1, 3)


def _fields(data: bytes):
    """(field number, value) of a protocol buffer: ints, or bytes."""

    def varint(at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(data):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
        else:
            size = 4
            if key & 7 == 2:
                size, at = varint(at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value
