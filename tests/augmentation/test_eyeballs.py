"""Eyeballs behind lids that a warp has moved."""

import numpy as np
import pytest

from emogene_jax.augmentation.eyeballs import show_eyeballs
from emogene_jax.face import mesh as lm

SIZE, MIDDLE, HALF, RADIUS = 64, np.array([32.0, 32.0]), 14.0, 6.0
SKIN, WHITE, IRIS = 120, 230, 40


def opening(upper: float, lower: float) -> np.ndarray:
    """An eye's outline [16, 2] px, from the left corner over the upper lid."""
    angle = np.linspace(np.pi, 3 * np.pi, len(lm.EYE_LEFT), endpoint=False)
    height = np.where(np.sin(angle) < 0, upper, lower)
    return MIDDLE + np.stack([HALF * np.cos(angle), height * np.sin(angle)], -1)


def mesh(upper: float, lower: float) -> np.ndarray:
    """[478, 2] px, of which the left eye matters; the right one is out of the picture."""
    points = np.full((lm.MESH_POINTS, 2), -50.0)
    points[list(lm.EYE_LEFT)] = opening(upper, lower)
    rim = RADIUS * np.array([[1, 0], [0, -1], [-1, 0], [0, 1]])
    points[list(lm.IRIS_LEFT)] = np.concatenate([MIDDLE[None], MIDDLE + rim])
    return points


def seen(upper: float, lower: float) -> np.ndarray:
    """A picture of the eye, its lids as far open as told."""
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    x, y = (column - MIDDLE[0]), (row - MIDDLE[1])
    height = np.where(y < 0, upper, lower)
    inside = (x / HALF) ** 2 + (y / height) ** 2 < 1
    ball = np.where(np.hypot(x, y) < RADIUS, IRIS, WHITE)
    return np.repeat(np.where(inside, ball, SKIN)[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("after", [(9.0, 7.0), (3.0, 5.0)], ids=["wider", "narrower"])
def test_an_eyeball_is_whole_however_far_the_lids_are(after):
    """As if the person had opened the eye so far; under the filmed lid most of the iris
    was covered."""
    filmed, expected = seen(4.0, 7.0), seen(*after)
    warped = np.where(expected == SKIN, expected, 77).astype(np.uint8)  # squeezed balls
    made = show_eyeballs(warped, filmed, mesh(4.0, 7.0), mesh(*after))
    wrong = np.abs(made.astype(int) - expected).max(-1) > 60
    assert wrong.sum() < 0.12 * (expected[..., 0] != SKIN).sum()  # along the edges
    at = (int(MIDDLE[1]) - 3, int(MIDDLE[0]))
    if after[0] > RADIUS:  # white above an iris that is as high as wide
        assert made[int(MIDDLE[1] - RADIUS - 2), at[1]].min() > 180
        assert made[int(MIDDLE[1] - RADIUS + 1), at[1]].max() < 90
    outside = expected == SKIN
    np.testing.assert_array_equal(made[:15], warped[:15])
    assert np.abs(made[outside].astype(int) - SKIN).max() <= 110


def test_eyes_beyond_the_picture_are_left_alone():
    picture = seen(4.0, 7.0)
    gone = np.full((lm.MESH_POINTS, 2), -50.0)
    np.testing.assert_array_equal(show_eyeballs(picture, picture, gone, gone), picture)
