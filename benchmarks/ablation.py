"""What does the landmark deformation model add? (Paper: Table III.)

    python benchmarks/ablation.py [AVATAR SPEECH] [--deformation DIR] [--seed N]

On the synthetic world, where the truth is known: emotional landmarks of people whom
nothing was learned from, as an error in shares of what the emotion moves, and how often
the emotion made is the nearest of the eight. On a portrait: each emotion's primary
measure (evaluate/emotion.py), tracked on the rendered frames. Without the model an
emotion reaches nothing that is rendered: what is shown is neutral, in a rendering of
another seed, so that it is measured too. The model is the built-in one, or DIR's; the
avatar's own on the portrait.
"""

import argparse
import tempfile

import numpy as np
import timing

from emogene_jax.evaluate import emotion as judge
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.recipes.motion_to_emotion import FACIAL_ACTIONS, load_deformation
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.takes import make_take

PEOPLE = range(1000, 1012)  # the built-in model has learned from 0 to 39
LISTENERS = range(12)  # synthetic, that the judge's classifier learns from
FELT = [name for name in EMOTIONS if name != "neutral"]


def main(tiny: bool = False):
    """One line of the synthetic world; one more of an avatar, where it is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="*", metavar="AVATAR SPEECH")
    parser.add_argument("--deformation", metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if len(args.portrait) not in (0, 2):
        parser.error("expected AVATAR SPEECH, or neither")
    people = PEOPLE[:2] if tiny else PEOPLE
    quick = tiny and not args.deformation
    params = learned_in_seconds() if quick else load_deformation(args.deformation)
    rows = {"with": world(params, people), "without": world(None, people)}
    timing.emit(
        "ablation_world",
        {f"{what}_{how}": v for how, row in rows.items() for what, v in row.items()},
        people=len(people),
    )
    if args.portrait:
        rows, size, frames = portrait(*args.portrait, args.seed)
        timing.emit("ablation_portrait", rows, size=size, frames=frames, seed=args.seed)


def world(params, people) -> dict[str, float]:
    """How well emotions are made, with a deformation model or (None) without one."""
    errors, distances, right = [], [], []
    for person in people:
        takes = [make_take(0, person, person, name) for name in EMOTIONS]
        neutral = takes[0].neutral_motion
        truth = np.stack([take.motion for take in takes])  # [E, T, 68, 3]
        for index, name in enumerate(EMOTIONS):
            made = neutral if params is None else felt(params, neutral, index)
            apart = ((made - truth) ** 2).sum((-1, -2))  # [E, T]
            right.append(apart.argmin(0) == index)
            if name != "neutral":
                errors.append(apart[index])
                distances.append(((truth[index] - neutral) ** 2).sum((-1, -2)))
    share = np.sqrt(np.concatenate(errors).mean() / np.concatenate(distances).mean())
    accuracy = np.concatenate(right).mean()
    return {
        "landmark_error_share": round(float(share), 4),
        "nearest_emotion_accuracy": round(float(accuracy), 4),
    }


def felt(params, neutral: np.ndarray, index: int) -> np.ndarray:
    """Neutral motion [T, 68, 3] with an emotion (an index into EMOTIONS) at full."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)[np.full(len(neutral), index)]
    return np.asarray(deform(params, neutral, weights, np.ones(len(neutral))))


def learned_in_seconds():
    """The deformation model of a training that is hardly one."""
    config = stage_config("motion_to_emotion", "tiny", {"data": FACIAL_ACTIONS})
    with tempfile.TemporaryDirectory() as folder:
        train_from_config(config, folder)
        return load_deformation(folder)


def portrait(avatar, speech, seed: int) -> tuple[dict, int, int]:
    """(what the judge sees, px, frames) of an avatar that says `speech`."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.audio.load import load_audio
    from emogene_jax.avatar.file import load_avatar
    from emogene_jax.emotion_to_video.render import Renderer
    from emogene_jax.face.tracking import find_model
    from emogene_jax.pipeline import perform

    person, model = load_avatar(avatar), find_model()
    features = audio_features(load_audio(speech), person.info["content"])
    renderer = Renderer(person.fields)

    def watch(name, seed):
        acted = perform(person, features, [(0.0, name, 1.0)], seed)
        return judge.watch(renderer.frames(*acted), model, name)

    neutral, other = watch("neutral", seed), watch("neutral", seed + 1)
    classifier = judge.fit_classifier(LISTENERS)
    rows: dict[str, dict] = {}
    for name in FELT:
        for how, seen in (("with", watch(name, seed)), ("without", other)):
            verdict = judge.judge(name, seen, neutral, classifier)
            primary = [round(value, 4) for value in verdict.primary]
            rows.setdefault(f"primary_{how}", {})[name] = primary
            rows.setdefault(f"named_{how}", {})[name] = verdict.named
    for how in ("with", "without"):
        named = rows[f"named_{how}"]
        rows[f"own_signature_best_{how}"] = sum(named[n] == n for n in FELT)
        strong = [pair[0] >= 0.02 for pair in rows[f"primary_{how}"].values()]
        rows[f"primary_over_02_{how}"] = sum(strong)
    return rows, person.fields.camera.size, len(neutral.landmarks)


if __name__ == "__main__":
    main()
