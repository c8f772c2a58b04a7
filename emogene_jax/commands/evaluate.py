"""`emogene evaluate`: videos of several methods against references, in one table.

References are one video, or a folder of them; a method is a video, or a folder whose
videos are called like the references. A clip that one method lacks is left out of all of
them, and that is said: means are of the same clips, or they are not to be compared.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax.evaluate import tables
from emogene_jax.evaluate.compare import (
    Clip,
    Reference,
    Tools,
    check_shape,
    compare,
    load_tools,
    watch_reference,
)
from emogene_jax.evaluate.networks import EVERY
from emogene_jax.evaluate.report import Curves, write_report
from emogene_jax.folders import write_json, write_text
from emogene_jax.media.files import VIDEO_ENDS
from emogene_jax.media.video import (
    iter_frames,
    must_be_whole,
    video_info,
    write_video,
)
from emogene_jax.signals import FPS, UserError
from emogene_jax.train.progress import Progress

SHOWN = 8  # clips on the page
PICTURE, STRIP = 256, 8  # px of a video on the page; frames of a strip
RULES = {
    "frames": "by number at 25 fps (another rate: the nearest picture) from the first on, "
    "as long as both videos last",
    "size": "another size is resized to the reference's (Lanczos); no other shape",
    "clips": "each weighs the same; one that a method lacks is left out of all, and said",
    "intervals": f"95 %, {tables.RESAMPLES} bootstrap draws of clips; of fewer than "
    f"{tables.FEWEST} clips, of seconds (or shorter, so many) within each of them",
    "asked emotion": "as the reference's name has it (happy/a.mp4, a_happy_1.mp4); where "
    "that is none, neutral or contempt, which the judge can't tell, agreement alone",
    "lost faces": "frames without a face count in what is measured on pixels alone; said",
    **{region: where for region, where in tables.REGIONS.items()},
}


def evaluate(
    reference, generated: list, out=None, face_model=None, weights=None
) -> dict:
    """Prints tables; writes them with their rules to `out`, if that is given.

    Args:
      reference: the true video, or a folder of them.
      generated: one video or folder a method.
      out: a JSON file, or a folder: metrics.json, tables.md, clips.csv, and index.html
        with videos side by side, strips and curves.
      face_model: MediaPipe's bundle; None = wherever it is found. Where it is nowhere,
        what needs landmarks is absent, with the reason.
      weights: a folder with parameters that no package holds (evaluate/networks.py).

    Raises:
      UserError: videos that can't be read or compared; nothing is written.
    """
    references, methods, dropped = find_clips(Path(reference), generated)
    _check(references, methods)
    if out is not None:
        _keep_apart(Path(out), references, methods)
    tools = load_tools(face_model, weights)
    found, seen = _measure(references, methods, tools)
    result = {
        "reference": str(reference),
        "rules": RULES,
        "absent": tools.absent,
        "about": tables.about(f"{r.size[1]}x{r.size[0]}" for r in seen.values()),
        "notes": dropped + [f"true {c}: {n}" for c, r in seen.items() for n in r.notes],
        "reference_values": _reference_values(seen),
        "methods": {name: _row(clips) for name, clips in found.items()},
    }
    text = to_markdown(result)
    print(text)
    if out is not None and Path(out).suffix == ".json":
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(out), result)
    elif out is not None:
        _write_folder(Path(out), result, text, found, seen, methods)
    return result


# Which videos.


def find_clips(reference: Path, generated: list) -> tuple[dict, dict, list[str]]:
    """({clip: reference}, {method: {clip: video}}, notes on what was left out).

    Raises:
      UserError: nothing is left to compare.
    """
    references = find_videos(reference)
    methods, notes = {}, []
    for name, path in method_names(generated).items():
        if path.is_dir():
            methods[name] = find_videos(path)
        elif reference.is_dir():
            raise UserError(f"{path}: is a file, expected a folder as {reference} is")
        else:
            methods[name] = {reference.stem: path}
    common = set(references).intersection(*methods.values())
    for name, clips in methods.items():
        missing = sorted(set(references) - set(clips))
        more = sorted(set(clips) - set(references))
        if missing:
            notes.append(f"{name}: lacks {_listed(missing)}: left out of all methods")
        if more:
            notes.append(f"{name}: no reference of {_listed(more)}: left out")
    if not common:
        told = "; ".join(notes)
        raise UserError(f"{reference}: no clip that all methods have: {told}")
    kept = [clip for clip in references if clip in common]
    return (
        {clip: references[clip] for clip in kept},
        {name: {clip: clips[clip] for clip in kept} for name, clips in methods.items()},
        notes,
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def find_videos(path: Path) -> dict[str, Path]:
    """{name without its end: video} of a folder, in order; of a file, itself."""
    if not path.is_dir():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in VIDEO_ENDS or file.name.startswith("."):
            continue
        if file.stem in found:
            raise UserError(f"{file}: {found[file.stem].name} has the same name")
        found[file.stem] = file
    if not found:
        raise UserError(f"{path}: no video in it, expected e.g. .mp4 files")
    return found


def method_names(paths: list) -> dict[str, Path]:
    """Methods by their file's or folder's name; by the whole path where names repeat."""
    stems = [Path(path).stem for path in paths]
    return {
        stem if stems.count(stem) == 1 else str(path): Path(path)
        for stem, path in zip(stems, paths)
    }


def _check(references: dict, methods: dict) -> None:
    """Raises UserError now, not after an hour, where a video can't be compared."""
    for clip, true in references.items():
        info = video_info(true)
        must_be_whole(true)
        for videos in methods.values():
            check_shape(videos[clip], info)
            must_be_whole(videos[clip])


