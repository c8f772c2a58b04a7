"""Where shoulders and collar are: one affine motion of the torso a frame, tracked.

A head's pose does not tell it. Every frame's torso is aligned with one picture of it, the
mean of some that may be learned from, by enhanced correlation (Evangelidis and Psarakis,
TPAMI 2008; OpenCV's): nothing drifts, and no frame is compared with the one before it.

A motion is 6 numbers, in sides of the picture: `undone` says what they do.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

MOTION = 6
_WORK = 160  # px at most, at which torsos are aligned
_LEAST = 0.02  # of the picture: less of a torso can't be followed
_REFERENCES = 40  # frames of which the mean is the picture to align with
_ROUNDS = 30  # of the alignment of a frame, at most
_FITS = 0.5  # correlation, below which a frame is taken to stand as the one before it
_SMOOTH = 1.0  # frames


class TorsoTracker:
    """Follows a torso through a portrait's stretches: 25 KB of each frame are kept."""

    def __init__(self):
        self._pictures, self._open = [], []

    def _add(self, frames, head_matte, torso_matte) -> None:
        import cv2

        side = min(_WORK, frames.shape[1])

        def small(picture):
            return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)

        for frame, head, torso in zip(frames, head_matte, torso_matte, strict=True):
            matte = small(torso)
            grey = small(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
            # Before middle grey, so that its outline moves with it and nothing behind does.
            alone = 128 + (grey.astype(np.float32) - 128) * (matte / np.float32(255))
            self._pictures.append(np.round(alone).astype(np.uint8))
            covered = cv2.dilate(small(head), np.ones((5, 5), np.uint8))
            near = cv2.dilate(matte, np.ones((9, 9), np.uint8))
            self._open.append((covered < 32) & (near > 32))

    def followed(self, stretches):
        """The same stretches (frames [n, S, S, 3], head_matte and torso_matte [n, S, S],
        all uint8), each taken in on its way."""
        for layers in stretches:
            self._add(*layers)
            yield layers

    def track(self, starts: list[int], known: int) -> np.ndarray:
        """Motions [T, 6] float32 of all frames that were added; zeros where too little of
        a torso is seen.

        Args:
          starts: where another clip begins, or what is held out.
          known: how many frames at the start the reference may be made of.
        """
        count = len(self._pictures)
        if np.mean([part.mean() for part in self._open[:known]]) < _LEAST:
            return np.zeros((count, MOTION), np.float32)
        reference = self._reference(known)
        motions, last = np.empty((count, MOTION)), np.eye(2, 3, dtype=np.float32)
        for t in range(count):
            last = self._aligned(t, *reference, last)
            motions[t] = _motion(last, len(self._pictures[0]))
        parts = np.split(motions, starts)
        smooth = [gaussian_filter1d(x, _SMOOTH, axis=0, mode="nearest") for x in parts]
        return np.concatenate(smooth).astype(np.float32)

    def _reference(self, known: int):
        """(picture, where it shows a torso) that frames are aligned with."""
        import cv2

        some = np.unique(np.linspace(0, known - 1, _REFERENCES).round().astype(int))
        middle = some[len(some) // 2]
        first, side = (self._pictures[middle], self._open[middle]), len(self._open[0])
        total, weight = np.zeros((2, side, side), np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for t in some:
            warp = self._aligned(t, *first, np.eye(2, 3, dtype=np.float32))
            seen = self._open[t].astype(np.float32)
            picture = self._pictures[t] * seen
            total += cv2.warpAffine(picture, warp, (side, side), flags=flags)
            weight += cv2.warpAffine(seen, warp, (side, side), flags=flags)
        mean = np.where(weight > 0, total / np.maximum(weight, 1e-3), 128)
        return np.round(mean).clip(0, 255).astype(np.uint8), weight > 0.1 * len(some)

    def _aligned(self, t, picture, seen, last):
        """The warp [2, 3] from places of `picture` to those of frame t, in px; `last`
        where none fits."""
        import cv2

        mask = (self._open[t] & seen).astype(np.uint8)
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ROUNDS, 1e-5)
        try:
            fit, warp = cv2.findTransformECC(
                picture,
                self._pictures[t],
                last.copy(),
                cv2.MOTION_AFFINE,
                stop,
                mask,
                5,
            )
        except cv2.error:  # no texture, or it went out of the picture
            return last
        return warp if fit > _FITS else last


def _motion(warp: np.ndarray, side: int) -> np.ndarray:
    """[6] of a warp [2, 3] from the reference's pixels to a frame's: see `undone`."""
    turn = np.linalg.inv(warp[:, :2].astype(np.float64))
    middle = np.full(2, side / 2 - 0.5)
    shift = turn @ (middle - warp[:, 2]) - middle
    return np.concatenate([(turn - np.eye(2)).ravel(), shift / side])


def undone(motion, place):
    """Places [B, P, 2] in [0, 1] (column, row) of the reference, of those that frames show
    under motions [B, 6]: place + M (place - 1/2) + d, M [2, 2] row by row, then d."""
    turn = motion[:, None, :4].reshape(-1, 1, 2, 2)
    moved = (turn * (place - 0.5)[..., None, :]).sum(-1)
    return place + moved + motion[:, None, 4:]
