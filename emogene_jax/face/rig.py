"""How one person's face follows 68 landmarks: the rig, fitted once, on the host.

The fields never see tracked points. They see what 68 landmarks say of them: motion
[204] -> condition [C] -> displacement of every point of a coarse grid over the head box.
Both maps are linear, so that a frame's warp is one small product, and training and
talking see the same thing.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.landmarks import (
    EYES,
    LOWER_FACE,
    LOWER_LIDS,
    UNDER_NOSE,
    UPPER_FACE,
)
from emogene_jax.rigid import project
from emogene_jax.signals import Camera, Pose

# cm, of what is seen of a head from the nose's tip back, if it looks into the camera, and
# of what more there is to see, if it were turned by a right angle.
_FACE, _SKULL = 11.5, 10.0
_SHOWN = 0.05  # of the frames, that show what is learned
HULL = 48  # nodes a side of the hull, the occupancy grid and `Rig.moving`


class Rig(NamedTuple):
    """Plain float32 arrays, saved with the avatar."""

    project: (
        np.ndarray
    )  # [204, C]: motion (eye distances) -> condition, about unit variance
    mean: np.ndarray  # [C]: the condition's mean over the frames it was fitted on
    least: np.ndarray  # [C]: and its range, which it never leaves
    most: np.ndarray  # [C]
    warp: np.ndarray  # [C, D, H, W, 3] cm: displacement of a grid node per condition
    warp_rest: np.ndarray  # [D, H, W, 3] cm: that of the mean condition
    warp_low: np.ndarray  # [3] cm: the warp grid's box
    warp_high: np.ndarray  # [3] cm
    low: np.ndarray  # [3] cm: the head box
    high: np.ndarray  # [3] cm
    hull: (
        np.ndarray
    )  # [D, H, W] 1 = may hold head: inside the matte of nearly every frame
    moving: (
        np.ndarray
    )  # [2, 2, N, N] 0 to 1: where the upper and the lower half of the face move, on
    # the head box's planes (x, y) and (y, z); rows are of the second


def fit_rig(
    motion, mesh, rest_mesh, rest, low, high, hull, components=(10, 14), cell=0.6
) -> Rig:
    """Fit the linear maps of a rig.

    Args:
        motion: [T, 68, 3] eye distances, tracked and augmented frames together: what is
            not in here the lift can't follow.
        mesh: [T, M, 3] cm, the tracked mesh of the same frames.
        rest_mesh: [M, 3] cm. rest: [68, 3] cm, the landmarks at rest.
        low, high: [3] cm, the head box. hull: [D, H, W], see `visual_hull`.
        components: the most conditions of the upper and of the lower face to keep.
        cell: cm, the warp grid's spacing.
    """
    flat = motion.reshape(len(motion), -1).astype(np.float64)
    moved = (mesh - rest_mesh).astype(np.float64)
    # Each half of the face by itself: who blinks as he speaks would else part his lips
    # whenever he blinks.
    nose, lids = rest[UNDER_NOSE, 1], rest[LOWER_LIDS, 1].mean()
    upper = np.clip((rest_mesh[:, 1] - nose) / (lids - nose), 0, 1)[:, None]
    halves = [
        _linear_map(flat, rows, (share * moved).reshape(len(mesh), -1), most)
        for rows, share, most in zip(
            (UPPER_FACE, LOWER_FACE), (upper, 1 - upper), components, strict=True
        )
    ]
    project = np.concatenate([half[0] for half in halves], 1)  # [204, C]
    basis = np.concatenate([half[1] for half in halves])  # [C, M * 3]
    mean = sum(half[2] for half in halves)
    keep = len(basis)
    margin = np.array([1.5, 1.5, 1.5])
    warp_low = np.maximum(low, rest_mesh.min(0) - margin)
    warp_high = np.minimum(high, rest_mesh.max(0) + margin)
    spreader, shape = _spreader(rest_mesh, warp_low, warp_high, cell)
    fields = np.concatenate([basis, mean[None]]).reshape(keep + 1, -1, 3)
    grid = np.einsum("gm,cmi->cgi", spreader, fields).reshape(keep + 1, *shape, 3)
    boxes = warp_low, warp_high, low, high
    parts = np.split(grid[:-1], [len(halves[0][1])])
    moving = [_moving(part, *boxes) for part in parts]
    mean_condition = (flat @ project).mean(0)
    conditions = flat @ project - mean_condition
    return Rig(
        *(
            np.asarray(x, np.float32)
            for x in (
                project,
                mean_condition,
                conditions.min(0),
                conditions.max(0),
                grid[:-1],
                grid[-1],
                *boxes,
                hull,
                moving,
            )
        )
    )


def upper_conditions(rig: Rig) -> np.ndarray:
    """[C] bool: which conditions are of the upper half of the face."""
    return rig.project.reshape(-1, 3, rig.project.shape[1])[EYES].any((0, 1))


def _moving(grid, warp_low, warp_high, low, high, least=0.3, full=0.7):
    """Where displacements [C, D, H, W, 3] of the warp's box are large, seen on the head
    box's planes: [2, HULL, HULL] 0 to 1; least, full: of the largest, where it leaves 0
    and reaches 1."""
    from scipy.interpolate import RegularGridInterpolator

    far = np.sqrt((grid**2).sum((0, 4)))  # [D, H, W]
    nodes = [np.linspace(low[i], high[i], HULL) for i in range(3)]
    axes = [np.linspace(warp_low[i], warp_high[i], far.shape[2 - i]) for i in range(3)]

    def seen(plane, column, row):
        beside = {"bounds_error": False, "fill_value": 0.0}
        table = RegularGridInterpolator((axes[row], axes[column]), plane, **beside)
        return table(tuple(np.meshgrid(nodes[row], nodes[column], indexing="ij")))

    planes = np.stack([seen(far.max(0), 0, 1), seen(far.max(2), 1, 2)])
    return np.clip((planes / max(far.max(), 1e-9) - least) / (full - least), 0, 1)


def _linear_map(flat, rows, moved, most):
    """What some landmarks say of displacements: (motion [T, 204] -> conditions [204, C],
    conditions -> displacements [C, M * 3], mean displacement [M * 3])."""
    places = (3 * rows[:, None] + np.arange(3)).ravel()
    lift = np.zeros((flat.shape[1], moved.shape[1]))
    lift[places] = _ridge(flat[:, places], moved)
    lifted = flat @ lift
    mean = lifted.mean(0)
    _, spread, axes = np.linalg.svd(lifted - mean, full_matrices=False)
    axes = axes[: min(most, int((spread > 1e-3 * spread[0]).sum()))]
    # A blink is rare: by its standard deviation it would be many units large, and what
    # is so large is extrapolated. The scale is what a component seldom exceeds.
    deviation = np.quantile(np.abs((lifted - mean) @ axes.T), 0.99, axis=0) / 2
    return lift @ axes.T / deviation, axes * deviation[:, None], mean


def condition(rig: Rig, motion):
    """Conditions [..., C] of motion [..., 68, 3] in eye distances: about zero mean over
    the portrait, and never outside of what was learned."""
    values = motion.reshape(*motion.shape[:-2], -1) @ rig.project - rig.mean
    return np.clip(values, rig.least, rig.most)


def head_box(rest_mesh, matte, pose: Pose, camera: Camera, margin=0.5):
    """The head box [3], [3] in cm: as wide and high as the mattes [T, H, W] ask for, as
    deep as the head shows itself behind the face that was tracked, where it turns."""
    middle = rest_mesh.mean(0)
    corners = []
    for t, picture in enumerate(matte):
        rows, columns = np.nonzero(picture > 64)
        if not len(rows):
            continue
        column = np.array([columns.min(), columns.max() + 1] * 2)
        row = np.array([rows.min(), rows.max() + 1]).repeat(2)
        depth = -(pose.rotation[t] @ middle + pose.translation[t])[2]
        x = (column - camera.cx) / camera.focal * depth
        y = (camera.cy - row) / camera.focal * depth
        seen = np.stack([x, y, np.full(4, -depth)], -1)
        corners.append((seen - pose.translation[t]) @ pose.rotation[t])
    corners = np.concatenate([*corners, rest_mesh])
    low, high = corners.min(0) - margin, corners.max(0) + margin
    away = np.arccos(np.clip(pose.rotation[:, 2, 2], -1, 1))  # from the camera
    low[2] = rest_mesh[:, 2].max() - _FACE - _SKULL * np.sin(np.quantile(away, 0.95))
    high[2] = rest_mesh[:, 2].max() + 1.0
    return low.astype(np.float32), high.astype(np.float32)


def visual_hull(matte, pose: Pose, camera: Camera, low, high, size=HULL, agree=0.9):
    """Nodes [size, size, size] of the head box whose projection lies in the head matte
    [T, H, W] uint8 in at least `agree` of the frames that show them, of which there are
    some: what is outside of nearly all pictures was never learned."""
    from scipy.ndimage import maximum_filter

    axes = [np.linspace(low[i], high[i], size) for i in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    nodes = np.stack([x, y, z], -1).reshape(-1, 3)
    inside, shown = np.zeros((2, len(nodes)))
    reach = 2 * max(1, round(0.03 * camera.size)) + 1
    for t in range(len(matte)):
        grown = maximum_filter(matte[t], reach)
        pixel = np.asarray(
            project(nodes, pose.rotation[t], pose.translation[t], camera)
        )
        column, row = np.floor(pixel).astype(int).T
        seen = (column >= 0) & (column < camera.size) & (row >= 0) & (row < camera.size)
        inside[seen] += grown[row[seen], column[seen]] > 64
        shown += seen
    held = (inside >= agree * shown) & (shown >= _SHOWN * len(matte))
    return held.reshape(size, size, size)


def _ridge(x, y, strength=1e-3):
    gram = x.T @ x
    gram += strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, x.T @ y)


def _spreader(mesh, low, high, cell, reach=2.5, noise=0.02):
    """[nodes, M]: displacements of mesh points -> of grid nodes, and the grid's shape.

    Gaussian-process interpolation (Matern 3/2): it passes through the points as far as
    `noise` lets it and fades to zero away from the face."""
    shape = [max(2, round(float(high[i] - low[i]) / cell) + 1) for i in (2, 1, 0)]
    axes = [
        np.linspace(low[i], high[i], n) for i, n in zip((2, 1, 0), shape, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    nodes = np.stack([x, y, z], -1).reshape(-1, 3)
    # A frontal video hardly says how deep a face is, and the field's can lie centimetres
    # before the tracked mesh: there the warp is that of the mesh behind it.
    across = ((nodes[:, None, :2] - mesh[None, :, :2]) ** 2).sum(-1)
    nearest = np.argpartition(across, 4, axis=1)[:, :4]
    nodes[:, 2] = np.minimum(nodes[:, 2], mesh[nearest, 2].max(1))

    def kernel(a, b):
        r = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)) * (np.sqrt(3) / reach)
        return (1 + r) * np.exp(-r)

    gram = kernel(mesh, mesh) + noise * np.eye(len(mesh))
    return np.linalg.solve(gram, kernel(mesh, nodes)).T, shape
