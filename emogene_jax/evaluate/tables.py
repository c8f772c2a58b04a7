"""Numbers of many clips and methods as tables: means with intervals, in Markdown and CSV.

A table's columns are methods and its rows metrics, but for those laid out as the paper's.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from emogene_jax.evaluate.compare import Clip
from emogene_jax.evaluate.geometry import CROP_EYES, CROP_SIZE
from emogene_jax.evaluate.networks import EVERY, frechet_distance
from emogene_jax.signals import FPS

RESAMPLES = 2000
FEWEST = 4  # clips, below which stretches of them are drawn instead


class Metric(NamedTuple):
    """What a number is."""

    label: str
    unit: str
    better: int  # 1: more is; -1: less is; 0: neither, see `meaning`
    alignment: str
    meaning: str


_PLACED = "none: pixel by pixel"
_CROP = (
    f"crops of {CROP_SIZE} px by the first frame's eyes and nose bridge, outer eye corners "
    f"{CROP_EYES:.0f} px apart; mean removed per frame"
)
METRICS = {
    "psnr": Metric("PSNR", "dB", 1, _PLACED, "mean of the frames' own PSNR"),
    "ssim": Metric(
        "SSIM", "", 1, _PLACED, "Gaussian window 11x11, sigma 1.5; mean over R, G, B"
    ),
    "lpips": Metric(
        "LPIPS", "", -1, _PLACED, f"version 0.1 on AlexNet; one frame of {EVERY}"
    ),
    "fid": Metric(
        "FID",
        "",
        -1,
        "none",
        f"Inception of 2015; one frame of {EVERY}, all clips in one",
    ),
    "lmd": Metric(
        "LMD",
        "px",
        -1,
        "mean removed per frame; scale and rotation stay",
        "the NeRF line's; MediaPipe's points, not FAN's; grows with the size",
    ),
    "aligned_lmd": Metric(
        "M-/F-LMD",
        "px",
        -1,
        _CROP,
        "EAT's; frames by number, not resampled; MediaPipe's points, not dlib's",
    ),
    "sync": Metric(
        "sync",
        "",
        1,
        "none",
        "of a video's own sound, by the built-in expert; not SyncNet",
    ),
    "syncnet": Metric(
        "SyncNet",
        "",
        1,
        "box of the 68 landmarks, 224 px",
        "LSE-C, LSE-D, own weights; padded with zeros as published: compare equal lengths",
    ),
    "identity": Metric(
        "identity",
        "",
        -1,
        "dlib's chip of 150 px",
        f"distance of dlib's descriptors, frame by frame, one of {EVERY}; < .6: one person",
    ),
    "expression": Metric(
        "expression",
        "",
        1,
        "box of the face's mesh, 64 px",
        f"what a network reads, one frame of {EVERY}; asked: its probability of the "
        "emotion in the clip's name, to be compared with the reference's own; agreement: "
        "what it reads in both. anger and disgust, fear and surprise are one each",
    ),
    "jitter": Metric(
        "jitter",
        "px",
        -1,
        _CROP,
        "second difference over time of the still points' error",
    ),
    "flicker": Metric(
        "flicker",
        "of 255",
        -1,
        _PLACED,
        "change to the next frame that the truth has not",
    ),
    "sharpness": Metric(
        "sharpness", "", 0, _PLACED, "Laplacian energy over the reference's; 1 is best"
    ),
}
# Regions whose values are not read as the metric's others are.
REGIONS = {
    "full": "whole frame",
    "face": "hull of the reference's 68 landmarks; of landmarks: all 68",
    "mouth": "hull of its 20 mouth landmarks, half as large again; of landmarks: these 20",
    "confidence": "above the median of other offsets",
    "distance": "at the best offset; less is better",
    "offset": "frames by which the sound is late; 0 is best",
    "lse_c": "LSE-C: confidence",
    "lse_d": "LSE-D: distance; less is better",
}


def summarise(clips: Sequence[Clip]) -> dict:
    """A method's means over its clips: {metric: {region: mean}}, with "intervals" and
    "clips" (how many tell) of the same form.

    Every clip weighs the same. The interval holds 95 % of the means of RESAMPLES draws of
    clips, or, of fewer than FEWEST clips, of stretches of about a second (at least FEWEST)
    within each of them: neighbouring frames are alike. None where a clip has but one number
    and clips are few. FID has none: it is of all frames at once.
    """
    result: dict[str, dict] = {"intervals": {}, "clips": {}}
    for metric in METRICS:
        for region in _regions(clips, metric):
            told = [(_mean(clip, metric, region), clip) for clip in clips]
            told = [(mean, clip) for mean, clip in told if mean is not None]
            means = [mean for mean, _ in told]
            lines = [clip.curves.get(metric, {}).get(region) for _, clip in told]
            interval = bootstrap(means, lines)
            _put(result, metric, region, round(float(np.mean(means)), 4))
            _put(result["intervals"], metric, region, interval)
            _put(result["clips"], metric, region, len(means))
    features = [row for clip in clips for row in clip.features]
    if features:
        true = [row for clip in clips for row in clip.true_features]
        distance = frechet_distance(np.array(true), np.array(features))
        _put(result, "fid", "full", round(distance, 3))
        _put(result["intervals"], "fid", "full", None)
        _put(result["clips"], "fid", "full", len(clips))
    return result


def clip_values(clip: Clip) -> dict:
    """{metric: {region: value}} of one clip."""
    result: dict[str, dict] = {}
    for metric in METRICS:
        for region in _regions([clip], metric):
            _put(result, metric, region, round(_mean(clip, metric, region), 4))
    return result


def bootstrap(means: Sequence[float], lines: Sequence | None = None, seed: int = 0):
    """[low, high], the 95 % interval of the mean of clips' means, by the percentiles of
    means of draws with replacement (Efron 1979); None where it can't be told.

    Args:
      lines: of each clip the values a frame, for when clips are few.
    """
    rng = np.random.default_rng(seed)
    if len(means) >= FEWEST:
        drawn = _draws(np.asarray(means), rng)
    elif lines and all(line is not None for line in lines):
        per_clip = []
        for line in lines:
            told = line[~np.isnan(line)]
            if len(told) < FEWEST:
                return None
            parts = np.array_split(told, max(FEWEST, len(told) // FPS))
            per_clip.append(_draws(np.array([part.mean() for part in parts]), rng))
        drawn = np.mean(per_clip, axis=0)
    else:
        return None
    return [round(float(x), 4) for x in np.percentile(drawn, [2.5, 97.5])]


def _draws(values: np.ndarray, rng) -> np.ndarray:
    picks = rng.integers(len(values), size=(RESAMPLES, len(values)))
    return values[picks].mean(axis=1)


def _regions(clips: Iterable[Clip], metric: str) -> list[str]:
    """Those of which some clip has a number, in the order in which clips have them."""
    found = {
        region: None
        for clip in clips
        for region in (*clip.curves.get(metric, {}), *clip.values.get(metric, {}))
        if _mean(clip, metric, region) is not None
    }
    return list(found)


def _mean(clip: Clip, metric: str, region: str) -> float | None:
    line = clip.curves.get(metric, {}).get(region)
    if line is None:
        value = clip.values.get(metric, {}).get(region)
        return None if value is None else float(value)
    return None if np.isnan(line).all() else float(np.nanmean(line))


def _put(tree: dict, metric: str, region: str, value) -> None:
    tree.setdefault(metric, {})[region] = value


# Tables.


def about(sizes: Iterable[str]) -> dict:
    """{metric: what a number is: unit, which way is better, resolution, alignment,
    meaning}, of references of some sizes ("512x512")."""
    sizes = ", ".join(sorted(set(sizes)))
    resolutions = {"aligned_lmd": CROP_SIZE, "jitter": CROP_SIZE, "fid": 299}
    resolutions |= {"identity": 150, "syncnet": 224, "expression": 64}
    told = {-1: "less", 0: "neither", 1: "more"}
    return {
        name: metric._asdict()
        | {
            "better": told[metric.better],
            "resolution": f"{resolutions[name]}x{resolutions[name]} crops or copies"
            if name in resolutions
            else sizes,
        }
        for name, metric in METRICS.items()
    }


def all_numbers(methods: dict, reference: dict) -> tuple[list[str], list[list]]:
    """(header, rows): a row a metric and region, a column a method, and one of the
    references where they have a number of their own (sync)."""
    rows, columns = [], dict(methods)
    if any(metric in reference for metric in METRICS):
        columns["reference"] = reference
    for metric, what in METRICS.items():
        regions = {
            r: None for column in columns.values() for r in column.get(metric, {})
        }
        for region in regions:
            arrow = {1: " ↑", -1: " ↓", 0: ""}[what.better]
            if region in ("distance", "lse_d"):
                arrow = " ↓"
            elif region == "offset":
                arrow = ""
            unit = f", {what.unit}" if what.unit else ""
            title = f"{what.label} {region}{unit}{arrow}"
            cells = (_cell(column, metric, region) for column in columns.values())
            rows.append([title, *cells])
    return ["", *columns], rows


def paper_table(methods: dict) -> tuple[list[str], list[list]]:
    """(header, rows) as the paper's Tables I and III have them; "–" where a number is
    absent."""
    columns = {"SSIM ↑": ("ssim", "full"), "PSNR ↑": ("psnr", "full")}
    columns |= {"LMD ↓": ("lmd", "face"), "FID ↓": ("fid", "full")}
    rows = [
        [name, *(_cell(row, *place) for place in columns.values())]
        for name, row in methods.items()
    ]
    return ["method", *columns], rows


def _cell(row: dict, metric: str, region: str) -> str:
    """`31.26 [30.81, 31.70]`, with how many clips tell it, if not all do."""
    value = row.get(metric, {}).get(region)
    if value is None:
        return "–"
    interval = row.get("intervals", {}).get(metric, {}).get(region)
    text = _number(value)
    if interval is not None:
        text += f" [{', '.join(map(_number, interval))}]"
    told = row.get("clips", {}).get(metric, {}).get(region)
    if told is not None and told < row.get("compared", told):
        text += f" ({told} of {row['compared']} clips)"
    return text


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned."""
    lines = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |"
        for line in lines
    )


def to_csv(result: dict) -> str:
    """One line a method, clip, metric and region of what `emogene evaluate` found."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    named = ("method", "clip", "metric", "region", "value", "frames", "resolution")
    writer.writerow((*named, "alignment"))
    for method, row in result["methods"].items():
        for clip, found in row["per_clip"].items():
            for metric, regions in found["values"].items():
                what = result["about"][metric]
                for region, value in regions.items():
                    start = (method, clip, metric, region, value, found["frames"])
                    writer.writerow((*start, what["resolution"], what["alignment"]))
    return out.getvalue()
