"""A photograph of a face whose landmarks move: the landmarks move the whole tracked mesh
(`spread`), and the mesh moves the picture (`warp_frame`).
"""

import numpy as np
from scipy.ndimage import map_coordinates

from emogene_jax import landmarks
from emogene_jax.face import mesh as lm

_OPEN_LIPS = 1.5  # cm, the least gap of the lips in a reference shape
_GRID = 48  # cells a side on which a warp is computed
_LEAST_AREA = 0.15  # to which a warp may shrink a pixel; 0 would be a fold
_UPPER_OVAL = lm.FACE_OVAL[:9] + lm.FACE_OVAL[-8:]  # temple, forehead, temple


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
    themselves get exactly theirs, and a brow's lower edge what its upper one gets: it
    would else be drawn out to a shadow. In a shape with parted lips [M, 3] an upper lip is
    no neighbour of the lower.
    """
    shape = np.asarray(rest_mesh_open, np.float64)
    held = [k for k in _UPPER_OVAL if k not in set(np.asarray(index68).tolist())]
    under = list(lm.LOWER_BROWS)
    known = np.concatenate([shape[index68], shape[under], shape[held]])

    def kernel(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    weight = np.linalg.solve(kernel(known, known), kernel(known, shape)).T
    weight, of_under = np.split(
        weight[:, : len(index68) + len(under)], [len(index68)], 1
    )
    weight[:, landmarks.rows(landmarks.BROWS)] += of_under
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
        lm.INDEX_68[17:],
        lm.LOWER_BROWS,
        lm.LIPS_OUTER,
        lm.LIPS_INNER,
        lm.EYE_LEFT,
        lm.EYE_RIGHT,
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

    def warped(picture, order):
        values = sampled(picture.astype(np.float32), row, column, order)
        return np.clip(np.round(values), 0, 255).astype(np.uint8)

    # Cubic: bilinear sampling would teach the field a blur.
    layers = [warped(matte[..., None], 1)[..., 0] for matte in mattes]
    return warped(frame, 3), layers


def sampled(picture, row, column, order: int) -> np.ndarray:
    """Colours [..., C] of a picture [H, W, C] between the centres of its pixels, which
    are whole numbers; order: 1 = linear, 3 = cubic."""
    channels = np.moveaxis(picture, -1, 0)
    at, told = [row, column], {"order": order, "mode": "nearest"}
    return np.stack([map_coordinates(channel, at, **told) for channel in channels], -1)
