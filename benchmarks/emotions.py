"""What emotions does an avatar show, to a judge who sees nothing but the pictures?

    python benchmarks/emotions.py AVATAR SPEECH [--seed N] [--sheet FILE.png]

Renders the speech neutrally and in each emotion, at intensity 1 and .5, tracks the
frames and compares them one by one with the neutral ones (evaluate/emotion.py). An
independent network (evaluate/judge.py), where it is at hand, reads every fifth frame, at
intensity .25 and .75 as well. Prints tables and one JSON line; --sheet draws a few frames
of each emotion. Lengths are in outer-eye-corner distances, with 95 % intervals.
"""

import argparse

import numpy as np
import timing
from PIL import Image, ImageDraw

from emogene_jax.audio.features import audio_features
from emogene_jax.audio.load import load_audio
from emogene_jax.avatar.file import load_avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.evaluate import emotion as judge
from emogene_jax.evaluate.judge import READ_AS, asked_for, likeliest, read_expressions
from emogene_jax.face.tracking import find_model
from emogene_jax.pipeline import perform
from emogene_jax.signals import EMOTIONS, UserError

PEOPLE = range(12)  # synthetic, that the classifier learns from
SHOWN = 6  # frames of each emotion on the sheet
EVERY = 5  # frames, of which the network reads one
STEPS = (0.25, 0.5, 0.75, 1.0)  # intensities
TILE = 160  # px
FELT = [name for name in EMOTIONS if name != "neutral"]


