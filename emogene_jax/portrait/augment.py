"""Expression augmentation: photographs of a person with expressions never filmed, made
once and kept beside the prepared portrait.

Landmarks that were moved by an expression move the whole tracked mesh (`spread`), and
the mesh moves the picture (`warp_frame`). What a field learns from such frames is the
geometry of an expression; teeth and eyeballs stay as they were filmed.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import map_coordinates

from emogene_jax.face import mesh as lm
from emogene_jax.folders import digest
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.portrait.cut import some_frames
from emogene_jax.portrait.lids import Faces, lend_blinks
from emogene_jax.portrait.pack import is_portrait, load_portrait, save_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import NEUTRAL
from emogene_jax.rigid import project
from emogene_jax.signals import (
    EMOTIONS,
    Camera,
    Pose,
    landmarks_to_motion,
    motion_to_landmarks,
)

VERSION = 1  # of how augmented frames are made
FELT = tuple(name for name in EMOTIONS if name != "neutral")
_OPEN_LIPS = 1.5  # cm, the least gap of the lips in a reference shape
_GRID = 48  # cells a side on which a warp is computed
_LEAST_AREA = 0.15  # to which a warp may shrink a pixel; 0 would be a fold
_BLINKS = 0.2  # of the frames, in which the person blinks
_UPPER_OVAL = lm.FACE_OVAL[:9] + lm.FACE_OVAL[-8:]  # temple, forehead, temple


class Augmented(NamedTuple):
    """Frames with other expressions, and their geometry."""

    frames: np.ndarray  # [N, H, W, 3] uint8
    head_matte: np.ndarray  # [N, H, W] uint8
    torso_matte: np.ndarray  # [N, H, W] uint8
    mesh: np.ndarray  # [N, M, 3] float32 cm
    landmarks: np.ndarray  # [N, 68, 3] float32 cm
    source: np.ndarray  # [N] int: the frame each was made from


def open_shape(mesh: np.ndarray, rest_mesh: np.ndarray) -> np.ndarray:
    """A shape [M, 3] with parted lips and open eyes, out of a tracked mesh [T, M, 3].

    The widest opening of the clip, exaggerated where that is small.
    """
    points = lm.to_68(mesh)
    eyes = lm.eye_opening(points).mean(-1)
    widest = np.argmax(lm.lip_gap(points) * (eyes >= np.median(eyes)))
    opening = mesh[widest] - rest_mesh
    inner = lm.to_68(mesh[widest])[[62, 66]]
    gap = np.linalg.norm(inner[0] - inner[1])
    return rest_mesh + opening * max(1.0, _OPEN_LIPS / max(gap, 0.1))


def spread(displacement68, rest_mesh_open, index68=lm.INDEX_68) -> np.ndarray:
    """Displacements [T, M, 3] of all mesh points from those [T, 68, 3] of landmarks.

    Biharmonic interpolation in 3-D, zero at the upper rim of the face; the landmarks
    themselves get exactly theirs. In a shape with parted lips [M, 3] an upper lip is no
    neighbour of the lower.
    """
    shape = np.asarray(rest_mesh_open, np.float64)
    held = [k for k in _UPPER_OVAL if k not in set(np.asarray(index68).tolist())]
    known = np.concatenate([shape[index68], shape[held]])

    def kernel(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    weight = np.linalg.solve(kernel(known, known), kernel(known, shape)).T
    weight = weight[:, : len(index68)]
    weight[list(lm.IRISES)] = 0.0  # lids slide over eyeballs
    return np.einsum("mk,tkd->tmd", weight, displacement68)


def _warp_points(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mesh indices, anchors [A, 2]): what moves, and what around the head does not."""
    oval = points[list(lm.FACE_OVAL)]
    centre = oval.mean(0)
    below = (oval - centre)[:, 1:] > 0
    anchors = [centre + np.where(below, 1.55, 1.3) * (oval - centre)]
    anchors.append((centre + 2.2 * (oval - centre))[::2])
    inner = np.r_[
        lm.INDEX_68[17:], lm.LIPS_OUTER, lm.LIPS_INNER, lm.EYE_LEFT, lm.EYE_RIGHT
    ]
    every = np.arange(0, lm.MESH_POINTS - 10, 12)
    moved = np.unique(np.r_[inner, lm.FACE_OVAL, lm.IRISES, every])
    return moved, np.concatenate(anchors)


