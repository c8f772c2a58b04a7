"""Head, torso and background of a portrait, without a segmentation model.

Landmarks seed a graph cut (GrabCut) on a few key frames; what it finds teaches colour
histograms, a background plate and a shape prior, from which every frame gets its person
matte; the jaw line then parts head from torso. Works at about 256 px; the guided filter
carries the edges to the full size.

`frames` are [T, S, S, 3] uint8, in memory or on disk (pictures.py): single ones and short
stretches are asked for, never all.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from emogene_jax.face import mesh as lm
from emogene_jax.signals import UserError

_WORK = 256  # px, at which colours are judged
_KEYS = 9  # key frames cut by graph
_NEAR = 6  # px around what moves, in which the graph cut may find more
_BINS = 32  # of the colour histograms, a channel
_SMOOTH = 0.6  # frames, sigma of the mattes' Gaussian over time
_REACH = 2  # frames, to which that Gaussian reaches


class MatteModel(NamedTuple):
    """What one clip with a fixed camera teaches about person and background, at
    H = W = _WORK px."""

    faces: np.ndarray  # [K, 478, 2] px: the mesh in the key frames
    shapes: (
        np.ndarray
    )  # [K, H, W] float32 px: how far inside the person's outline there
    person: np.ndarray  # [2, B, B, B] log density of colours, above and below the chin
    behind: np.ndarray  # [2, B, B, B] density of the background's
    plate: np.ndarray  # [H, W, 3] float32, the background where it is seen
    noise: np.ndarray  # [H, W] float32 of it; infinite where it is not


def _opencv():
    try:
        import cv2

        cv2.ximgproc.guidedFilter  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cv2: {error}, expected opencv-contrib-python, which mediapipe brings"
        ) from None
    return cv2


def learn_matting(frames, points: np.ndarray, clip: range) -> MatteModel:
    """What the frames `clip` of one fixed camera teach, and no other frame.

    Args:
      points: [T, 478, 2] px of these frames: the tracked mesh.
    """
    cv2 = _opencv()
    at = points[clip.start : clip.stop] * (_WORK / frames.shape[1])

    def read(number):
        return _small(cv2, frames[clip[number]])

    keys = np.unique(np.linspace(0, len(at) - 1, _KEYS).astype(int))
    pictures, faces = np.stack([read(key) for key in keys]), at[keys]
    cuts = _cut_key_frames(cv2, read, pictures, at, keys)
    edges = [distance_transform_edt(x) - distance_transform_edt(~x) for x in cuts]
    shapes = np.stack(edges).astype(np.float32)
    prior, below = _shape_prior(cv2, faces, shapes, faces), _below_chin(faces)
    person, behind = (
        np.stack([_histogram(pictures[chosen & part]) for part in (~below, below)])
        for chosen in (prior > 1, prior < -1)
    )
    some = np.arange(0, len(at), max(1, len(at) // 60))
    away = _shape_prior(cv2, faces, shapes, at[some]) < -3.5
    plate = _background_plate(np.stack([read(number) for number in some]), away)
    return MatteModel(faces, shapes, np.log(person), behind, *plate)


def cut_out(
    model: MatteModel, frames, points: np.ndarray, parts: Iterable[tuple[int, int]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The person in successive stretches of frames, smoothed over time among them.

    Args:
      points: [T, 478, 2] px of these frames: the tracked mesh.
      parts: [(start, stop)], one after the other.

    Yields:
      frames [n, S, S, 3], head [n, S, S] (255 = face, hair, ears) and torso (255 = neck,
      clothes), all uint8, of each stretch.
    """
    cv2, size, parts = _opencv(), frames.shape[1], list(parts)
    first, last = parts[0][0], parts[-1][1]
    rough = np.zeros((0, _WORK, _WORK), np.float32)  # of the frames from `first` on
    for start, stop in parts:
        done, ahead = first + len(rough), min(stop + _REACH, last)
        pictures = frames[start:ahead]
        new = _judge(cv2, model, pictures[done - start :], points[done:ahead])
        rough = np.concatenate([rough, new])
        smooth = gaussian_filter1d(rough, _SMOOTH, axis=0, radius=_REACH)
        pictures, smooth = pictures[: stop - start], smooth[start - first :]
        head, torso = np.empty((2, *pictures.shape[:3]), np.uint8)
        for i, (frame, face) in enumerate(zip(pictures, points[start:stop])):
            matte = _refine(cv2, frame, smooth[i])
            head[i] = np.round(255 * matte * above_jaw(cv2, face, size))
            torso[i] = np.round(255 * matte) - head[i]
        yield pictures, head, torso
        rough = rough[max(0, stop - _REACH - first) :]
        first = ahead - len(rough)


