"""Videos against a reference video: `emogene evaluate`, several methods side by side.

Frames are compared by number at 25 fps, from the first on, as long as both videos last.
A generated video of another size is resized to the reference's. Nothing is aligned.
"""

import json
import os
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax.evaluate import metrics
from emogene_jax.evaluate.lip_sync import lip_sync
from emogene_jax.face.mesh import to_68
from emogene_jax.face.tracking import find_model, track_video
from emogene_jax.landmarks import FACE, MOUTH
from emogene_jax.media.video import iter_frames
from emogene_jax.signals import UserError

RULES = {
    "frames": "by number at 25 fps from the first on, as long as both videos last",
    "size": "another size is resized to the reference's (Lanczos)",
    "psnr": "dB, mean over frames; full = whole frame",
    "ssim": "mean over frames and R, G, B; Gaussian window 11x11, sigma 1.5",
    "lmd": "px of the reference's size, mean removed per frame; MediaPipe's points",
    "face": "hull of the reference's 68 landmarks",
    "mouth": "hull of the reference's 20 mouth landmarks, half as large again",
    "sync": "of each video's own sound: confidence in [0, 1] and frames by which the sound "
    "is late, by the built-in expert on landmarks; not SyncNet's LSE-C and LSE-D",
}
ABSENT = {
    "fid": "needs an Inception network, which is not built in",
    "lse": "needs SyncNet, which is not built in",
    "emotion": "needs an emotion classifier, which is not built in",
}


def evaluate(reference, generated: list, out=None, face_model=None) -> dict:
    """Prints a table, and writes it with its rules to `out` (JSON) if that is given.

    Args:
      reference: the true video.
      generated: one video a method.
      out: a file name, or None.
      face_model: MediaPipe's bundle; None = wherever it is found. Where it is nowhere,
        what needs landmarks is absent, with the reason.
    """
    result = {"reference": str(reference), "rules": RULES, "absent": dict(ABSENT)}
    model = _model(face_model, result["absent"])
    truth = _landmarks(reference, model, result["absent"])
    result["reference_sync"], _ = _sync(reference, face_model, model)
    result["methods"] = {}
    for name, path in _names(generated).items():
        row = _compare(reference, path, model, truth)
        row["sync"], note = _sync(path, face_model, model)
        row["notes"] += note
        result["methods"][name] = row
    print(table(result))
    if out is not None:
        _write(Path(out), result)
    return result


def table(result: dict) -> str:
    """The result as lines of text: one row a method, then notes and what is absent."""
    columns = [
        (metric, region)
        for metric in ("psnr", "ssim", "lmd", "sync")
        for region in ("full", "face", "mouth", "confidence", "offset")
        if any(region in row.get(metric, {}) for row in result["methods"].values())
    ]
    width = max(len("method"), *map(len, result["methods"]))
    head = [f"{metric}.{region}" for metric, region in columns]
    lines = ["  ".join(["method".ljust(width), "frames", *(f"{h:>10}" for h in head)])]
    for name, row in result["methods"].items():
        cells = (row.get(metric, {}).get(region) for metric, region in columns)
        texts = (
            f"{'-' if cell is None else f'{cell:.3f}':>{max(10, len(title))}}"
            for cell, title in zip(cells, head, strict=True)
        )
        lines.append("  ".join([name.ljust(width), f"{row['frames']:6d}", *texts]))
    for name, row in result["methods"].items():
        lines += [f"{name}: {note}" for note in row["notes"]]
    if sync := result["reference_sync"]:
        told = ", ".join(f"{name} {value:g}" for name, value in sync.items())
        lines.append(f"reference: sync {told}")
    lines += [f"absent: {what}: {why}" for what, why in result["absent"].items()]
    return "\n".join(lines)


def _names(paths: list) -> dict[str, Path]:
    """Methods by their file's name; by the whole path where names repeat."""
    stems = [Path(path).stem for path in paths]
    return {
        stem if stems.count(stem) == 1 else str(path): Path(path)
        for stem, path in zip(stems, paths)
    }


