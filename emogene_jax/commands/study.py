"""`emogene study`: people rate videos of several methods (paper: Table II).

The page is one file that asks nobody for anything. Which method made a video stands in
key.json, beside it, and nowhere in the page: its order is drawn anew for each person, and
its videos have numbers for names.
"""

import base64
import json
import random
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from emogene_jax.commands.evaluate import find_videos, method_names
from emogene_jax.emotions import ALIASES
from emogene_jax.evaluate import tables
from emogene_jax.evaluate.report import STYLE
from emogene_jax.folders import digest, read_json, write_json, write_text
from emogene_jax.media.video import iter_frames, video_info, write_video
from emogene_jax.signals import UserError

# The paper's own: key: (title, question).
CRITERIA = {
    "emotion": (
        "Emotional accuracy",
        "Does the face show the emotion that is meant?",
    ),
    "sync": ("Lip synchronization", "Do the lips say what you hear?"),
    "realism": ("Video realism", "Could this be a recording of a person?"),
    "quality": ("Video quality", "Is the picture sharp, clean and steady?"),
}
LARGEST = 500  # MB of videos in a page
PAGE, KEY = "study.html", "key.json"


def make_study(methods: list, out, seed: int = 0) -> None:
    """Writes out/study.html and out/key.json.

    Args:
      methods: a video, or a folder of videos, each. A video whose name has an emotion in
        it is shown with that word.
      seed: of the videos' numbers.

    Raises:
      UserError: no videos, or too many for a page; or `out` holds another study, whose
        ratings can't be read without its key.
    """
    out = Path(out)
    items = [
        {"method": name, "clip": clip, "path": path}
        for name, folder in method_names(methods).items()
        for clip, path in find_videos(folder).items()
    ]
    random.Random(seed).shuffle(items)
    size = sum(item["path"].stat().st_size for item in items) / 1e6
    if size > LARGEST:
        raise UserError(
            f"{size:.0f} MB of videos, expected at most {LARGEST}: fewer or shorter ones"
        )
    named = {f"video_{number:03d}": item for number, item in enumerate(items)}
    key = {
        name: {"method": item["method"], "clip": item["clip"]}
        for name, item in named.items()
    }
    # Of what is seen, too: ratings of other videos, of the same names, are others.
    identity = digest(json.dumps(key).encode(), *(item["path"] for item in items))
    kept = {"study": identity, "videos": key}
    _must_be_free(out, kept)
    shown = {}
    for name, item in named.items():
        info = video_info(item["path"])  # raises where it is no video
        data = _mp4(item["path"], info["sound"])
        shown[name] = {
            "emotion": _emotion(item["clip"]),
            "shape": f"{info['width']} / {info['height']}",
            "video": base64.b64encode(data).decode(),
        }
    study = {
        "id": identity,
        "criteria": [
            {"key": name, "title": title, "question": question}
            for name, (title, question) in CRITERIA.items()
        ],
        "items": shown,
    }
    page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    # "</" would end the script that it stands in.
    page = page.replace("{{STUDY}}", json.dumps(study).replace("</", "<\\/"))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / KEY, kept)
    write_text(out / PAGE, page.replace("{{STYLE}}", STYLE))
    print(
        f"{out / PAGE}: {len(items)} videos of {len(set(method_names(methods)))} methods, "
        f"{size:.0f} MB; send it to people, and keep {KEY} to yourself"
    )


def summarise(study, results: list, out=None) -> dict:
    """Prints what people said of each method, and writes it to `out` (JSON), if given.

    Args:
      study: the folder that make_study wrote.
      results: what people saved: files, or folders of them.

    Returns:
      {"raters", "ratings", "unfinished", "methods": {method: {criterion: {"mean",
      "interval", "ratings"}}}}. A mean is over all ratings; its interval is the 95 % of
      draws of raters, or, of fewer than tables.FEWEST, of ratings ("interval_over"):
      ratings of one person are alike.

    Raises:
      UserError: no study there; results of another one, or damaged ones.
    """
    if not (Path(study) / KEY).is_file():
        raise UserError(f"{study}: found no {KEY}, expected the folder of a study")
    key = read_json(Path(study) / KEY)
    people = [_read_result(path, key) for path in _files(results)]
    names = [person["rater"] for person in people]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{', '.join(twice)}: two results of this rater, expected one")
    methods = dict.fromkeys(item["method"] for item in key["videos"].values())
    asked = len(key["videos"]) * len(CRITERIA)
    given = [sum(map(len, person["ratings"].values())) for person in people]
    result = {
        "raters": len(people),
        "ratings": sum(given),
        "unfinished": [n for n, count in zip(names, given) if count < asked],
        "interval_over": "raters" if len(people) >= tables.FEWEST else "ratings",
        "methods": {
            method: {
                criterion: _score(people, key["videos"], method, criterion)
                for criterion in CRITERIA
            }
            for method in sorted(methods)
        },
    }
    print(to_markdown(result))
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(out), result)
    return result