def _small(cv2, frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (_WORK, _WORK), interpolation=cv2.INTER_AREA)


def _face_frame(points: np.ndarray):
    """(chin [2], right [2], up [2], width, height) of a face [478, 2], in px."""
    chin, top = points[152], points[10]
    right = points[454] - points[234]
    width, height = np.linalg.norm(right), np.linalg.norm(top - chin)
    return chin, right / width, (top - chin) / height, width, height


def _seed(cv2, points: np.ndarray) -> np.ndarray:
    """GrabCut's labels [_WORK, _WORK] from a face [478, 2]."""
    chin, right, up, width, height = _face_frame(points)
    row, column = np.mgrid[:_WORK, :_WORK] + 0.5
    x = ((column - chin[0]) * right[0] + (row - chin[1]) * right[1]) / width
    y = ((column - chin[0]) * up[0] + (row - chin[1]) * up[1]) / height
    # Around the head (y from the chin, in face heights), and the shoulders below it.
    beside = np.maximum(np.abs(x) - 0.45, 0)
    head = (x / 1.0) ** 2 + ((y - 0.6) / 1.05) ** 2 < 1
    shoulders = y < 0.2 - 0.2 * beside
    likely_head = (x / 0.62) ** 2 + ((y - 0.62) / 0.72) ** 2 < 1
    likely_torso = (y < -0.08 - 0.35 * beside) & (beside < 1.1)
    neck = (y < 0.02) & (y > -0.2) & (np.abs(x) < 0.25)
    core = (y < -0.2 - 0.4 * beside) & (beside < 0.75)
    face = np.zeros((_WORK, _WORK), np.uint8)
    centre = points[list(lm.FACE_OVAL)].mean(0)
    oval = centre + 0.93 * (points[list(lm.FACE_OVAL)] - centre)
    cv2.fillPoly(face, [np.round(oval).astype(np.int32)], 1)
    label = np.full((_WORK, _WORK), cv2.GC_BGD, np.uint8)
    label[head | shoulders] = cv2.GC_PR_BGD
    label[likely_head | likely_torso] = cv2.GC_PR_FGD
    label[(face > 0) | neck | core] = cv2.GC_FGD
    return label


def _motion(cv2, read, now, points, key) -> np.ndarray:
    """Evidence [H, W] that a pixel of one frame goes along with the head (> 0) or
    stands still (< 0): the logarithm of how much better other frames match it there
    when they are moved along. 0 everywhere in a clip without movement."""
    stable = np.array(lm.STABLE)
    now = now.astype(np.float32)
    still, along = [], []

    def mismatch(picture):
        return cv2.GaussianBlur(((picture - now) ** 2).sum(-1), (0, 0), 2.0)

    def moved(picture, matrix):
        # What comes from outside the picture says nothing: it stands still.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return mismatch(
            cv2.warpAffine(
                picture,
                matrix,
                now.shape[:2],
                dst=picture.copy(),
                flags=flags,
                borderMode=cv2.BORDER_TRANSPARENT,
            )
        )

    distance = np.linalg.norm((points - points[key])[:, stable].mean(1), axis=-1)
    others = np.flatnonzero((distance > 3) & (distance < 14))
    if len(others) < 3:
        return np.zeros((_WORK, _WORK), np.float32)
    for other in others[np.linspace(0, len(others) - 1, 20).astype(int)]:
        matrix, _ = cv2.estimateAffinePartial2D(
            points[key, stable], points[other, stable]
        )
        shift = (points[other, stable] - points[key, stable]).mean(0)
        # Hair and shoulders follow the face part of the way.
        part = [np.eye(2, 3) + a * np.c_[np.zeros((2, 2)), shift] for a in (0.35, 0.75)]
        picture = read(other).astype(np.float32)
        still.append(mismatch(picture))
        along.append(np.min([moved(picture, m) for m in (matrix, *part)], axis=0))
    floor = 60.0  # what compression alone makes of a pixel
    still, along = np.median(still, axis=0), np.median(along, axis=0)
    return np.log((still + floor) / (along + floor))


