"""Eyeballs behind lids that move: what wider lids uncover was never filmed, and what
narrower ones leave must not be squeezed.

An eyeball stays where it is. What was filmed of it is shown as it was; the rest is
completed: the iris by its mirrored lower half, all else by the white beside it.
"""

import numpy as np
from PIL import Image, ImageDraw

from emogene_jax.augmentation.warp import sampled
from emogene_jax.face import mesh as lm

_FINE = 4  # samples a pixel, across and down
_LASHES = 0.8  # of an opening's height, within which eyeball is seen for certain
_LIMBUS = (0.98, 1.12)  # of the iris' radius: where it ends, and where the white begins
_WHITE = 0.6  # quantile of the brightness beside the iris that is taken for the white's


def show_eyeballs(picture, filmed, before, after) -> np.ndarray:
    """A warped picture [H, H, 3] uint8 with the eyeballs of the one it was made of.

    Args:
        filmed: [H, H, 3] uint8; before, after: [478, 2] px, the mesh in it and in the
            warped one.
    """
    picture, filmed = picture.astype(np.float32), filmed.astype(np.float32)
    for outline, iris in ((lm.EYE_LEFT, lm.IRIS_LEFT), (lm.EYE_RIGHT, lm.IRIS_RIGHT)):
        was, now = before[list(outline)], after[list(outline)]
        low = np.floor(now.min(0)).astype(int)
        high = np.ceil(now.max(0)).astype(int) + 1
        if (low < 0).any() or (high > len(picture)).any():
            continue
        at = np.stack(np.meshgrid(*map(_fine_steps, low, high)), -1)
        ball = _eyeball(filmed, at, was, before[list(iris)])
        shown = _inside(now, at)[..., None]
        cells = high[1] - low[1], _FINE, high[0] - low[0], _FINE, -1
        cover = shown.reshape(cells).mean((1, 3))
        colour = (ball * shown).reshape(cells).mean((1, 3))
        part = picture[low[1] : high[1], low[0] : high[0]]
        part += colour - cover * part
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _eyeball(filmed, at, opening, iris) -> np.ndarray:
    """Colours [N, M, 3] of the eyeball at places [N, M, 2] px, of which was filmed what
    lies in `opening` [P, 2]; iris: [5, 2], its middle and its rim."""
    middle = iris[0]
    far = np.linalg.norm(at - middle, axis=-1) / _radius(iris)
    certain = opening.mean(0) + (opening - opening.mean(0)) * (1.0, _LASHES)
    seen, colour = _inside(certain, at), _sample(filmed, at)
    beside = colour[seen & (far > _LIMBUS[1])]
    if not len(beside):  # the iris fills the eye
        return np.where(seen[..., None], colour, _sample(filmed, _mirrored(at, middle)))
    bright = beside.sum(-1)
    white = beside[bright >= np.quantile(bright, _WHITE)].mean(0)
    mirrored = _mirrored(at, middle)
    dark = colour[seen & (far < _LIMBUS[0])]
    dark = dark.mean(0) if len(dark) else white
    known = _inside(certain, mirrored)[..., None]
    ring = np.where(known, _sample(filmed, mirrored), dark)
    share = np.clip((_LIMBUS[1] - far) / (_LIMBUS[1] - _LIMBUS[0]), 0, 1)[..., None]
    return np.where(seen[..., None], colour, share * ring + (1 - share) * white)


def _radius(iris: np.ndarray) -> float:
    return max(1e-6, np.linalg.norm(iris[1:] - iris[0], axis=-1).mean())


def _mirrored(at: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Places as far above as they are below, and the other way round."""
    return np.stack([at[..., 0], 2 * middle[1] - at[..., 1]], -1)


def _fine_steps(low: int, high: int) -> np.ndarray:
    return low + (np.arange((high - low) * _FINE) + 0.5) / _FINE


def _sample(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    column, row = np.moveaxis(at, -1, 0) - 0.5
    return sampled(picture, row, column, 1)


def _inside(outline: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Which places [N, M, 2] px, of a regular grid, lie inside of an outline [P, 2]."""
    origin = at[0, 0]
    step = at[-1, -1] - origin
    scale = (np.array(at.shape[1::-1]) - 1) / np.where(step, step, 1)
    corners = [tuple(corner) for corner in (outline - origin) * scale]
    mask = Image.new("1", at.shape[1::-1])
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    return np.array(mask)