def to_markdown(result: dict) -> str:
    """The paper's Table II of a summary."""

    def cell(score):
        if score["mean"] is None:
            return "–"
        text = f"{score['mean']:.2f}"
        if score["interval"] is not None:
            text += " [{:.2f}, {:.2f}]".format(*score["interval"])
        return text

    header = ["method", *(title for title, _ in CRITERIA.values())]
    rows = [
        [method, *map(cell, scores.values())]
        for method, scores in result["methods"].items()
    ]
    told = (
        f"1 (bad) to 5 (excellent); {result['ratings']} ratings of {result['raters']} "
        f"raters; 95 % intervals over {result['interval_over']}"
    )
    if result["unfinished"]:
        told += f"; not finished: {', '.join(result['unfinished'])}"
    return f"{tables.markdown(header, rows)}\n\n{told}"


def _must_be_free(out: Path, key: dict) -> None:
    """Raises UserError where a folder holds another study than that of `key`, or one
    whose key was taken elsewhere."""
    same = (out / KEY).exists() and read_json(out / KEY) == key
    if not same and any((out / name).exists() for name in (KEY, PAGE)):
        raise UserError(f"{out}: holds another study, expected a new folder")


def _score(people: Sequence[dict], videos: dict, method: str, criterion: str) -> dict:
    """Mean and interval of what people said of a method."""
    scores = [
        [
            given[criterion]
            for video, given in person["ratings"].items()
            if videos[video]["method"] == method and criterion in given
        ]
        for person in people
    ]
    ratings = [score for row in scores for score in row]
    if not ratings:
        return {"mean": None, "interval": None, "ratings": 0}
    by_rater = [sum(row) / len(row) for row in scores if row]
    drawn = by_rater if len(people) >= tables.FEWEST else ratings
    return {
        "mean": round(sum(ratings) / len(ratings), 4),
        "interval": tables.bootstrap(drawn),
        "ratings": len(ratings),
    }


def _files(results: Iterable) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, results):
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: no results (.json) in it")
        found += inside
    return found


def _read_result(path: Path, key: dict) -> dict:
    """What a person saved.

    Raises:
      UserError: it is of another study, or damaged.
    """
    result = read_json(path)
    try:
        study, rater, ratings = result["study"], result["rater"], result["ratings"]
        scores = [
            (video, *pair) for video, row in ratings.items() for pair in row.items()
        ]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: no results of a study") from None
    if study != key["study"]:
        raise UserError(f"{path}: results of another study than this key's")
    for video, criterion, score in scores:
        if video not in key["videos"] or criterion not in CRITERIA:
            raise UserError(
                f"{path}: rates {video} by {criterion}, which are not asked for"
            )
        if score not in (1, 2, 3, 4, 5):
            raise UserError(
                f"{path}: {criterion} of {video} is {score}, expected 1 to 5"
            )
    return {"rater": str(rater), "ratings": ratings}


def _emotion(clip: str) -> str:
    """The emotion that a clip's name has in it, or nothing."""
    words = re.split(r"[^a-z]+", clip.lower())
    return next((ALIASES[word] for word in words if word in ALIASES), "")


def _mp4(path: Path, sound: bool) -> bytes:
    """A video as browsers play it: an mp4 as it is, others encoded."""
    if path.suffix.lower() == ".mp4":
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "video.mp4"
        write_video(made, iter_frames(path), sound=path if sound else None)
        return made.read_bytes()