def _cut_key_frames(cv2, read, pictures, points, keys) -> np.ndarray:
    """Person masks [N, H, W] bool of the key frames' pictures [N, H, W, 3], cut together:
    one colour model. read(number) gives any frame."""
    labels, ellipse = [], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    for key, picture in zip(keys, pictures, strict=True):
        label = _seed(cv2, points[key])
        motion = _motion(cv2, read, picture, points, key)
        goes_along = cv2.erode((motion > 0.5).astype(np.uint8), ellipse) > 0
        goes_along &= label != cv2.GC_BGD
        if goes_along.any():  # a moving head shows its outline: the rest is far from it
            likely = (label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD)
            far = distance_transform_edt(~(goes_along | likely)) > _NEAR
            label[far & ~_below_chin(points[key][None])[0]] = cv2.GC_BGD
        label[goes_along] = cv2.GC_FGD
        label[(motion < -0.4) & (label != cv2.GC_FGD)] = cv2.GC_BGD
        labels.append(label)
    side = int(np.ceil(np.sqrt(len(keys))))
    empty = side**2 - len(keys)
    labels += [np.full_like(labels[0], cv2.GC_BGD)] * empty
    pictures = np.concatenate([pictures, pictures[:1].repeat(empty, 0)])
    label = _tile(np.stack(labels), side)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(_tile(pictures, side), label, None, *models, 4, cv2.GC_INIT_WITH_MASK)
    person = (label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD)
    tiles = person.reshape(side, _WORK, side, _WORK).swapaxes(1, 2)
    tiles = tiles.reshape(-1, _WORK, _WORK)[: len(keys)]
    return np.stack(
        [
            _clean(cv2, _solid_torso(mask, points[key]))
            for mask, key in zip(tiles, keys, strict=True)
        ]
    )


def _below_chin(points: np.ndarray) -> np.ndarray:
    """[N, H, 1] bool: the rows below the chin of faces [N, 478, 2]."""
    return (np.arange(_WORK) + 0.5 > points[:, 152, 1, None])[..., None]


