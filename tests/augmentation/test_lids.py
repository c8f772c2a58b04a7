"""Lids of one frame in another: what is lent, and that the rest stays."""

import numpy as np
import pytest

from emogene_jax.augmentation.lids import Face, blinking, lend_lids
from emogene_jax.face import mesh as lm
from emogene_jax.rigid import project, rotation_exp
from emogene_jax.signals import Camera

CAMERA = Camera(focal=800.0, cx=48.0, cy=48.0, size=96)
EYES = list(lm.EYE_LEFT + lm.EYE_RIGHT)


@pytest.fixture(scope="module")
def rest():
    """A flat mesh [478, 3] with two open eyes."""
    rng = np.random.default_rng(0)
    mesh = np.concatenate(
        [rng.uniform(-5, 5, (lm.MESH_POINTS, 2)), np.zeros((478, 1))], 1
    )
    for ring, middle in ((lm.EYE_LEFT, -3), (lm.EYE_RIGHT, 3)):
        angle = np.linspace(np.pi, 3 * np.pi, len(ring), endpoint=False)
        mesh[list(ring), :2] = np.stack(
            [middle + 1.3 * np.cos(angle), -0.5 * np.sin(angle)], -1
        )
    return mesh


def closed(rest, share):
    """The mesh with lids nearer by a share."""
    mesh = rest.copy()
    mesh[EYES, 1] *= 1 - share
    return mesh


def test_only_who_shuts_the_eyes_blinks(rest):
    mesh = np.stack([rest] * 5 + [closed(rest, share) for share in (0.4, 0.7, 0.1)])
    assert blinking(mesh).tolist() == [5, 6]
    assert blinking(mesh[[0, 1, 2, 3, 5, 7]]).tolist() == []


def test_lids_are_lent_across_poses_and_nothing_else(rest):
    turned = rotation_exp(np.array([[0.0, 0.05, 0.1]]))[0]
    shift = np.array([0.3, -0.2, -100.0])
    to = Face(np.full((96, 96, 3), 100, np.uint8), rest, turned, shift)
    donor = closed(rest, 0.7)
    picture = np.full((96, 96, 3), 100, np.uint8)
    pose = np.eye(3), np.array([0.0, 0.0, -100.0])
    lids = project(donor[EYES], *pose, CAMERA)
    column, row = np.floor(lids).astype(int).T
    picture[row, column] = 200  # what is drawn on the donor's lids
    lent, mesh = lend_lids(to, Face(picture, donor, *pose), rest, CAMERA)
    np.testing.assert_allclose(mesh[EYES], donor[EYES], atol=0.02)
    far = (np.abs(rest[:, 1]) > 1.5) | (np.abs(rest[:, 0]) > 5)
    np.testing.assert_array_equal(mesh[far], rest[far])
    column, row = np.floor(project(donor[EYES], turned, shift, CAMERA)).astype(int).T
    assert np.median(lent[row, column]) > 140
    above = project(np.array([[0.0, 2.5, 0.0]]), turned, shift, CAMERA)
    assert (lent[: int(above[0, 1])] == 100).all()


def test_a_patch_is_as_bright_as_what_was_there(rest):
    pose = np.eye(3), np.array([0.0, 0.0, -100.0])
    dark, bright = (np.full((96, 96, 3), value, np.uint8) for value in (90, 150))
    lent, _ = lend_lids(
        Face(dark, rest, *pose), Face(bright, closed(rest, 0.7), *pose), rest, CAMERA
    )
    assert np.abs(lent.astype(int) - 90).max() <= 1
