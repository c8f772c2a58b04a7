"""Folds of the skin that an expression makes, as shading: a landmark says where a brow
is, not that the skin beside it is furrowed, and people read expressions by both.

A fold is a groove along a curve of the mesh. Lit from above, its upper slope, which looks
down, is darker and its lower slope brighter; and less light reaches its ground. Which
action unit makes which fold: P. Ekman, W. Friesen, J. Hager, Facial Action Coding System
(2002), appearance changes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from emogene_jax.face import mesh as lm
from emogene_jax.landmarks import OUTER_EYE_CORNERS
from emogene_jax.motion_to_emotion.expressions import EMOTION_ACTIONS
from emogene_jax.signals import EMOTIONS

_FINEST = 0.5  # px of it; a groove that is thinner is shallower instead
_SLOPES = 0.9  # how much brighter and darker slopes are, of how dark the ground is
_DEEPEST = 0.8  # share of its light that a place can lose
_GAMMA = 2.2  # of sRGB, nearly


class Fold(NamedTuple):
    """A groove, and what makes it."""

    depth: Mapping[int, float]  # {action unit: share of the light it takes at weight 1}
    # Control points, (a, b, share): on the way from mesh point a to b.
    curve: tuple[tuple[int, int, float], ...]
    side: int = 0  # 1 = in the picture's right half, -1 = in the left, 0 = in both
    width: float = 0.017  # eye distances, the groove's standard deviation


def _pair(depth, left, right, width=0.017) -> tuple[Fold, Fold]:
    return Fold(depth, left, -1, width), Fold(depth, right, 1, width)


def _forehead(height: float) -> Fold:
    """Across the forehead; `height` is 0 at the brows and 1 at its upper rim."""
    # fmt: off
    points = (
        (70, 54, height + 0.1), (63, 103, height), (105, 67, height),
        (66, 109, height), (9, 10, height), (296, 338, height),
        (334, 297, height), (293, 332, height), (300, 284, height + 0.1),
    )
    # fmt: on
    return Fold({1: 0.07, 2: 0.07}, points)


FOLDS = (
    # Between the brows, upright; at the root of the nose, and on its bridge, across.
    *_pair(
        {4: 0.30},
        ((107, 9, 0.5), (55, 8, 0.45), (193, 168, 0.6)),
        ((336, 9, 0.5), (285, 8, 0.45), (417, 168, 0.6)),
    ),
    Fold({4: 0.20, 9: 0.15}, ((193, 168, 0.4), (168, 168, 0), (417, 168, 0.4))),
    Fold({9: 0.30}, ((122, 6, 0.2), (6, 6, 0), (351, 6, 0.2))),
    *(_forehead(height) for height in (0.28, 0.48, 0.68)),
    # From the wings of the nose around the mouth.
    *_pair(
        {9: 0.06, 10: 0.10, 12: 0.08, 20: 0.05},
        (
            (129, 203, 0.4),
            (203, 206, 0.5),
            (206, 216, 0.4),
            (216, 212, 0.4),
            (212, 212, 0),
        ),
        (
            (358, 423, 0.4),
            (423, 426, 0.5),
            (426, 436, 0.4),
            (436, 432, 0.4),
            (432, 432, 0),
        ),
        width=0.03,
    ),
    # Crow's feet, and under the eyes.
    *_pair(
        {6: 0.20}, ((130, 226, 0.7), (143, 35, 0.5)), ((359, 446, 0.7), (372, 265, 0.5))
    ),
    *_pair(
        {6: 0.20}, ((130, 226, 0.7), (31, 111, 0.5)), ((359, 446, 0.7), (261, 340, 0.5))
    ),
    *_pair(
        {6: 0.15, 7: 0.08},
        ((22, 23, 0.5), (24, 110, 0.5), (25, 25, 0)),
        ((252, 253, 0.5), (254, 339, 0.5), (255, 255, 0)),
    ),
    # From the corners of the mouth down, and above the chin.
    *_pair(
        {15: 0.15}, ((61, 57, 0.6), (43, 106, 0.5)), ((291, 287, 0.6), (273, 335, 0.5))
    ),
    Fold({17: 0.12}, ((106, 182, 0.4), (18, 200, 0.6), (335, 406, 0.4))),
)


def depths(weights: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """How deep the folds are in which the table of facial actions shows emotions.

    Args:
        weights: [T, 8] over signals.EMOTIONS; intensity: [T].

    Returns:
        [T, len(FOLDS)], shares of the light.
    """
    table = np.zeros((len(EMOTIONS), len(FOLDS)), np.float32)
    for row, emotion in enumerate(EMOTIONS):
        for unit, weight, side in EMOTION_ACTIONS[emotion]:
            for column, fold in enumerate(FOLDS):
                if side in (0, fold.side):
                    table[row, column] += weight * fold.depth.get(unit, 0.0)
    return intensity[:, None] * (weights @ table)


def wrinkled(picture: np.ndarray, mesh2d: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A picture [H, H, 3] uint8 with the light that is left in its folds.

    Args:
        mesh2d: [478, 2] px; depth: [len(FOLDS)].
    """
    left, right = lm.to_68(mesh2d)[list(OUTER_EYE_CORNERS)]
    unit, light = np.linalg.norm(right - left), np.ones(picture.shape[:2])
    for fold, much in zip(FOLDS, depth, strict=True):
        if much > 0:
            drawn = max(fold.width * unit, _FINEST)
            much *= fold.width * unit / drawn
            _draw(light, _points(fold, mesh2d), much, drawn)
    lit = (picture / 255) ** _GAMMA * light[..., None]
    return np.round(255 * np.clip(lit, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)


def _points(fold: Fold, mesh2d: np.ndarray) -> np.ndarray:
    """A fold's curve in a picture, about two points a pixel: [N, 2] px."""
    start, stop, share = (np.array(part) for part in zip(*fold.curve, strict=True))
    share = share[:, None]
    given = (1 - share) * mesh2d[start.astype(int)] + share * mesh2d[stop.astype(int)]
    way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(given, axis=0), axis=1))]
    way += 1e-6 * np.arange(len(way))  # points that meet in a profile stay in order
    return CubicSpline(way, given)(np.linspace(0, way[-1], max(8, int(2 * way[-1]))))


def _draw(light: np.ndarray, points: np.ndarray, depth: float, width: float) -> None:
    """Takes light [H, H] from around a curve [N, 2], in place; all in px."""
    low = np.maximum(np.floor(points.min(0) - 4 * width).astype(int), 0)
    high = np.ceil(points.max(0) + 4 * width).astype(int)
    part = light[low[1] : high[1], low[0] : high[0]]
    if not part.size:
        return
    row, column = np.mgrid[: part.shape[0], : part.shape[1]] + 0.5
    away = np.stack([column + low[0], row + low[1]], -1)[:, :, None] - points
    square = (away**2).sum(-1)
    nearest = square.argmin(-1)[..., None]
    square = np.take_along_axis(square, nearest, -1)[..., 0]
    below = np.take_along_axis(away[..., 1], nearest, -1)[..., 0] / width
    ends = np.sqrt(
        np.sin(np.pi * np.linspace(0.12, 1, len(points)))
    )  # shallow at its end
    groove = np.exp(-square / (2 * width**2)) * ends[nearest[..., 0]]
    part *= np.clip(1 - depth * groove * (1 - _SLOPES * below), 1 - _DEEPEST, 1.6)