def _thin_plate(at, known, values, smooth) -> np.ndarray:
    """Thin-plate spline [Q, 2] at `at` through values [N, 2] at known [N, 2]."""

    def kernel(a, b):
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        return square * np.log(square + 1e-9)

    count = len(known)
    ones = np.c_[np.ones(count), known]
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = kernel(known, known) + smooth * np.eye(count)
    system[:count, count:], system[count:, :count] = ones, ones.T
    solution = np.linalg.solve(system, np.r_[values, np.zeros((3, 2))])
    return (
        kernel(at, known) @ solution[:count]
        + np.c_[np.ones(len(at)), at] @ (solution[count:])
    )


def _displacement(source, target, size: int) -> np.ndarray:
    """[_GRID + 1, _GRID + 1, 2]: from where, relative to itself, a place of the new
    picture takes its colour, in units of the picture's side; without folds."""
    moved, anchors = _warp_points(source)
    known = np.concatenate([target[moved], anchors]) / size
    values = np.concatenate([source[moved] - target[moved], 0 * anchors]) / size
    lines = np.linspace(0, 1, _GRID + 1)
    at = np.stack(np.meshgrid(lines, lines), -1)
    field = np.zeros_like(at)
    smooth = 1e-4
    # Far from the face nothing moves, and there a spline would only waver.
    low, high = anchors.min(0) / size, anchors.max(0) / size
    near = ((at >= low) & (at <= high)).all(-1)
    for _ in range(6):
        field[near] = _thin_plate(at[near], known, values, smooth)
        dy, dx = (np.diff(field, axis=k) * _GRID for k in (0, 1))
        area = (1 + dx[:-1, :, 0]) * (1 + dy[:, :-1, 1]) - dx[:-1, :, 1] * dy[:, :-1, 0]
        if area.min() > _LEAST_AREA:
            break
        smooth *= 4
    return field


def warp_frame(frame, mattes, mesh2d_from, mesh2d_to):
    """The picture whose mesh points move from one place to another.

    Args:
      frame: [H, H, 3] uint8; mattes: a sequence of [H, H] uint8.
      mesh2d_from, mesh2d_to: [478, 2] px (column, row).

    Returns:
      The warped frame [H, H, 3] uint8 and the list of warped mattes.
    """
    size = len(frame)
    field = _displacement(mesh2d_from, mesh2d_to, size) * size
    centre = np.arange(size) + 0.5
    row, column = np.meshgrid(centre, centre, indexing="ij")
    cell = [row * _GRID / size, column * _GRID / size]
    column = column + map_coordinates(field[..., 0], cell, order=1) - 0.5
    row = row + map_coordinates(field[..., 1], cell, order=1) - 0.5

    def sample(picture, order):
        values = map_coordinates(
            picture.astype(np.float32), [row, column], order=order, mode="nearest"
        )
        return np.clip(np.round(values), 0, 255).astype(np.uint8)

    # Cubic: bilinear sampling would teach the field a blur.
    warped = np.stack([sample(frame[..., k], 3) for k in range(3)], -1)
    return warped, [sample(matte, 1) for matte in mattes]


