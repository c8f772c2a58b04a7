"""What a face does, measured on its 68 landmarks: brows, lids, mouth, jaw.

All measures are in units of the distance of the outer eye corners, rigid motion and
scale removed, y up. Landmarks are [T, 68, 3] in head space (y up) or [T, 68, 2] in
pixels (y down); frames in which no face was found are NaN. Projected points still hold
what a head turn does to them, so compare videos of equal pose, frame by frame.
"""

import numpy as np
from scipy import stats

from emogene_jax.landmarks import (
    BROWS,
    CHIN,
    INNER_BROWS,
    INNER_MIDDLE,
    LID_PAIRS,
    MOUTH_CORNERS,
    OUTER_BROWS,
    OUTER_EYE_CORNERS,
    OUTER_MIDDLE,
    UNDER_NOSE,
    rows,
)
from emogene_jax.signals import FPS

# Where EAT's M-LMD and F-LMD are measured: crops of a side, in which a face seen from the
# front has its outer eye corners so far apart (EAMM's own crops: 77 to 87 px).
CROP_SIZE, CROP_EYES = 256, 80.0  # px

# Hardly moved by any expression: the eye corners and the bridge of the nose.
STABLE = (36, 39, 42, 45, 27, 28, 29, 30)
STILL = (*STABLE, 0, 1, 2, 14, 15, 16)  # and the face's sides


def measures(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure [T] of landmarks [T, 68, 2 or 3]; NaN where the face was lost.

    brow_height, brow_inner_height: above the eye corners' line.
    brow_inner_over_outer: inner brow ends above the outer ones (sad).
    brow_distance: between the inner ends (angry brings them together).
    mouth_corners: their height against the base of the nose (happy lifts them).
    mouth_curve: their height against the middle of the lips, which hardly knows how far
    a mouth is open, nor how long a nose is.
    mouth_asymmetry: the corner at the picture's right above the other (contempt).
    mouth_width, mouth_opening (inner lips), lid_aperture, nose_to_lip, jaw (nose to
    chin): distances.
    """
    points = align(landmarks)
    height = points[..., 1]

    def mean_height(indices):
        return height[:, list(indices)].mean(axis=1)

    def distance(i, j):
        return np.linalg.norm(points[:, i] - points[:, j], axis=-1)

    left, right = MOUTH_CORNERS
    corners = mean_height(MOUTH_CORNERS)
    return {
        "brow_height": mean_height(rows(BROWS)),
        "brow_inner_height": mean_height(INNER_BROWS),
        "brow_inner_over_outer": mean_height(INNER_BROWS) - mean_height(OUTER_BROWS),
        "brow_distance": distance(*INNER_BROWS),
        "mouth_corners": corners - height[:, UNDER_NOSE],
        "mouth_curve": corners - mean_height(OUTER_MIDDLE),
        "mouth_asymmetry": height[:, right] - height[:, left],
        "mouth_width": distance(left, right),
        "mouth_opening": distance(*INNER_MIDDLE),
        "lid_aperture": np.mean([distance(*pair) for pair in LID_PAIRS], axis=0),
        "nose_to_lip": distance(UNDER_NOSE, OUTER_MIDDLE[0]),
        "jaw": distance(UNDER_NOSE, CHIN),
    }


def align(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks without rigid motion and scale, float64, the same shape.

    Every frame is brought onto the sequence's own mean by the similarity that fits its
    STABLE points best; then the outer eye corners are 1 apart around the origin, y is
    up, and in the plane the line between them is level.
    """
    points = np.array(landmarks, np.float64)
    if points.shape[-1] == 2:
        points[..., 1] *= -1
    found = ~np.isnan(points).any(axis=(1, 2))
    if not found.any():
        return np.full_like(points, np.nan)
    stable = list(STABLE)
    template = points[found][0]
    for _ in range(2):
        template = _unit(template)
        for t in np.flatnonzero(found):
            points[t] = fit_similarity(points[t], points[t, stable], template[stable])
        template = points[found].mean(axis=0)
    points[~found] = np.nan
    return points


def in_crop(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [T, 68, 2] px where an aligned crop of CROP_SIZE px would have them: the
    crop of a whole video, by the similarity that brings the STABLE points of its first
    frame with a face onto those of a usual face seen from the front.

    So size and place of a face do not count, and how it moves does. EAT's crops are
    tracked again, ours are not; its template, one actor's face, is not to be had.
    """
    from emogene_jax.motion_to_emotion.expressions import canonical_rest

    found = np.flatnonzero(~np.isnan(landmarks).any(axis=(1, 2)))
    if not len(found):
        return np.full_like(landmarks, np.nan)
    stable = list(STABLE)
    template = _unit(canonical_rest())[stable, :2] * (CROP_EYES, -CROP_EYES)
    source = landmarks[found[0]][stable]
    return fit_similarity(landmarks, source, template + CROP_SIZE / 2)


def paired_difference(
    landmarks: np.ndarray, baseline: np.ndarray
) -> dict[str, tuple[float, float]]:
    """How each measure of one sequence differs from another's, frame by frame.

    Neighbouring frames are alike, so the interval comes from the means of blocks of
    about a second (at least four), not from frames.

    Args:
      landmarks: [T, 68, 2 or 3], e.g. of the happy rendering.
      baseline: the same shape, e.g. of the neutral one of the same speech and seed.

    Returns:
      {measure: (mean of landmarks minus baseline, half-width of its 95 % interval)};
      NaN where fewer than four frames show both faces.
    """
    if landmarks.shape != baseline.shape:
        raise ValueError(f"{landmarks.shape} against {baseline.shape}")
    ours, theirs = measures(landmarks), measures(baseline)
    return {name: mean_and_interval(ours[name] - theirs[name]) for name in ours}


def mean_and_interval(difference: np.ndarray) -> tuple[float, float]:
    """The mean of a sequence [T] and the half-width of its 95 % interval, from the means
    of blocks of about a second (at least four); NaN frames do not count."""
    difference = difference[~np.isnan(difference)]
    if len(difference) < 4:
        return float("nan"), float("nan")
    count = max(4, len(difference) // FPS)
    blocks = [block.mean() for block in np.array_split(difference, count)]
    half = stats.t.ppf(0.975, count - 1) * np.std(blocks, ddof=1) / np.sqrt(count)
    return float(difference.mean()), float(half)


def still_shift(landmarks: np.ndarray, baseline: np.ndarray) -> float:
    """How far STILL is from where the baseline has it, mean over frames and points, eye
    distances: what is left of the person when only the expression changes."""
    ours, theirs = (align(x)[:, list(STILL)] for x in (landmarks, baseline))
    return float(np.nanmean(np.linalg.norm(ours - theirs, axis=-1)))


def _unit(points: np.ndarray) -> np.ndarray:
    """One face [68, D]: eye corners 1 apart around the origin, level in the plane."""
    left, right = points[list(OUTER_EYE_CORNERS)]
    across = right - left
    points = (points - (left + right) / 2) / np.linalg.norm(across)
    if points.shape[1] == 2:
        cos, sin = across / np.linalg.norm(across)
        points = points @ np.array([[cos, -sin], [sin, cos]])
    return points


def fit_similarity(points, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points [..., D], moved by the least-squares similarity source -> target, [N, D]
    each (Umeyama 1991)."""
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    u, scale, vt = np.linalg.svd((target - goal).T @ (source - centre))
    mirror = np.ones(len(scale))
    mirror[-1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * mirror) @ vt
    size = (scale * mirror).sum() / ((source - centre) ** 2).sum()
    return size * (points - centre) @ rotation.T + goal
