"""What flickers and what trembles: pixels that change where nothing should move, and
landmarks that shake."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from emogene_jax.evaluate.geometry import STABLE
from emogene_jax.portrait.schema import Portrait

WINDOW = 5  # px, over which the source is averaged before it is asked whether it moves
CALM = 1.0  # of 255: so little as that average changes, where it does not


def unlike_changes(
    reference: Sequence[np.ndarray], image: Sequence[np.ndarray]
) -> float:
    """The mean of |(image[1] - image[0]) - (reference[1] - reference[0])| over pixels and
    colours of two successive frames, 2 x [H, W, 3] uint8, of 255: 0 where an image changes
    as its reference does, whatever it shows. Frozen frames have the reference's own."""
    (old, new), (true_old, true_new) = image, reference
    change = np.subtract(new, old, dtype=np.int16)
    change -= np.subtract(true_new, true_old, dtype=np.int16)
    # In place: what is slow is memory.
    return float(np.abs(change, out=change).mean(dtype=np.float64))


def jitter(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[T - 2] px a frame and frame: the mean length of the second difference, over time,
    of how far STABLE points are from the reference's. Landmarks [T, 68, 2] each, of one
    scale (geometry.in_crop); NaN where a face was lost. A steady offset does not count,
    nor does movement that the reference has too."""
    apart = (landmarks - reference)[:, list(STABLE)]
    return np.linalg.norm(np.diff(apart, 2, axis=0), axis=-1).mean(axis=-1)


def flicker(portrait: Portrait, rendered: np.ndarray) -> dict:
    """The mean of |f[t + 1] - f[t]| over colours, pixels and pairs of frames, of 255.

    Pairs are consecutive frames of the source: never across clips or gaps. Regions of a
    pair, which the source alone decides:

    background: head and torso matte are both 0 in both frames.
    steady: the rest (person), where the source hardly changes: its mean over WINDOW x
        WINDOW pixels and the colours by less than CALM. Averaged, so that pixels are not
        chosen for their own noise, which the source's figure is to hold.

    Args:
        portrait: the true frames, with their mattes.
        rendered: uint8 [T, H, W, 3], the same moments.

    Returns:
        {region: {"rendered", "source", "share" of all pixels}}; a region that is empty
        is left out.
    """
    if rendered.shape != portrait.frames.shape:
        raise ValueError(f"{rendered.shape} against {portrait.frames.shape}")
    same = np.diff(portrait.clip) == 0
    pairs = np.flatnonzero(same & (np.diff(portrait.source_frame) == 1))
    sums = {name: np.zeros(3) for name in ("background", "steady")}
    for t in pairs:
        made, true = _change(rendered, t), _change(portrait.frames, t)
        for name, mask in _regions(portrait, t).items():
            sums[name] += made[mask].sum(), true[mask].sum(), mask.sum()
    total = len(pairs) * np.prod(rendered.shape[1:3])
    return {
        name: {
            "rendered": round(made / count, 4),
            "source": round(true / count, 4),
            "share": round(count / total, 4),
        }
        for name, (made, true, count) in sums.items()
        if count
    }


def _change(frames: np.ndarray, t: int) -> np.ndarray:
    """[H, W], the mean over the colours, from frame t to the next."""
    pair = frames[t : t + 2].astype(np.float64)
    return np.abs(pair[1] - pair[0]).mean(-1)


def _regions(portrait: Portrait, t: int) -> dict[str, np.ndarray]:
    """{region: [H, W] bool} of frames t and t + 1."""
    part = slice(t, t + 2)
    matte = np.maximum(portrait.head_matte[part], portrait.torso_matte[part]).max(0)
    grey = portrait.frames[part].astype(np.float64).mean(-1)
    smooth = ndimage.uniform_filter(grey, (1, WINDOW, WINDOW))
    calm = np.abs(smooth[1] - smooth[0]) < CALM
    return {"background": matte == 0, "steady": (matte > 0) & calm}