def augment(
    frames: np.ndarray,
    mattes: tuple[np.ndarray, np.ndarray],
    mesh: np.ndarray,
    rest_mesh: np.ndarray,
    pose: Pose,
    camera: Camera,
    express: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
    count: int,
) -> Augmented:
    """`count` frames with expressions they did not have; in some of them the person
    blinks, where any frame shows how.

    Args:
      frames: [T, H, H, 3] uint8; mattes: head and torso [T, H, H] uint8.
      mesh: [T, 478, 3] cm; rest_mesh: [478, 3] cm; pose: T poses.
      express: (neutral motion [count, 68, 3] in eye distances, rng) -> motion.
      rng: chooses the frames.
    """
    source = np.sort(rng.choice(len(frames), count, replace=count > len(frames)))
    rest = lm.to_68(rest_mesh)
    before = lm.to_68(mesh[source])
    after = motion_to_landmarks(express(landmarks_to_motion(before, rest), rng), rest)
    reference = open_shape(mesh, rest_mesh)
    moved = mesh[source] + spread(after - before, reference)
    poses = Pose(pose.rotation[source], pose.translation[source])
    old, new = project(mesh[source], *poses, camera), project(moved, *poses, camera)
    warped = [
        warp_frame(frames[row], [matte[row] for matte in mattes], old[k], new[k])
        for k, row in enumerate(source)
    ]
    pictures = np.stack([picture for picture, _ in warped])
    filmed = Faces(frames, mesh, *pose)
    faces = Faces(pictures, moved, *poses)
    lend_blinks(faces, filmed, rest_mesh, camera, _BLINKS, rng)
    heads, torsos = zip(*(layers for _, layers in warped), strict=True)
    return Augmented(
        pictures,
        np.stack(heads),
        np.stack(torsos),
        moved.astype(np.float32),
        lm.to_68(moved).astype(np.float32),
        source,
    )


def has_tracked_mesh(portrait: Portrait) -> bool:
    """Whether a portrait can be augmented: the synthetic one's mesh is landmarks alone."""
    return portrait.mesh.shape[1] == lm.MESH_POINTS


def augmented(
    training: Portrait,
    folder: Path,
    deformation: Any,
    filmed: Sequence[str],
    count: int,
    seed: int,
) -> Portrait | None:
    """Frames of a portrait, warped to the expressions that were never filmed: `count`,
    less the share of the emotions that were. None where all were, or where the portrait
    has no tracked mesh.

    Args:
        training: what may be learned from.
        folder: where they are kept, each kind in a folder of its own.
        deformation: parameters of a deformation model, that shows the expressions.
        filmed: emotions that need no augmentation.
    """
    missing = [name for name in FELT if name not in filmed]
    count = round(count * len(missing) / len(FELT))
    if not count or not has_tracked_mesh(training):
        return None
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(deformation)]
    wanted = [VERSION, len(training.clip), count, seed, *missing]
    seen = [training.landmarks.tobytes(), training.source_frame.tobytes()]
    place = Path(folder) / digest(json.dumps(wanted).encode(), *seen, *leaves)
    if not is_portrait(place):
        made = _augmented(training, deformation, missing, count, seed)
        try:
            save_portrait(made, place)
        except OSError:
            if not is_portrait(place):
                raise  # else another training of a sweep was faster
    return load_portrait(place)  # coded, as whoever finds it there reads it


def _augmented(training, deformation, missing, count: int, seed: int) -> Portrait:
    calm = training.emotion == NEUTRAL
    if len(missing) < len(FELT) and not calm.all():
        training = some_frames(training, np.flatnonzero(calm))
    made = augment(
        training.frames,
        (training.head_matte, training.torso_matte),
        training.mesh,
        training.rest_mesh,
        training.pose,
        training.camera,
        lambda motion, rng: random_expressions(motion, deformation, rng, missing),
        np.random.default_rng(seed),
        count,
    )
    # The landmarks need not be points of the mesh (a morphable model's are not).
    moved = lm.to_68(made.mesh) - lm.to_68(training.mesh[made.source])
    source = some_frames(training, made.source)
    return source._replace(
        frames=made.frames,
        head_matte=made.head_matte,
        torso_matte=made.torso_matte,
        mesh=made.mesh,
        landmarks=source.landmarks + moved.astype(np.float32),
    )


def random_expressions(
    motion, deformation, rng: np.random.Generator, emotions: Sequence[str]
) -> np.ndarray:
    """Motion [T, 68, 3] with a random emotion, one of `emotions`, of random strength in
    each frame."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)
    others = [EMOTIONS.index(name) for name in emotions]
    weights = weights[rng.choice(others, len(motion))]
    intensity = rng.uniform(0.3, 1.15, len(motion)).astype(np.float32)
    return np.asarray(deform(deformation, jnp.asarray(motion), weights, intensity))
