"""Head, torso and background of a portrait.

A network says which pixels are of people (face.segmentation); the one whose face is tracked
stays, smoothed over time, and a guided filter carries the edges to the full size (K. He,
J. Sun, X. Tang, "Guided image filtering", 2010). The jaw line parts head from torso.

`frames` are [T, S, S, 3] uint8, in memory or on disk (pictures.py): single ones and short
stretches are asked for, never all.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from emogene_jax.face import mesh as lm
from emogene_jax.face.segmentation import SIDE
from emogene_jax.signals import UserError

_NEAR = 6  # px of SIDE around a person, in which soft edges are theirs
_HAIR = 0.12  # face widths beside the ears, as far as hair reaches down there
_CHEEK = 0.04  # face widths, that the cheeks' contour is beside the mesh's
_EARS = [234, 454]  # points of the mesh
_SMOOTH = 0.6  # frames, sigma of the mattes' Gaussian over time
_REACH = 2  # frames, to which that Gaussian reaches


def _opencv():
    try:
        import cv2

        cv2.ximgproc.guidedFilter  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cv2: {error}, expected opencv-contrib-python, which mediapipe brings"
        ) from None
    return cv2


def cut_out(
    segment: Callable, frames, points: np.ndarray, parts: Iterable[tuple[int, int]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The person in successive stretches of frames, smoothed over time among them.

    Args:
      segment: see face.segmentation.open_segmenter.
      points: [T, 478, 2] px of these frames: the tracked mesh.
      parts: [(start, stop)], one after the other.

    Yields:
      frames [n, S, S, 3], head [n, S, S] (255 = face, hair, ears) and torso (255 = neck,
      clothes), all uint8, of each stretch.
    """
    cv2, size, parts = _opencv(), frames.shape[1], list(parts)
    first, last = parts[0][0], parts[-1][1]
    rough = np.zeros((0, SIDE, SIDE), np.float32)  # of the frames from `first` on
    for start, stop in parts:
        done, ahead = first + len(rough), min(stop + _REACH, last)
        pictures = frames[start:ahead]
        new = _people(cv2, segment, pictures[done - start :], points[done:ahead])
        rough = np.concatenate([rough, new])
        smooth = gaussian_filter1d(rough, _SMOOTH, axis=0, radius=_REACH)
        pictures, smooth = pictures[: stop - start], smooth[start - first :]
        head, torso = np.empty((2, *pictures.shape[:3]), np.uint8)
        for i, (frame, face) in enumerate(zip(pictures, points[start:stop])):
            matte = _refine(cv2, frame, smooth[i])
            above = above_jaw(cv2, face, size)
            own = hanging(cv2, smooth[i] > 0.5, face * (SIDE / size))
            above *= cv2.resize(own, (size, size), interpolation=cv2.INTER_LINEAR)
            head[i] = np.round(255 * matte * above)
            torso[i] = np.round(255 * matte) - head[i]
        yield pictures, head, torso
        rough = rough[max(0, stop - _REACH - first) :]
        first = ahead - len(rough)