def _keep_apart(out: Path, references: dict, methods: dict) -> None:
    """Raises UserError where the page's videos would be written over what is compared."""
    place = (out / "videos").resolve()
    for videos in (references, *methods.values()):
        for path in videos.values():
            if path.resolve().parent == place:
                raise UserError(f"{path}: would be written over: another --out, please")


# Measuring.


def _measure(references: dict, methods: dict, tools: Tools):
    """({method: {clip: Clip}}, {clip: Reference}); progress is shown."""
    frames = sum(
        round(video_info(path)["seconds"] * FPS)
        for videos in (references, *methods.values())
        for path in videos.values()
    )
    progress = Progress(frames, "evaluate", unit="frame")
    # A declared length may be wrong.
    count = iter(range(1, 1 << 60))

    def step():
        progress.update(min(next(count), frames))

    found: dict[str, dict[str, Clip]] = {name: {} for name in methods}
    seen: dict[str, Reference] = {}
    for clip, path in references.items():
        seen[clip] = watch_reference(path, tools, step)
        for name, videos in methods.items():
            found[name][clip] = compare(seen[clip], videos[clip], tools, step)
    progress.close()
    return found, seen


def _row(clips: dict[str, Clip]) -> dict:
    """What is told of a method."""
    several = len(clips) > 1
    notes = [
        f"{name}: {note}" if several else note
        for name, clip in clips.items()
        for note in clip.notes
    ]
    shown = sum(len(clip.features) for clip in clips.values())
    if shown:
        notes.append(
            f"FID is of {shown} frames: compare it with others of as many only"
        )
    return {
        **tables.summarise(list(clips.values())),
        "compared": len(clips),
        "frames": sum(clip.frames for clip in clips.values()),
        "notes": notes,
        "per_clip": {
            name: {"frames": clip.frames, "values": tables.clip_values(clip)}
            for name, clip in clips.items()
        },
    }


def _reference_values(seen: dict[str, Reference]) -> dict:
    """What true videos have by themselves (sync), as of a method."""
    clips = [Clip({}, true.values, 0, [], [], []) for true in seen.values()]
    return tables.summarise(clips) | {"compared": len(clips)}


# Telling.


def to_markdown(result: dict) -> str:
    """The result as Markdown: the paper's table, all numbers, notes, what is absent."""
    methods, reference = result["methods"], result["reference_values"]
    parts = [
        "## As the paper's Table I (whole frame; LMD of all 68 landmarks)",
        tables.markdown(*tables.paper_table(methods)),
        "## All numbers",
        tables.markdown(*tables.all_numbers(methods, reference)),
        "\n".join(f"- {note}" for note in _notes(result)),
    ]
    return "\n\n".join(part for part in parts if part)


def _notes(result: dict) -> list[str]:
    notes = list(result["notes"])
    for name, row in result["methods"].items():
        notes += [f"{name}: {note}" for note in row["notes"]]
    return notes + [f"absent: {what}: {why}" for what, why in result["absent"].items()]


