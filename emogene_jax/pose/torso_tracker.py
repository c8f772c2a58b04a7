"""Where shoulders and collar are: one affine motion of the torso a frame, tracked.

A head's pose does not tell it. Every frame's torso is aligned with one picture of it, the
mean of some that may be learned from (Lucas and Kanade 1981, with robust weights): nothing
drifts, and no frame is compared with the one before it. Where there is little to see, as of
a dark suit, it stays near that picture's place.

What a motion is, torso.py says.
"""

from typing import NamedTuple

import numpy as np

from emogene_jax.pose.torso import MOTION, undone

_WORK = 160  # px at most, at which torsos are aligned
_LEAST = 0.02  # of the picture: less of a torso can't be followed
_REFERENCES = 40  # frames of which the mean is the picture to align with
_BLURS = (3.0, 1.0)  # px, sigma of the pictures that are aligned, coarse to fine
_ROUNDS = 3  # of the alignment of a frame at each of them, at most
_DONE = 1e-4  # a step of less, a hundredth of a pixel, changes nothing
_NOISE = 6.0  # grey levels by which a pixel is off
_TOGETHER = 25  # pixels that are off together
# How far a torso usually is from the reference's place: matrix and shift.
_USUAL = np.array([0.03] * 4 + [0.05] * 2)
_SMOOTH = 1.0  # frames


class TorsoTracker:
    """Follows a torso through a portrait's stretches: 29 KB of each frame are kept."""

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
            self._open.append(np.packbits((covered < 32) & (near > 32)))

    def _is_open(self, t: int) -> np.ndarray:
        """[S, S] bool: where frame t shows its torso, and not under the head."""
        shape = self._pictures[t].shape
        flat = np.unpackbits(self._open[t], count=shape[0] * shape[1])
        return flat.reshape(shape).astype(bool)

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
        from scipy.ndimage import gaussian_filter1d

        count = len(self._pictures)
        if np.mean([self._is_open(t).mean() for t in range(known)]) < _LEAST:
            return np.zeros((count, MOTION), np.float32)
        reference = self._reference(known)
        motions, last = np.empty((count, MOTION)), np.zeros(MOTION)
        for t in range(count):
            last = np.zeros(MOTION) if t in starts else last
            last = self._aligned(t, reference, last)
            motions[t] = _inverse(last)
        parts = np.split(motions, starts)
        smooth = [gaussian_filter1d(x, _SMOOTH, axis=0, mode="nearest") for x in parts]
        return np.concatenate(smooth).astype(np.float32)

    def _reference(self, known: int) -> "_Seen":
        """What frames are aligned with."""
        some = np.unique(np.linspace(0, known - 1, _REFERENCES).round().astype(int))
        top = np.any([self._is_open(t) for t in some], (0, 2)).argmax()
        places = _places(len(self._pictures[0]))[:, top:]
        middle = some[len(some) // 2]
        first = self._pictures[middle][top:], self._is_open(middle)[top:]
        first = _Seen(first[0].astype(np.float32), first[1], places)
        total, weight = 0.0, 0.0
        for t in some:
            motion = self._aligned(t, first, np.zeros(MOTION))
            picture = self._pictures[t].astype(np.float32)
            grey, is_open = _look(picture, self._is_open(t), places, motion)
            total, weight = total + is_open * grey, weight + is_open
        mean = np.where(weight > 0, total / np.maximum(weight, 1e-3), 128)
        return _Seen(mean.astype(np.float32), weight > 0.1 * len(some), places)

    def _aligned(self, t: int, reference: "_Seen", last) -> np.ndarray:
        """The motion [6] from places of the reference to those of frame t, of which `last`
        is not far."""
        import cv2

        motion, picture = last, self._pictures[t].astype(np.float32)
        is_open = self._is_open(t)
        for blur in _BLURS:
            wanted, blurred = (
                cv2.GaussianBlur(part, (0, 0), blur)
                for part in (reference.picture, picture)
            )
            for _ in range(_ROUNDS):
                grey, seen = _look(blurred, is_open, reference.places, motion)
                mask = seen & reference.is_open
                step = _step(grey, wanted, mask, reference.places, motion)
                motion = motion + step
                if np.abs(step).max() < _DONE:
                    break
        return motion


class _Seen(NamedTuple):
    """A torso, in the rows that show it."""

    picture: np.ndarray  # [H, W] float32 grey levels
    is_open: np.ndarray  # [H, W] bool: torso, and not under the head
    places: np.ndarray  # [1, H, W, 2]


def _look(picture, is_open, places, motion):
    """Grey levels of a frame's picture [S, S] and whether it is_open there, [H, W] each, at
    places [1, H, W, 2] under a motion [6]."""
    import cv2

    side = len(picture)
    at = undone(motion[None], places.reshape(1, -1, 2)) * side - 0.5
    at = at.reshape(places.shape[1:]).astype(np.float32)
    grey = cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderValue=128)
    seen = cv2.remap(is_open.astype(np.float32), at, None, cv2.INTER_LINEAR)
    return grey, seen > 0.5


def _step(grey, wanted, mask, places, motion) -> np.ndarray:
    """By how much a motion [6] is to change: grey [H, W], seen under it, is to become
    `wanted` in the mask [H, W]."""
    slope = np.gradient(0.5 * (grey + wanted))
    down, across = (grey.shape[1] * part[mask] for part in slope)
    x, y = (places[0][mask].astype(np.float32) - 0.5).T
    # Light changes: so do the picture's mean and contrast.
    level = np.ones_like(x), wanted[mask] - 128
    rows = across * x, across * y, down * x, down * y, across, down, *level
    rows, off = np.stack(rows), (grey - wanted)[mask]
    weighted = rows / (_NOISE**2 + off**2) / _TOGETHER
    prior = np.concatenate([_USUAL**-2.0, [1e-2, 1.0]])
    gradient = weighted @ off + prior * np.concatenate([motion, [0, 0]])
    return -np.linalg.solve(weighted @ rows.T + np.diag(prior), gradient)[:MOTION]


def _places(side: int) -> np.ndarray:
    """[1, side, side, 2]: of a picture's pixels."""
    row, column = np.mgrid[:side, :side]
    return (np.stack([column, row], -1)[None] + 0.5) / side


def _inverse(motion: np.ndarray) -> np.ndarray:
    """The motion [6] that undoes a motion."""
    turn = np.linalg.inv(np.eye(2) + motion[:4].reshape(2, 2))
    return np.concatenate([(turn - np.eye(2)).ravel(), -turn @ motion[4:]])