def _people(cv2, segment, frames, points) -> np.ndarray:
    """How likely a pixel of frames [T, S, S, 3] is of the person whose mesh is [T, 478, 2]:
    [T, SIDE, SIDE] float32."""
    result = np.empty((len(frames), SIDE, SIDE), np.float32)
    for i, (frame, face) in enumerate(zip(frames, points)):
        likely = segment(cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        at = np.round(face * (SIDE / len(frame))).astype(np.int32)
        # The network may miss whom the tracker sees.
        cv2.fillPoly(likely, [at[list(lm.FACE_OVAL)]], 1.0)
        solid = _one_of(cv2, likely > 0.5, at)
        far = distance_transform_edt(~solid) > _NEAR
        likely[solid & (likely <= 0.5)] = 1  # a hole
        result[i] = np.where(far, 0, likely)
    return result


def _face_frame(points: np.ndarray):
    """(chin [2], right [2], up [2], width) of a face [478, 2], in px."""
    chin, right = points[152], points[454] - points[234]
    up, width = points[10] - chin, np.linalg.norm(right)
    return chin, right / width, up / np.linalg.norm(up), width


def _one_of(cv2, mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The piece of a mask [H, W] that a face [478, 2] int px lies in, without holes."""
    count, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    if count > 2:
        column, row = np.clip(points, 0, len(mask) - 1).T
        votes = np.bincount(pieces[row, column], minlength=count)[1:]
        mask = pieces == 1 + np.argmax(votes)
    # Background is what is reached from the top; the bottom edge closes holes.
    padded = np.pad(~mask, ((1, 0), (1, 1)), constant_values=True)
    _, outside = cv2.connectedComponents(padded.astype(np.uint8), connectivity=4)
    return outside[1:, 1:-1] != outside[0, 0]


def _masked_median(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median [P, C] over time of values [T, P, C] where mask [T, P]; each pixel must
    be in the mask at least once."""
    ordered = np.sort(np.where(mask[..., None], values, np.float32(np.inf)), axis=0)
    middle = (mask.sum(0) - 1) // 2
    return ordered[middle, np.arange(values.shape[1])]


def _refine(cv2, frame: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Matte [H, H] in [0, 1] at the frame's size, its soft edge along the picture's."""
    size = len(frame)
    matte = cv2.resize(rough, (size, size), interpolation=cv2.INTER_LINEAR)
    matte = np.clip((matte - 0.5) * 4 + 0.5, 0, 1)
    radius = max(2, size // 85)
    soft = cv2.ximgproc.guidedFilter(frame, matte, radius, 60.0)
    return np.clip((soft - 0.5) * 1.3 + 0.5, 0, 1)


def above_jaw(cv2, points: np.ndarray, size: int) -> np.ndarray:
    """[size, size] in [0, 1]: 1 above the jaw line, which runs level beside the ears, as
    far as hair does, and from there up, above shoulders."""
    jaw = points[list(lm.JAW_LINE)]
    chin, right, up, width = _face_frame(points)
    # The mesh ends a little inside the cheeks' contour.
    jaw = jaw + 0.08 * ((jaw - chin) @ right)[:, None] * right
    beside, away, high = (share * width for share in (_HAIR * right, 3 * right, 3 * up))
    ends = [jaw[0] - beside, jaw[-1] + beside]
    above = [ends[1] + away + high, ends[0] - away + high]
    polygon = np.concatenate([ends[:1], jaw, ends[1:], above])
    mask = np.zeros((size, size), np.float32)
    # Sixteenths of a pixel; OpenCV's pixel centres are whole numbers.
    fixed = np.round((polygon - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1.0, lineType=cv2.LINE_8, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), max(0.5, size / 256))


def hanging(cv2, person: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[H, H] in [0, 1]: 0 where a person [H, H] bool with a face at points [478, 2] px does
    not reach down from the ears' level without a gap. There are shoulders, as high as they
    may rise beside the jaw; hair hangs from above."""
    chin, right, up, width = _face_frame(points)
    rows, columns = np.mgrid[: len(person), : len(person)] + 0.5
    away = np.stack([columns, rows], -1) - chin
    height, column = away @ up, np.round(away @ right).astype(int)
    column -= column.min()
    below = height < ((points[_EARS] - chin) @ up).mean()
    gap = np.full(
        column.max() + 1, -np.inf
    )  # the highest of each of the face's columns
    empty = below & ~person
    np.maximum.at(gap, column[empty], height[empty])
    face = np.zeros(person.shape, np.uint8)
    at = np.round(points[list(lm.FACE_OVAL)]).astype(np.int32)
    reach = 2 * max(1, round(_CHEEK * width)) + 1
    cv2.fillPoly(face, [at], 1)
    face = cv2.dilate(face, np.ones((reach, reach), np.uint8)) > 0
    own = (face | ~below | (height > gap[column])).astype(np.float32)
    return cv2.GaussianBlur(own, (0, 0), 1)


def background_rows(count: int) -> range:
    """Which of so many frames of a clip show its background well enough."""
    return range(0, count, max(1, count // 40))


def fill_background(frames, head, torso) -> np.ndarray:
    """Background [H, W, 3] uint8: the median of what is seen over the clip, smoothly
    continued where the person always stands in front."""
    step, size = background_rows(len(frames)).step, frames.shape[1]
    person = head[::step] // 2 + torso[::step] // 2 > 3
    away = np.stack([distance_transform_edt(~mask) > size / 100 for mask in person])
    seen = away.sum(0) >= max(1, 0.05 * len(away))
    picture = np.zeros(frames.shape[1:], np.float32)
    picture[seen] = _masked_median(frames[::step][:, seen], away[:, seen])
    return np.round(_push_pull(picture, seen)).astype(np.uint8)


def _push_pull(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """picture [H, W, 3] with its unknown pixels filled from ever coarser averages."""
    weight = known.astype(np.float32)[..., None]
    filled, sigma = picture * weight, 1.0
    total = weight.copy()
    while total.min() < 1e-3 and sigma < max(known.shape):
        blurred = gaussian_filter(picture * weight, (sigma, sigma, 0))
        amount = gaussian_filter(weight, (sigma, sigma, 0))
        take = np.clip(1 - total, 0, 1) * np.minimum(1, 4 * amount)
        filled = filled + take * blurred / np.maximum(amount, 1e-6)
        total = total + take
        sigma *= 1.6
    return np.where(weight > 0, picture, filled / np.maximum(total, 1e-6))
