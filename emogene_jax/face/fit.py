"""From tracked points to what a face is and does: camera, poses, mesh, landmarks, rest.

All clips of one person share a camera and a rest shape.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emogene_jax.face import mesh as lm
from emogene_jax.face.morphable import (
    TRACKER_WEIGHT,
    fit_morphable,
    in_head_space,
    load_morphable,
)
from emogene_jax.face.pose_fit import fit_head, head_mesh, similarity, smooth_pose
from emogene_jax.face.tracking import canonical_mesh
from emogene_jax.signals import EMOTIONS, Pose


def find_morphable(face_model):
    """The MorphableModel that --face-model names (a .mat file), or None."""
    named = face_model is not None and Path(face_model).suffix.lower() == ".mat"
    return load_morphable(face_model) if named else None


def fit_clips(
    points, lengths, model, size, centre, morphable=None, looked_at=100, known=None
):
    """(HeadFit, smoothed Pose, mesh [T, 478, 3] cm, landmarks [T, 68, 3] cm) of all clips
    together. The landmarks are the mesh's own, or those of a morphable model fitted to
    the same image points and brought into the same head space. `looked_at`, `known`:
    fit_head's.
    """
    canonical, _ = canonical_mesh(model)
    known = len(points) if known is None else known
    fit = fit_head(points, canonical, size, centre, looked_at=looked_at, known=known)
    mesh = head_mesh(points, fit)
    landmarks = lm.to_68(mesh)
    if morphable is not None:
        at = lm.to_68(points)[..., :2]
        landmarks = _morphable_landmarks(morphable, at, fit.camera, landmarks, known)
    middle = fit.shape.mean(0)
    poses, edges = [], [0, *borders(lengths, known), len(points)]
    # Nothing is smoothed across a cut, nor across the border of what is held out.
    for clip in map(slice, edges, edges[1:]):
        poses.append(smooth_pose(Pose(*(part[clip] for part in fit.pose)), middle))
        # A breath of smoothing: a plosive's two closed frames keep nine tenths. In place:
        # of an hour a mesh takes a GB.
        for part in (mesh, landmarks):
            part[clip] = gaussian_filter1d(part[clip], 0.5, axis=0, mode="nearest")
    return fit, Pose(*map(np.concatenate, zip(*poses, strict=True))), mesh, landmarks


def borders(lengths, known: int) -> list[int]:
    """The frames at which another clip, or what is held out, begins."""
    return sorted({*np.cumsum(lengths)[:-1].tolist(), known} - {sum(lengths)})


def _morphable_landmarks(morphable, at, camera, landmarks, known) -> np.ndarray:
    """Landmarks [T, 68, 3] of a morphable model, fitted to image points at [T, 68, 2]; its
    identity and its place among landmarks [T, 68, 3] are of the first `known` frames."""
    face = fit_morphable(morphable, at[:known], camera, TRACKER_WEIGHT)
    placed = in_head_space(face, landmarks[:known], TRACKER_WEIGHT).landmarks
    if known == len(at):
        return placed
    # A model of this one identity alone, and its place in head space.
    neutral = morphable.mean + morphable.identity @ face.identity
    alone = morphable._replace(mean=neutral, identity=0 * morphable.identity)
    later = fit_morphable(alone, at[known:], camera, TRACKER_WEIGHT).landmarks
    scale, turn, shift = similarity(face.landmarks[:1], placed[:1])
    return np.concatenate([placed, scale[0] * later @ turn[0].T + shift[0]])


def calmest(emotion: np.ndarray) -> np.ndarray:
    """[T] bool: the neutral frames, or all where none is neutral."""
    neutral = emotion == EMOTIONS.index("neutral")
    return neutral if neutral.any() else np.ones_like(neutral)


def rest_shapes(mesh, landmarks, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rest mesh [478, 3] and landmarks [68, 3]: the median of the usable [T] frames that
    are at rest."""
    calm = at_rest(landmarks, usable)
    return np.median(mesh[calm], axis=0), np.median(landmarks[calm], axis=0)


def rest_landmarks(landmarks, usable: np.ndarray) -> np.ndarray:
    """[68, 3]: the median of the usable [T] frames of landmarks [T, 68, 3] at rest."""
    return np.median(landmarks[at_rest(landmarks, usable)], axis=0)


def at_rest(points: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """[T] bool: the usable frames of landmarks [T, 68, 3] with closed lips and open
    eyes."""
    gap, eyes = lm.lip_gap(points), lm.eye_opening(points).mean(-1)
    open_eyes = usable & (eyes > 0.9 * np.median(eyes[usable]))
    return open_eyes & (gap <= max(0.03, np.percentile(gap[open_eyes], 15)))


def rest_of(mesh, landmarks, emotion) -> tuple[np.ndarray, np.ndarray]:
    """(rest mesh [M, 3], rest landmarks [68, 3]) cm, of the neutral ones of frames with
    mesh [T, M, 3], landmarks [T, 68, 3] and emotion [T]."""
    rest_mesh, rest = rest_shapes(mesh, landmarks, calmest(emotion))
    return rest_mesh.astype(np.float32), rest.astype(np.float32)
