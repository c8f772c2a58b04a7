"""PSNR, SSIM, sharpness and landmark distance, as this field computes them.

Each is a mean over frames, and each depends on its region: say the region with every
number. Images are uint8 [T, H, W, 3] of equal size; nothing is resized or aligned here.
A mask says where to look: bool, uint8 (255 = fully inside) or float in [0, 1].
"""

from itertools import repeat
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull

from emogene_jax.landmarks import MOUTH

# The value of two equal frames, whose PSNR is infinite: JSON and means need a number.
MAX_PSNR = 100.0


class Maps(NamedTuple):
    """What two frames [H, W, 3] are compared by; each map [H, W] float32."""

    error: np.ndarray  # squared, the mean over the colours
    similarity: np.ndarray  # SSIM; NaN where a window leaves the frame
    detail: np.ndarray  # squared Laplacian of the reference's luma; NaN at the border
    image_detail: np.ndarray  # of the image's


def psnr(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None):
    """The mean over frames of each frame's PSNR, in dB.

    Not the PSNR of the mean error, which is lower: this is what RAD-NeRF and its
    successors report.

    Args:
      reference: [T, H, W, 3] uint8.
      image: the same shape.
      mask: [T, H, W] weights, or None for the whole frame. Frames in which it is empty
        do not count.

    Returns:
      A float; NaN where no frame counts.
    """
    _check(reference, image, mask)
    errors = (_squared_error(*pair) for pair in zip(reference, image))
    return _mean([_decibels(mean_inside(e, m)) for e, m in zip(errors, _each(mask))])


def ssim(
    reference: np.ndarray,
    image: np.ndarray,
    mask: np.ndarray | None = None,
    window: str = "gaussian",
):
    """The mean over frames of the structural similarity (Wang et al. 2004).

    K1 = .01, K2 = .03, each of R, G, B apart, then their mean. Windows that would reach
    over the border do not count; a masked value is the mean of the same map over the
    mask, so that windows at the mask's rim see a little of what lies outside.

    Args:
      reference, image, mask: as for psnr.
      window: "gaussian", 11x11 with sigma 1.5 (the paper's); or "uniform", 7x7 with
        unbiased variances (scikit-image's default, which EAT's tables use).
    """
    _check(reference, image, mask)
    maps = (frame_maps(*p, window).similarity for p in zip(reference, image))
    return _mean([mean_inside(s, m) for s, m in zip(maps, _each(mask))])


def by_region(reference: np.ndarray, image: np.ndarray, masks: dict) -> dict:
    """psnr and ssim of several regions for the price of one.

    Args:
      reference, image: as for psnr.
      masks: {region: [T, H, W] or None for the whole frame}.

    Returns:
      {"psnr": {region: value}, "ssim": {region: value}}.
    """
    for mask in masks.values():
        _check(reference, image, mask)
    values = {metric: {region: [] for region in masks} for metric in ("psnr", "ssim")}
    for t, pair in enumerate(zip(reference, image)):
        inside = {r: None if m is None else m[t] for r, m in masks.items()}
        for region, found in frame_scores(frame_maps(*pair), inside).items():
            for metric in values:
                values[metric][region].append(found[metric])
    return {
        metric: {region: _mean(found) for region, found in regions.items()}
        for metric, regions in values.items()
    }


def frame_scores(maps: Maps, masks: dict) -> dict[str, dict[str, float]]:
    """{region: {"psnr", "ssim", "sharpness"}} of one frame.

    sharpness: mean squared Laplacian of the image's luma over the reference's. 1 = as
    sharp; less = blurred; more = noise, ringing or edges that are not there. No judge of
    sharpness without a reference (CPBD and its like) can tell those apart.

    Args:
      masks: {region: [H, W] or None for the whole frame}; NaN where one is empty.
    """
    return {
        region: {
            "psnr": _decibels(mean_inside(maps.error, mask)),
            "ssim": mean_inside(maps.similarity, mask),
            "sharpness": _ratio(
                mean_inside(maps.image_detail, mask), mean_inside(maps.detail, mask)
            ),
        }
        for region, mask in masks.items()
    }


def lmd(landmarks_a: np.ndarray, landmarks_b: np.ndarray, points=MOUTH):
    """Landmark distance in px: the mean distance of the points, their mean removed.

    After the field's LMDMeter: translation is removed frame by frame, scale and
    rotation are not, so the value grows with the resolution.

    Args:
      landmarks_a: [T, 68, 2] px; frames in which no face was found are NaN and do not
        count.
      landmarks_b: the same shape.
      points: which of the 68; MOUTH or FACE.
    """
    return _mean(lmd_curve(landmarks_a, landmarks_b, points))


def lmd_curve(landmarks_a: np.ndarray, landmarks_b: np.ndarray, points=MOUTH):
    """lmd of each frame, [T]; NaN where a face was lost."""
    if landmarks_a.shape != landmarks_b.shape:
        raise ValueError(f"{landmarks_a.shape} against {landmarks_b.shape}")
    a, b = landmarks_a[:, points], landmarks_b[:, points]
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    return np.linalg.norm(a - b, axis=-1).mean(axis=1)


def region_masks(
    landmarks: np.ndarray, height: int, width: int
) -> dict[str, np.ndarray]:
    """Where a face is in its picture: {"face", "mouth"}, each [T, H, W] bool.

    face: the convex hull of the 68 points (brows to chin). mouth: the hull of the 20
    mouth points, made half as large again about its centre.

    Args:
      landmarks: [T, 68, 2] px, pixel centres at +0.5; NaN frames give empty masks.
      height, width: of the picture, px.
    """
    mouth = landmarks[:, MOUTH]
    centre = mouth.mean(axis=1, keepdims=True)
    return {
        "face": _hulls(landmarks, height, width),
        "mouth": _hulls(centre + 1.5 * (mouth - centre), height, width),
    }