def main():
    """Measures the avatar named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("avatar")
    parser.add_argument("speech")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", metavar="FILE.png")
    args = parser.parse_args()
    person, model = load_avatar(args.avatar), find_model()
    features = audio_features(load_audio(args.speech), person.info["content"])
    renderer = Renderer(person.fields)
    pictures = {}

    def render(name, intensity):
        """The frames; every so many-th is kept."""
        acted = perform(person, features, [(0.0, name, intensity)], args.seed)
        kept = pictures.setdefault((name, intensity), [])
        for number, frame in enumerate(renderer.frames(*acted)):
            if number % EVERY == 0:
                kept.append(frame)
            yield frame

    def watch(name, intensity):
        return judge.watch(render(name, intensity), model, f"{name} {intensity:g}")

    neutral, classifier = watch("neutral", 1.0), judge.fit_classifier(PEOPLE)
    verdicts, halves = {}, {}
    for name in FELT:
        verdicts[name] = judge.judge(name, watch(name, 1.0), neutral, classifier)
        halves[name] = judge.judge(name, watch(name, 0.5), neutral, classifier)
    print(table(verdicts, halves))
    print(confusion(verdicts))
    if args.sheet:
        rows = {name: some(pictures[name, 1.0]) for name in ("neutral", *FELT)}
        contact_sheet(rows, neutral.landmarks).save(args.sheet)
    summary = {"primary": {}, "named": {}, "votes": {}, "lips": {}, "shift": {}}
    for name, verdict in verdicts.items():
        summary["primary"][name] = [round(value, 4) for value in verdict.primary]
        summary["named"][name] = verdict.named
        summary["votes"][name] = round(verdict.votes[name], 3)
        summary["lips"][name] = round(verdict.lips, 3)
        summary["shift"][name] = round(verdict.shift, 4)
    for name in READ_AS:
        for step in STEPS[::2]:  # the others were tracked, and are kept
            list(render(name, step))
    try:
        summary["judge"] = readings(pictures, model)
    except UserError as error:
        print(error)
    timing.emit(
        "emotions",
        summary,
        size=person.fields.camera.size,
        frames=len(neutral.landmarks),
        seed=args.seed,
    )


def some(pictures: list) -> list:
    """A few of them, evenly spread."""
    return [pictures[k] for k in np.linspace(0, len(pictures) - 1, SHOWN).astype(int)]


def readings(pictures: dict, model) -> dict:
    """Prints what the network reads, and returns {emotion: its mean probability at
    neutral and at each of STEPS}."""
    found = {
        of: read_expressions(frames, model, every=1).mean(0)
        for of, frames in pictures.items()
    }
    print("\nindependent judge: probability of what was asked, at 0", *STEPS)
    told = {}
    for name in READ_AS:
        steps = [found["neutral", 1.0], *(found[name, step] for step in STEPS)]
        told[name] = [round(float(asked_for(name, step)), 3) for step in steps]
        print(f"{name:9}", *told[name], "likeliest:", likeliest(steps[-1]))
    return told


def table(verdicts: dict, halves: dict) -> str:
    """One row an emotion, and how many of them are clear."""
    lines = [
        "emotion   primary measure           at 1            at .5   named     fit "
        "(next)   votes  score         lips   rest of face"
    ]
    for name, verdict in verdicts.items():
        fits = sorted(verdict.fits.values())
        own = verdict.fits[name]
        other = fits[-2] if own == fits[-1] else fits[-1]
        score = "-"
        if verdict.score:
            score = f"{judge.SCORES[name][:11]} {verdict.score[0]:+.2f}"
        lines.append(
            f"{name:9} {judge.PRIMARY[name][0]:22} {_pair(verdict.primary)} "
            f"{halves[name].primary[0]:+8.3f}   {verdict.named:9} {own:.2f} ({other:.2f}) "
            f"{verdict.votes[name]:7.2f}  {score:17} {verdict.lips:.2f}  "
            f"{verdict.shift:.4f}"
        )
    values = list(verdicts.values())
    counts = {
        "primary >= .02": [v.primary[0] >= 0.02 for v in values],
        "primary >= .04": [v.primary[0] >= 0.04 for v in values],
        "interval above 0": [v.primary[0] > v.primary[1] for v in values],
        "own signature best": [v.named == name for name, v in verdicts.items()],
        ".5 between 0 and 1": [
            0 < halves[name].primary[0] < v.primary[0] for name, v in verdicts.items()
        ],
        "lips >= .8": [v.lips >= 0.8 for v in values],
    }
    lines += [f"{what}: {sum(which)} of {len(which)}" for what, which in counts.items()]
    return "\n".join(lines)


def confusion(verdicts: dict) -> str:
    """Every emotion's measures, its fit to every signature, and the classifier's votes."""
    measures = list(next(iter(verdicts.values())).effects)
    lines = ["", "measures: emotional minus neutral", " " * 22 + _names(verdicts)]
    for measure in measures:
        pairs = (_pair(v.effects[measure]) for v in verdicts.values())
        lines.append(f"{measure:22}" + " ".join(pairs))
    for title, part, names in (
        ("fit to the signature of", "fits", FELT),
        ("classifier's votes for", "votes", EMOTIONS),
    ):
        lines += ["", title, " " * 22 + _names(verdicts)]
        for name in names:
            cells = (f"{getattr(v, part)[name]:+13.2f}" for v in verdicts.values())
            lines.append(f"{name:22}" + " ".join(cells))
    return "\n".join(lines)


def contact_sheet(rows: dict, landmarks: np.ndarray) -> Image.Image:
    """One row an emotion: faces [H, W, 3] cut out where landmarks [T, 68, 2] are."""
    low, high = (f(landmarks, axis=(0, 1)) for f in (np.nanmin, np.nanmax))
    middle, side = (low + high) / 2, 1.3 * (high - low).max()
    middle[1] -= 0.1 * side  # landmarks end at the brows
    box = (*(middle - side / 2), *(middle + side / 2))
    longest = max(len(pictures) for pictures in rows.values())
    sheet = Image.new("RGB", (longest * TILE, len(rows) * TILE))
    draw = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.LANCZOS, box)
            sheet.paste(tile, (column * TILE, row * TILE))
        draw.text((4, row * TILE + 2), name, fill="white", stroke_width=1)
    return sheet


def _pair(pair: tuple) -> str:
    return f"{pair[0]:+.3f}±{pair[1]:.3f}".rjust(13)


def _names(verdicts: dict) -> str:
    return " ".join(f"{name:>13}" for name in verdicts)


if __name__ == "__main__":
    main()