def _model(face_model, absent: dict):
    try:
        return find_model(face_model)
    except UserError as error:
        if face_model is not None:
            raise
        absent["lmd, face, mouth"] = absent["sync"] = str(error)
        return None


def _landmarks(path, model, absent: dict) -> np.ndarray | None:
    """[T, 68, 2] px, NaN where no face was found; None where there are none."""
    if model is None:
        return None
    try:
        return track_landmarks(iter_frames(path), model, str(path))
    except UserError as error:
        absent["lmd, face, mouth"] = str(error)
        return None


def track_landmarks(frames, model, name: str) -> np.ndarray:
    """[T, 68, 2] px of frames [H, W, 3], NaN where no face was found."""
    track = track_video(frames, model, name)
    return np.where(track.found[:, None, None], to_68(track.points)[..., :2], np.nan)


def _compare(reference, path, model, truth: np.ndarray | None) -> dict:
    """PSNR, SSIM and LMD of one video, by region, with notes on how it was compared."""
    values = {"psnr": {"full": []}, "ssim": {"full": []}}
    lengths = np.zeros(2, int)
    for image, true in zip_longest(iter_frames(path), iter_frames(reference)):
        lengths += (image is not None, true is not None)
        if image is None or true is None:
            continue
        size, true_size = image.shape[:2], true.shape[:2]
        image = _resize(image, true_size, path)
        masks = {"full": None}
        if truth is not None:
            masks |= metrics.region_masks(truth[lengths[0] - 1, None], *true_size)
        for metric, regions in metrics.by_region(
            true[None], image[None], masks
        ).items():
            for region, value in regions.items():
                values[metric].setdefault(region, []).append(value)
    count, absent = int(lengths.min()), {}
    result = {metric: _means(regions) for metric, regions in values.items()}
    found = None if truth is None else _landmarks(path, model, absent)
    if found is not None:
        pair = truth[:count], found[:count] * (np.array(true_size) / size)[::-1]
        result["lmd"] = _means(
            {
                "face": [metrics.lmd(*pair, FACE)],
                "mouth": [metrics.lmd(*pair, MOUTH)],
            }
        )
    notes = _notes(size, true_size, lengths)
    notes += [f"lmd is absent: {why}" for why in absent.values()]
    return {**result, "frames": count, "notes": notes}


def _sync(path, face_model, model) -> tuple[dict, list[str]]:
    """(how well its lips say its sound, notes on why that can't be told) of a video."""
    if model is None:  # it has been looked for once, and its absence is said
        return {}, []
    try:
        return lip_sync(path, face_model), []
    except UserError as error:
        return {}, [f"sync is absent: {error}"]


def _means(regions: dict[str, list]) -> dict[str, float]:
    """Means that exist, rounded to what can be told apart."""
    means = {
        region: np.nanmean(values)
        for region, values in regions.items()
        if not np.isnan(values).all()
    }
    return {region: round(float(mean), 4) for region, mean in means.items()}


def _resize(image: np.ndarray, shape: tuple, path) -> np.ndarray:
    height, width = shape
    if image.shape[:2] == shape:
        return image
    if abs(image.shape[1] / image.shape[0] - width / height) > 0.02 * width / height:
        raise UserError(
            f"{path}: {image.shape[1]}x{image.shape[0]} px, expected the reference's "
            f"{width}x{height} or the same shape at another size"
        )
    picture = Image.fromarray(image)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


def _notes(size: tuple, true_size: tuple, lengths: np.ndarray) -> list[str]:
    """What the rules had to do to this video; lengths = its frames, the reference's."""
    notes = []
    if size != true_size:
        (height, width), (true_height, true_width) = size, true_size
        notes.append(f"resized from {width}x{height} to {true_width}x{true_height} px")
    if lengths[0] != lengths[1]:
        notes.append(
            f"{lengths[0]} frames against the reference's {lengths[1]}: the first "
            f"{lengths.min()} were compared"
        )
    return notes


def _write(out: Path, result: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_text(json.dumps(result, indent=2) + "\n")
    os.replace(partial, out)