def _hulls(points: np.ndarray, height: int, width: int) -> np.ndarray:
    masks = np.zeros((len(points), height, width), bool)
    for t in np.flatnonzero(~np.isnan(points).any(axis=(1, 2))):
        hull = points[t][ConvexHull(points[t]).vertices] - 0.5
        picture = Image.new("1", (width, height))
        ImageDraw.Draw(picture).polygon([tuple(xy) for xy in hull.tolist()], fill=1)
        masks[t] = np.asarray(picture)
    return masks


def _check(reference, image, mask) -> None:
    if reference.shape != image.shape or reference.ndim != 4:
        raise ValueError(
            f"{reference.shape} against {image.shape}, expected twice [T, H, W, 3]"
        )
    if mask is not None and mask.shape != reference.shape[:3]:
        raise ValueError(f"mask {mask.shape} for frames {reference.shape}")


def _mean(values) -> float:
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _each(mask: np.ndarray | None):
    return repeat(None) if mask is None else mask


def mean_inside(values: np.ndarray, mask: np.ndarray | None) -> float:
    """The weighted mean of values [H, W], those that are NaN apart; NaN of nothing."""
    if mask is None:
        return float(np.nanmean(values, dtype=np.float64))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return float("nan")
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    values, mask = values[box], mask[box]
    known = ~np.isnan(values)
    weights = mask[known].astype(np.float64) / (255 if mask.dtype == np.uint8 else 1)
    total = weights.sum()
    return float((values[known] * weights).sum() / total) if total > 0 else float("nan")


def _squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[H, W], the mean over the colours of two frames [H, W, 3]."""
    return np.subtract(a, b, dtype=np.float32) ** 2 @ _THIRDS


def _decibels(mse: float) -> float:
    return 10 * np.log10(255**2 / max(mse, 255**2 / 10 ** (MAX_PSNR / 10)))


def _ratio(a: float, b: float) -> float:
    """a / b; 1 of two flat regions."""
    return 1.0 if a == b else a / max(b, 1e-6)


def frame_maps(reference: np.ndarray, image: np.ndarray, window="gaussian") -> Maps:
    """All that psnr, ssim and sharpness need of two frames [H, W, 3] uint8: one pass."""
    if window not in WINDOWS:
        raise ValueError(f"window '{window}', expected {' or '.join(WINDOWS)}")
    border = WINDOWS[window][0]
    height, width = reference.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"frames of {height, width} px are too small for SSIM")
    error = np.empty((height, width), np.float32)
    similarity = np.full((height, width), np.nan, np.float32)
    inside = slice(border, width - border)
    for top in range(border, height - border, _STRIP):
        bottom = min(top + _STRIP, height - border)
        rows = slice(top - border, bottom + border)
        # Variances are differences of squares: colours around 0 keep float32 exact enough.
        a, b = (np.subtract(x[rows], 128, dtype=np.float32) for x in (reference, image))
        found = _similarity(a, b, window)[border : border + bottom - top, inside]
        similarity[top:bottom, inside] = found
        a -= b
        a *= a
        error[rows] = a @ _THIRDS
    return Maps(error, similarity, _detail(reference), _detail(image))


def _similarity(a: np.ndarray, b: np.ndarray, window: str) -> np.ndarray:
    """SSIM [H, W] of colours - 128, [H, W, 3]; wrong where a window leaves them."""
    unbiased, c1, c2 = WINDOWS[window][1], (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _blur(a, window), _blur(b, window)
    variances = _blur(a * a + b * b, window)
    covariance = _blur(a * b, window)
    variances -= mean_a * mean_a
    variances -= mean_b * mean_b
    covariance -= mean_a * mean_b
    mean_a += 128
    mean_b += 128
    # In place: what is slow is memory.
    similarity = mean_a * mean_b
    similarity *= 2
    similarity += c1
    covariance *= 2 * unbiased
    covariance += c2
    similarity *= covariance
    mean_a *= mean_a
    mean_b *= mean_b
    mean_a += mean_b
    mean_a += c1
    variances *= unbiased
    variances += c2
    similarity /= mean_a
    similarity /= variances
    return similarity @ _THIRDS


_STRIP = 64  # rows that are compared at a time: they stay in a processor's cache
# Weights of the colours; numpy's mean over three numbers takes ten times as long.
_THIRDS = np.full(3, 1 / 3, np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# window: (its half-width, sample over population variance).
WINDOWS = {"gaussian": (5, 1.0), "uniform": (3, 49 / 48)}


def _blur(x: np.ndarray, window: str) -> np.ndarray:
    """x [H, W, 3] float32, averaged over windows."""
    gaussian = window == "gaussian"
    try:
        import cv2  # thirty times as fast; comes with the face tracker
    except ImportError:
        if gaussian:
            return ndimage.gaussian_filter(x, (1.5, 1.5, 0), radius=(5, 5, 0))
        return ndimage.uniform_filter(x, (7, 7, 1))
    return cv2.GaussianBlur(x, (11, 11), 1.5) if gaussian else cv2.blur(x, (7, 7))


def _detail(frame: np.ndarray) -> np.ndarray:
    """[H, W], the squared Laplacian of the luma (BT.601) of a frame [H, W, 3] uint8."""
    y = frame.astype(np.float32) @ _LUMA
    around = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
    detail = np.full(y.shape, np.nan, np.float32)
    detail[1:-1, 1:-1] = (around - 4 * y[1:-1, 1:-1]) ** 2
    return detail