def _write_folder(out: Path, result, text: str, found, seen, methods) -> None:
    for place in ("videos", "strips"):
        (out / place).mkdir(parents=True, exist_ok=True)
    shown = list(seen)[:SHOWN]
    order = ["reference", *methods]
    videos, strips = [], []
    for clip in shown:
        paths = [videos_of[clip] for videos_of in methods.values()]
        label = f"{clip}: {', '.join(order)}" if len(shown) > 1 else ", ".join(order)
        video, strip = out / "videos" / f"{clip}.mp4", out / "strips" / f"{clip}.png"
        count = min(clips[clip].frames for clips in found.values())
        kept: list[np.ndarray] = []
        frames = _some_kept(side_by_side(seen[clip], paths), count, kept)
        write_video(video, frames, sound=_sound(seen[clip]))
        _strip(kept, len(order)).save(strip)
        videos.append((label, video))
        strips.append((f"{label}, from above", strip))
    notes = _notes(result)
    if len(seen) > len(shown):
        notes.append(f"the page shows the first {SHOWN} of {len(seen)} clips")
    write_text(out / "tables.md", text + "\n")
    write_text(out / "clips.csv", tables.to_csv(result))
    write_json(out / "metrics.json", result)
    about = [
        (m["label"], m["better"], m["resolution"], m["alignment"], m["meaning"])
        for m in result["about"].values()
    ]
    write_report(
        out,
        videos,
        strips,
        Curves("Over time", "frames", _plots(found, shown)),
        [
            ("As the paper's Table I", *tables.paper_table(result["methods"])),
            (
                "All numbers",
                *tables.all_numbers(result["methods"], result["reference_values"]),
            ),
            (
                "What the numbers are",
                ("number", "better", "resolution", "alignment", "meaning"),
                about,
            ),
            ("How they were measured", ("what", "rule"), list(RULES.items())),
        ],
        notes,
        title="EmoGene: evaluation",
        summary=f"Methods: {len(methods)}. Clips: {len(seen)}. Mean [95 % interval].",
        footer="Videos on this page show filmed and synthetic frames side by side.",
        wide=True,
    )
    print(f"{out / 'index.html'}: written")


def _sound(reference: Reference):
    """The file whose sound is heard, or None."""
    return reference.path if video_info(reference.path)["sound"] else None


def side_by_side(reference: Reference, paths: list) -> Iterator[np.ndarray]:
    """Frames of the reference and of each method beside it, PICTURE px high, as long as
    the reference lasts; a video that has ended is black."""
    height, width = reference.size
    size = PICTURE, round(PICTURE * width / height / 2) * 2
    videos = [iter_frames(path) for path in paths]
    black = np.zeros((*size, 3), np.uint8)

    def small(frame):
        picture = Image.fromarray(frame)
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))

    for frame in iter_frames(reference.path):
        others = [next(video, None) for video in videos]
        row = [black if x is None else small(x) for x in (frame, *others)]
        yield np.concatenate(row, 1)


def _some_kept(rows: Iterator, count: int, kept: list) -> Iterator[np.ndarray]:
    """The same rows; STRIP of the first `count`, evenly apart, are put into `kept`."""
    chosen = np.linspace(0, count - 1, min(STRIP, count)).round().astype(int)
    for number, row in enumerate(rows):
        if number in chosen:
            kept.append(row)
        yield row


def _strip(rows: list[np.ndarray], videos: int) -> Image.Image:
    """Moments in a row, half as large: the reference's above each method's."""
    moments = [np.concatenate(np.split(row, videos, 1), 0) for row in rows]
    picture = Image.fromarray(np.concatenate(moments, 1))
    return picture.resize((picture.width // 2, picture.height // 2))


def _plots(found: dict, shown: list[str]) -> dict[str, dict[str, list]]:
    """{plot: {method: [(frame, value)]}}: a picture's number, the lips', the emotion's."""
    plots: dict[str, dict[str, list]] = {}
    wanted = ("psnr", "full", 1), ("lmd", "mouth", 1), ("expression", "asked", EVERY)
    for clip in shown:
        for metric, region, step in wanted:
            for name, clips in found.items():
                line = clips[clip].curves.get(metric, {}).get(region)
                if line is not None:
                    title = f"{clip}: {tables.METRICS[metric].label} {region}"
                    points = [
                        (step * n, value) for n, value in enumerate(line.tolist())
                    ]
                    plots.setdefault(title, {})[name] = points
    return plots
