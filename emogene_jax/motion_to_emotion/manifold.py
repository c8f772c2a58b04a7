"""A person's manifold: what brows, eyes and lower face of one person can do.

A model that has learned from many people, or from nobody, moves a face in ways that its
owner never does. The manifold is a flat box around what the person showed, for each
region of the face by itself: brows of one moment go with the mouth of another. Motion is
brought onto it as far as one likes.

The official release does so after the emotion: it blends with the nearest neutral frames
(LLE) and clamps every landmark to the 3 to 97 % range of the neutral portrait, which
takes strong emotions back. Here the frames must include augmented ones
(augmentation.frames), so that the emotions lie inside, and the box is as wide as all of
them.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.landmarks import BROWS, EYES, JAW, MOUTH, NOSE, rows

REGIONS = (rows(BROWS), rows(EYES), rows(JAW, NOSE, MOUTH))


class Manifold(NamedTuple):
    """Of one person, eye distances; float32. C components, each of one region."""

    mean: np.ndarray  # [204] motion
    basis: np.ndarray  # [204, C] orthonormal
    least: np.ndarray  # [C]: the range of each component
    most: np.ndarray  # [C]


def fit_manifold(
    motion: np.ndarray, kept: float = 0.995, margin: float = 0.1
) -> Manifold:
    """What motion [T, 68, 3] (eye distances) spans, by region.

    Args:
        motion: tracked frames and augmented ones, with every emotion among them.
        kept: the share of each region's variance that its components explain; the rest
            is the tracker's noise.
        margin: how far the box reaches beyond the frames, as a share of its width: few
            frames do not show the whole of a person's range.
    """
    flat = motion.reshape(len(motion), -1).astype(np.float64)
    mean = flat.mean(0)
    columns = []
    for region in REGIONS:
        places = (3 * region[:, None] + np.arange(3)).ravel()
        _, spread, axes = np.linalg.svd((flat - mean)[:, places], full_matrices=False)
        explained = np.cumsum(spread**2) / max((spread**2).sum(), 1e-12)
        count = min(len(axes), int(np.searchsorted(explained, kept)) + 1)
        part = np.zeros((flat.shape[1], count))
        part[places] = axes[:count].T
        columns.append(part)
    basis = np.concatenate(columns, axis=1)
    values = (flat - mean) @ basis
    reach = margin * np.ptp(values, axis=0)
    least, most = values.min(0) - reach, values.max(0) + reach
    return Manifold(*(np.float32(part) for part in (mean, basis, least, most)))


def project(manifold: Manifold, motion, strength: float = 1.0):
    """Motion [..., 68, 3] brought towards the manifold; NumPy or jax arrays.

    Args:
        manifold: of fit_manifold.
        motion: eye distances, of any source.
        strength: 0 gives the motion back, 1 the nearest place on the manifold.
    """
    flat = motion.reshape(*motion.shape[:-2], -1)
    values = (flat - manifold.mean) @ manifold.basis
    values = values.clip(manifold.least, manifold.most)
    nearest = manifold.mean + values @ manifold.basis.T
    return (flat + strength * (nearest - flat)).reshape(motion.shape)
