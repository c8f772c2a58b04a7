"""Expression augmentation: photographs of a person with expressions never filmed, made
once and kept beside the prepared portrait.

A photograph is warped to the expression (warp.py); eyeballs that the lids uncover are
completed (eyeballs.py), and the folds that go with the expression's actions are shaded
(wrinkles.py). Teeth stay as they were filmed.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.augmentation.eyeballs import show_eyeballs
from emogene_jax.augmentation.lids import Faces, lend_blinks
from emogene_jax.augmentation.warp import open_shape, spread, warp_frame
from emogene_jax.augmentation.wrinkles import depths, wrinkled
from emogene_jax.face import mesh as lm
from emogene_jax.folders import digest
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.portrait.cut import some_frames
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

VERSION = 3  # of how augmented frames are made
FELT = tuple(name for name in EMOTIONS if name != "neutral")
INTENSITIES = (0.3, 1.2)  # of the emotions that are painted
_BLINKS = 0.2  # of the frames, in which the person blinks


class Expressions(NamedTuple):
    """Of some frames, what they are to show."""

    motion: np.ndarray  # [N, 68, 3] eye distances
    folds: np.ndarray  # [N, len(wrinkles.FOLDS)], how deep


class Augmented(NamedTuple):
    """Frames with other expressions, and their geometry."""

    frames: np.ndarray  # [N, H, W, 3] uint8
    head_matte: np.ndarray  # [N, H, W] uint8
    torso_matte: np.ndarray  # [N, H, W] uint8
    mesh: np.ndarray  # [N, M, 3] float32 cm
    landmarks: np.ndarray  # [N, 68, 3] float32 cm
    source: np.ndarray  # [N] int: the frame each was made from


def augment(
    frames: np.ndarray,
    mattes: tuple[np.ndarray, np.ndarray],
    mesh: np.ndarray,
    rest_mesh: np.ndarray,
    pose: Pose,
    camera: Camera,
    express: Callable[[np.ndarray, np.random.Generator], Expressions],
    rng: np.random.Generator,
    count: int,
) -> Augmented:
    """`count` frames with expressions they did not have; in some of them the person
    blinks, where any frame shows how.

    Args:
      frames: [T, H, H, 3] uint8; mattes: head and torso [T, H, H] uint8.
      mesh: [T, 478, 3] cm; rest_mesh: [478, 3] cm; pose: T poses.
      express: (neutral motion [count, 68, 3] in eye distances, rng) -> Expressions.
      rng: chooses the frames.
    """
    source = np.sort(rng.choice(len(frames), count, replace=count > len(frames)))
    rest = lm.to_68(rest_mesh)
    before = lm.to_68(mesh[source])
    shown = express(landmarks_to_motion(before, rest), rng)
    after = motion_to_landmarks(shown.motion, rest)
    reference = open_shape(mesh, rest_mesh)
    moved = mesh[source] + spread(after - before, reference)
    poses = Pose(pose.rotation[source], pose.translation[source])
    old, new = project(mesh[source], *poses, camera), project(moved, *poses, camera)
    pictures, layers = [], []
    for k, row in enumerate(source):
        frame, way = frames[row], (np.asarray(old[k]), np.asarray(new[k]))
        picture, warped = warp_frame(frame, [matte[row] for matte in mattes], *way)
        picture = show_eyeballs(picture, frame, *way)
        pictures.append(wrinkled(picture, way[1], shown.folds[k]))
        layers.append(warped)
    pictures = np.stack(pictures)
    filmed = Faces(frames, mesh, *pose)
    faces = Faces(pictures, moved, *poses)
    lend_blinks(faces, filmed, rest_mesh, camera, _BLINKS, rng)
    heads, torsos = zip(*layers, strict=True)
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
) -> Expressions:
    """Motion [T, 68, 3] with a random emotion, one of `emotions`, of random strength in
    each frame, and its folds."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)
    others = [EMOTIONS.index(name) for name in emotions]
    weights = weights[rng.choice(others, len(motion))]
    intensity = rng.uniform(*INTENSITIES, len(motion)).astype(np.float32)
    felt = deform(deformation, jnp.asarray(motion), weights, intensity)
    return Expressions(np.asarray(felt), depths(weights, intensity))
