"""Lids of the frames in which a person blinks, lent to other frames.

A minute shows a dozen blinks of a few frames each, under one brow and in one pose each: a
field that has seen no more of them leaves eyes half open, and speckled, in all others.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.augmentation.warp import sampled
from emogene_jax.face import mesh as lm
from emogene_jax.rigid import project
from emogene_jax.signals import Camera

_ON_THEIR_WAY = 0.25  # of their usual distance, by which lids are nearer
_SHUT = 0.5  # the same, for lids that meet: a tracker's stay apart
_REACH = (1.5, 1.1)  # across and up, in half widths of an eye: what is lent
_FIRM = 0.6  # of that: what is lent whole


class Face(NamedTuple):
    """A picture of a face, and where it is."""

    picture: np.ndarray  # [H, H, 3] uint8
    mesh: np.ndarray  # [478, 3] cm
    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3] cm


class Faces(NamedTuple):
    """Pictures of faces, and where they are."""

    pictures: np.ndarray  # [N, H, H, 3] uint8
    mesh: np.ndarray  # [N, 478, 3] cm
    rotation: np.ndarray  # [N, 3, 3]
    translation: np.ndarray  # [N, 3] cm

    def face(self, number: int) -> Face:
        """One of them."""
        return Face(*(part[number] for part in self))


def lend_blinks(
    faces: Faces, filmed: Faces, rest_mesh: np.ndarray, camera: Camera, share, rng
) -> None:
    """Shuts eyes, in place, in a share of faces, with the lids of moments at which the
    person was filmed blinking; in none, where there is no such moment."""
    donors = blinking(filmed.mesh)
    blinks = rng.random(len(faces.mesh)) < (share if len(donors) else 0)
    for k in np.flatnonzero(blinks):
        of = filmed.face(rng.choice(donors))
        made = lend_lids(faces.face(k), of, rest_mesh, camera)
        faces.pictures[k], faces.mesh[k] = made


def blinking(mesh: np.ndarray) -> np.ndarray:
    """Which frames of a mesh [T, 478, 3] show lids on their way: row numbers [N]; none
    where the lids never meet."""
    opening = lm.eye_opening(lm.to_68(mesh)).mean(-1)
    nearer = 1 - opening / np.median(opening)
    return np.flatnonzero(nearer > (_ON_THEIR_WAY if nearer.max() > _SHUT else np.inf))


def lend_lids(to: Face, of: Face, rest_mesh: np.ndarray, camera: Camera):
    """(picture [H, H, 3] uint8, mesh [478, 3]) of a face with the lids of another moment.

    Args:
        rest_mesh: [478, 3] cm, that says where eyes are.
    """
    picture, other = (face.picture.astype(np.float32) for face in (to, of))
    mesh = to.mesh.copy()
    for outline in (lm.EYE_LEFT, lm.EYE_RIGHT):
        rim = rest_mesh[list(outline), :2]
        eye = rim.mean(0), np.ptp(rim[:, 0]) / 2  # middle, half width
        share = _share(rest_mesh[:, :2], *eye)
        mesh += share[:, None] * (of.mesh - mesh)
        near = share > 0
        here, there = (
            project(points[near], face.rotation, face.translation, camera)
            for points, face in ((mesh, to), (of.mesh, of))
        )
        ways = _affine(here, rest_mesh[near, :2]), _affine(here, there)
        picture = _patched(picture, other, *ways, eye)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), mesh


def _share(at, middle, half):
    """[...] 0 to 1: how much is lent at places [..., 2] cm around an eye."""
    far = np.linalg.norm((at - middle) / (half * np.array(_REACH)), axis=-1)
    near = np.clip((1 - far) / (1 - _FIRM), 0, 1)
    return near * near * (3 - 2 * near)


def _affine(source, target) -> np.ndarray:
    """[3, 2]: [x, y, 1] @ it takes points [N, 2] to others as well as may be."""
    return np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0]


def _patched(picture, other, to_face, to_other, eye):
    """A picture [H, H, 3] with a patch of another around an eye (middle, half width), as
    bright as what was there."""
    size = len(picture)
    row, column = np.mgrid[:size, :size] + 0.5
    place = np.stack([column, row, np.ones_like(row)], -1)
    share = _share(place @ to_face, *eye)
    column, row = np.moveaxis(place @ to_other, -1, 0) - 0.5
    inside = share > 0
    lent = sampled(other, row[inside], column[inside], 3)
    share = share[inside][:, None]
    rim = share * (1 - share)
    lent += ((picture[inside] - lent) * rim).sum(0) / max(rim.sum(), 1e-6)
    patched = picture.copy()
    patched[inside] += share * (lent - patched[inside])
    return patched
