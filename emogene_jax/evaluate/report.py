"""The page of `demo`, `create` and `evaluate`: videos, pictures, curves, tables, in one
HTML file.

No request leaves the page: style and curves are inline, pictures and videos are
relative files beside it. It is well-formed XML too, so that a test can read it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from emogene_jax import __version__
from emogene_jax.folders import write_text
from emogene_jax.train.board import read_curves

# What each key of metrics.json means, in plain words.
MEANINGS = {
    "psnr.full": "how near the whole rendered frame is to the true one, dB; more is "
    "better",
    "psnr.head": "the same, head rendered over the true torso and background, dB",
    "psnr.head_matte": "the same, counted inside the head only, dB",
    "psnr.face": "the same, counted inside the face, dB",
    "psnr.mouth": "the same, counted around the mouth, dB",
    "ssim.full": "structural similarity of the whole frame; 1 = equal",
    "ssim.head": "structural similarity, head over the true torso and background",
    "ssim.head_matte": "structural similarity inside the head",
    "ssim.face": "structural similarity inside the face",
    "ssim.mouth": "structural similarity around the mouth",
    "lmd.mouth": "mean distance of the mouth's landmarks, px; less is better",
    "lmd.face": "mean distance of all 68 landmarks, px; less is better",
    "mouth_error_ratio": "error of the mouth made from speech, over that of a resting "
    "mouth; less is better, 1 = learned nothing",
    "emotion_accuracy": "share of frames whose landmarks are nearest to the emotion "
    "that was asked for; chance is 0.125",
    "sync_accuracy": "share of moments at which the lip-sync expert tells true sound "
    "from shifted sound; chance is 0.5",
}


class Curves(NamedTuple):
    """Plots of one section."""

    title: str
    unit: str  # of the horizontal axis
    plots: Mapping[
        str, Mapping[str, Sequence[tuple[int, float]]]
    ]  # {plot: {line: points}}


def training_curves(work: Path, stages: Iterable[str]) -> Curves:
    """The losses of stages that were trained in work directories work/STAGE."""
    losses = {}
    for stage in stages:
        points = read_curves(work / stage / "board").get("loss", [])
        losses[f"{stage.replace('_', ' ')}: loss"] = {"": points}
    return Curves("Training", "steps", losses)


def write_report(
    folder,
    videos: Sequence[tuple[str, Path]] = (),
    pictures: Sequence[tuple[str, Path]] = (),
    curves: Curves | None = None,
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence]]] = (),
    notes: Sequence[str] = (),
    title: str = "EmoGene: the demo",
    summary: str = "",
    footer: str = "Every video on this page is synthetic and says so in its metadata.",
    wide: bool = False,
) -> Path:
    """Writes folder/index.html.

    Args:
      folder: where the page goes; videos and pictures lie somewhere below it.
      videos: (label, mp4).
      pictures: (label, picture), e.g. a contact sheet.
      tables: (title, header, rows); numbers are formatted, anything else is text.
      notes: paragraphs at the end.
      title, summary, footer: the head and the foot of the page.
      wide: videos hold several pictures side by side.
    """
    folder, curves = Path(folder), curves or Curves("", "", {})
    parts = [f"<header><h1>{escape(title)}</h1>{_paragraph(summary)}</header>"]
    kind = "rows" if wide else "grid"
    parts.append(_section("Videos", kind, [_video(folder, *v) for v in videos]))
    sheets = [_picture(folder, *picture) for picture in pictures]
    parts.append(_section("Frame by frame", "sheet", sheets))
    plots = [_plot(name, p, curves.unit) for name, p in curves.plots.items()]
    plots = [plot for plot in plots if plot]
    parts.append(_section(curves.title, "grid wide", plots))
    parts += [_section(name, "scroll", [_table(*rest)]) for name, *rest in tables]
    parts.append(_section("Notes", "notes", [_paragraph(note) for note in notes]))
    parts.append(f"<footer>{escape(footer)} emogene_jax {__version__}</footer>")
    page = PAGE.format(title=escape(title), style=STYLE, body="\n".join(parts))
    index = folder / "index.html"
    write_text(index, page)
    return index


def metrics_table(metrics: dict, title: str) -> tuple[str, tuple, list]:
    """A table for write_report out of the numbers of metrics.json.

    Args:
      metrics: as in metrics.json; keys without a meaning here are left out.
      title: says on what data the numbers are.
    """
    flat = {}
    for key, value in metrics.items():
        nested = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{key}.{name}".rstrip("."): number for name, number in nested}
    rows = [(key, flat[key], why) for key, why in MEANINGS.items() if key in flat]
    return title, ("number", "value", "what it is"), rows


def _link(folder: Path, file) -> str:
    """A relative link to a file below the folder."""
    path = Path(file)
    if not path.is_absolute() and (folder / path).exists():
        relative = path
    else:
        relative = path.resolve().relative_to(folder.resolve())
    return quote(relative.as_posix())


def _section(title: str, kind: str, items: list[str]) -> str:
    if not items:
        return ""
    body = "\n".join(items)
    return (
        f'<section><h2>{escape(title)}</h2><div class="{kind}">{body}</div></section>'
    )


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _video(folder: Path, label: str, file) -> str:
    link = _link(folder, file)
    player = f'<video src="{link}" controls="" playsinline="" preload="auto"></video>'
    return f"<figure>{player}<figcaption>{escape(label)}</figcaption></figure>"


def _picture(folder: Path, label: str, file) -> str:
    picture = f'<img src="{_link(folder, file)}" alt="{escape(label, quote=True)}"/>'
    return f"<figure>{picture}<figcaption>{escape(label)}</figcaption></figure>"


def _table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value) -> str:
    if isinstance(value, float):
        return f'<td class="number">{_number(value)}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape('–' if value is None else str(value))}</td>"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
    return f"{value:.1e}"


_WIDTH, _HEIGHT = 320, 120  # of a plot, in its own units
_COLOURS = 5


def _plot(
    name: str, lines: Mapping[str, Sequence[tuple[int, float]]], unit: str
) -> str:
    """Lines over one axis as inline SVG; logarithmic where they span much."""
    lines = {
        label: [(step, value) for step, value in points if math.isfinite(value)]
        for label, points in lines.items()
    }
    lines = {label: points for label, points in lines.items() if points}
    if not lines:
        return ""
    steps = [step for points in lines.values() for step, _ in points]
    values = [value for points in lines.values() for _, value in points]
    log = min(values) > 0 and max(values) > 20 * min(values)
    scale = math.log10 if log else float
    low, high, first, last = (
        *map(scale, (min(values), max(values))),
        min(steps),
        max(steps),
    )

    def polyline(number, points):
        points = points[:: math.ceil(len(points) / 400)] + points[-1:]
        places = " ".join(
            f"{(step - first) / max(last - first, 1) * _WIDTH:.1f},"
            f"{_HEIGHT - (scale(value) - low) / ((high - low) or 1) * _HEIGHT:.1f}"
            for step, value in points
        )
        return f'<polyline class="line{number % _COLOURS}" points="{places}"/>'

    drawn = "".join(polyline(n, points) for n, points in enumerate(lines.values()))
    ends = [f"{_number(p[0][1])} → {_number(p[-1][1])}" for p in lines.values()]
    if list(lines) == [""]:
        legend = ends[0]
    else:
        legend = " ".join(
            f'<span class="line{n % _COLOURS}">{escape(label)}</span>'
            for n, label in enumerate(lines)
        )
    return (
        f"<figure><figcaption><b>{escape(name)}</b> {legend}</figcaption>"
        f'<svg viewBox="-4 -6 {_WIDTH + 8} {_HEIGHT + 12}" role="img">'
        f"<title>{escape(name)}: {', '.join(ends)}</title>"
        f'<path d="M0 0H{_WIDTH}M0 {_HEIGHT / 2}H{_WIDTH}M0 {_HEIGHT}H{_WIDTH}"/>'
        f"{drawn}</svg>"
        f"<small>{unit} {first} to {last}; from {_number(min(values))} to "
        f"{_number(max(values))}{', log scale' if log else ''}</small></figure>"
    )


STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --text: #22252a;
  --soft: #6b7078; --line: #e3e1db; --accent: #b4502f; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1f2228;
  --text: #e8e6e1; --soft: #9a9fa8; --line: #33373f; --accent: #ee9168; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2.5rem 1.25rem 3rem;
  background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { margin: 0; font-size: clamp(1.7rem, 4vw, 2.5rem); line-height: 1.15;
  letter-spacing: -.02em; }
header p { margin: .6rem 0 0; max-width: 46rem; color: var(--soft);
  font-size: 1.05rem; }
section { margin-top: 2.75rem; }
h2 { margin: 0 0 .9rem; font-size: 1.15rem; letter-spacing: -.005em; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; overflow: hidden; }
/* Taller than the picture, so that the controls lie below the face, not over it. */
video { display: block; width: 100%; aspect-ratio: 5 / 6; object-fit: contain;
  object-position: top; background: #101114; }
figcaption { padding: .55rem .85rem .6rem; font-weight: 600; }
.wide figcaption { padding-bottom: 0; font-weight: 400; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.wide figcaption b { color: var(--text); margin-right: .4rem; }
svg { display: block; width: 100%; padding: .5rem .85rem .25rem; }
svg path { stroke: var(--line); stroke-width: 1; fill: none; }
svg polyline { stroke: currentColor; stroke-width: 1.5; fill: none;
  stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.line0 { color: var(--accent); } .line1 { color: #2b7a9b; } .line2 { color: #6f9a3e; }
.line3 { color: #9a5bb0; } .line4 { color: #b58b1b; }
small { display: block; padding: 0 .85rem .65rem; color: var(--soft); }
.rows { display: grid; gap: 1rem; }
.rows video { aspect-ratio: auto; }
.sheet { display: grid; gap: 1rem; }
.sheet img { display: block; width: 100%; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .5rem .85rem; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; }
tbody tr { border-top: 1px solid var(--line); }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.notes p { margin: 0 0 .6rem; max-width: 46rem; color: var(--soft); }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<link rel="icon" href="data:,"/>
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