def _tile(pictures: np.ndarray, side: int) -> np.ndarray:
    """[side * H, side * W, ...] of side**2 pictures [N, H, W, ...]."""
    rows = pictures.reshape(side, side, *pictures.shape[1:])
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def _solid_torso(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Below the chin, whatever is under a shoulder is of the person, too."""
    chin = int(np.clip(points[152, 1], 0, len(mask) - 1))
    solid = mask.copy()
    solid[chin:] = np.maximum.accumulate(mask[chin:], axis=0)
    return solid


def _clean(cv2, mask: np.ndarray) -> np.ndarray:
    """The largest piece, without holes."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count > 1:
        mask = pieces == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    # Background is what is reached from the top; the bottom edge closes holes.
    padded = np.pad(~mask, ((1, 0), (1, 1)), constant_values=True)
    _, outside = cv2.connectedComponents(padded.astype(np.uint8), connectivity=4)
    return outside[1:, 1:-1] != outside[0, 0]


def _background_plate(pictures, away):
    """(plate [H, W, 3] float32, noise [H, W] float32, infinite where it is unknown)
    from the pixels away [N, H, W] from the person in pictures [N, H, W, 3]."""
    plate = np.zeros(pictures.shape[1:], np.float32)
    noise = np.full(pictures.shape[1:3], np.inf, np.float32)
    seen = away.sum(0) >= max(1, 0.05 * len(pictures))
    pictures, away = pictures[:, seen].astype(np.float32), away[:, seen]
    plate[seen] = _masked_median(pictures, away)
    deviation = _masked_median(np.abs(pictures - plate[seen]), away).mean(-1)
    noise[seen] = 4.0 + 2.5 * deviation
    return plate, noise


def _masked_median(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median [P, C] over time of values [T, P, C] where mask [T, P]; each pixel must
    be in the mask at least once."""
    ordered = np.sort(np.where(mask[..., None], values, np.float32(np.inf)), axis=0)
    middle = (mask.sum(0) - 1) // 2
    return ordered[middle, np.arange(values.shape[1])]


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """Colour density [_BINS, _BINS, _BINS] (sum 1) of pixels [N, 3] uint8, smoothed."""
    count, _ = np.histogramdd(pixels, bins=_BINS, range=[(0, 256)] * 3)
    density = gaussian_filter(count, 1.0, mode="nearest")
    return (density / max(density.sum(), 1.0) + 1e-7).astype(np.float32)


def _judge(cv2, model: MatteModel, frames, points) -> np.ndarray:
    """Probability [T, H, W] float32 that a pixel of frames [T, S, S, 3] with meshes
    [T, 478, 2] is of the person."""
    at = points * (_WORK / frames.shape[1])
    prior, below = _shape_prior(cv2, model.faces, model.shapes, at), _below_chin(at)
    known = np.isfinite(model.noise)
    noise = np.where(known, model.noise, 1.0)
    volume = (256 / _BINS) ** 3 / (noise * np.sqrt(2 * np.pi)) ** 3
    result = np.empty(prior.shape, np.float32)
    for i, (frame, face, shape, part) in enumerate(zip(frames, at, prior, below)):
        frame = _small(cv2, frame)
        colour = (part.astype(int), *np.moveaxis(frame // (256 // _BINS), -1, 0))
        of_back = model.behind[colour]
        square = ((frame - model.plate) ** 2).sum(-1) / noise**2
        of_plate = volume * np.exp(-np.minimum(square, 60) / 2)
        of_back = np.where(known, 0.1 * of_back + 0.9 * of_plate, of_back)
        odds = np.clip(model.person[colour] - np.log(of_back + 1e-7), -4, 4) + shape
        likely = (1 / (1 + np.exp(-odds))).astype(np.float32)
        likely = cv2.ximgproc.guidedFilter(frame, likely, 3, 40.0)
        solid = _clean(cv2, _solid_torso(likely > 0.5, face))
        result[i] = np.where(solid, np.maximum(likely, 0.51), 0)
    return result


def _shape_prior(cv2, faces, shapes, points) -> np.ndarray:
    """Log-odds [T, H, W] of the person around meshes [T, 478, 2] from the shapes [K, H, W]
    at the key frames' faces [K, 478, 2] nearest in pose, moved along with the head above
    the chin and less below it."""
    stable = np.array(lm.STABLE)
    row, column = np.mgrid[:_WORK, :_WORK].astype(np.float32) + 0.5
    result = np.zeros((len(points), _WORK, _WORK), np.float32)
    for face, odds in zip(points, result, strict=True):  # odds: a view
        distance = np.linalg.norm(faces[:, stable] - face[stable], axis=-1)
        chin, _, _, _, height = _face_frame(face)
        follow = np.clip(1 - 0.6 * (row - chin[1]) / height, 0.4, 1).astype(np.float32)
        moved = []
        for key in np.argsort(distance.mean(-1))[:5]:
            matrix, _ = cv2.estimateAffinePartial2D(face[stable], faces[key][stable])
            m = matrix.astype(np.float32)
            x = m[0, 0] * column + m[0, 1] * row + m[0, 2]
            y = m[1, 0] * column + m[1, 1] * row + m[1, 2]
            x = column + follow * (x - column) - 0.5
            y = row + follow * (y - row) - 0.5
            moved.append(
                cv2.remap(
                    shapes[key], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
            )
        odds[:] = np.median(moved, axis=0) / 2.0
    return np.clip(result, -7, 7)


def _refine(cv2, frame: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Matte [H, H] in [0, 1] at the frame's size, its soft edge along the picture's."""
    size = len(frame)
    matte = cv2.resize(rough, (size, size), interpolation=cv2.INTER_LINEAR)
    matte = np.clip((matte - 0.5) * 4 + 0.5, 0, 1)
    radius = max(2, size // 85)
    soft = cv2.ximgproc.guidedFilter(frame, matte, radius, 60.0)
    return np.clip((soft - 0.5) * 1.3 + 0.5, 0, 1)


def above_jaw(cv2, points: np.ndarray, size: int) -> np.ndarray:
    """[size, size] in [0, 1]: 1 above the jaw line, which runs level beside the ears."""
    jaw = points[list(lm.JAW_LINE)]
    chin, right, _, width, _ = _face_frame(points)
    # The mesh ends a little inside the cheeks' contour.
    jaw = jaw + 0.08 * ((jaw - chin) @ right)[:, None] * right
    left_end, right_end = jaw[0] - 3 * width * right, jaw[-1] + 3 * width * right
    top = np.array([[right_end[0], -size], [left_end[0], -size]])
    polygon = np.concatenate([[left_end], jaw, [right_end], top])
    mask = np.zeros((size, size), np.float32)
    # Sixteenths of a pixel; OpenCV's pixel centres are whole numbers.
    fixed = np.round((polygon - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1.0, lineType=cv2.LINE_8, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), max(0.5, size / 256))


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
