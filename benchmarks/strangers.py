"""Do lips follow the voice of someone whom nothing was learned from?

    python benchmarks/strangers.py [PEOPLE] [--work DIR] [--content KIND ...]
                                   [--groups 6] [--avatar NAME] [--tiny]

PEOPLE is a folder with index.tsv: a file a line (`*` = all that match, of one person),
and in its fourth column whether it may train what is shipped; without it, people of the
synthetic world, whose voices are no people's. Every clip is tracked, and its sound brought
to its picture to the frame (`emogene prepare` does so from two frames on); clips whose
sound is found nowhere are left out. Each person is left out in turn, a group at a time:

  ridge     ridge regression on windows of the same features, learned from all others
  nothing   one person's model, learned from the clip of --avatar alone
            (`audio_to_motion:person`)
  generic   `audio_to_motion:generic`, learned from all others
  adapted   that one, adapted to --avatar (`audio_to_motion:adapted`)
  built_in  the built-in model, on those that it did not learn from
  ours      the built-in one, adapted to --avatar, as `emogene create` makes it

Of what each makes of a stranger's speech: correlation with the tracked truth of the
opening (inner lips) and the width (corners) of the mouth; by how many frames it would fit
best (> 0: lips are late); and how far they move, as a part of the truth, and of how far
--avatar's own move: an avatar moves as far as its person does, whoever speaks. One line a
method, means over people with a 95 % interval (bootstrap over people), of all and of
`halves`: every other one of them, for who chooses a setting by one half and reports the
other. The settings of 2026-11-28 were chosen with all people in view.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timing

from emogene_jax import parallel
from emogene_jax.audio.features import audio_features, choose_content, fitted
from emogene_jax.audio.load import load_audio
from emogene_jax.audio_to_motion.generic import (
    Voice,
    as_far,
    between,
    built_in,
    spoken_motion,
)
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.audio_to_motion.offset import estimate, moved
from emogene_jax.audio_to_motion.stage import audio_to_motion_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.corpora import clips
from emogene_jax.face.fit import rest_landmarks
from emogene_jax.recipes.recipe import Recipe, train_recipe
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import landmarks_to_motion
from emogene_jax.synthetic.takes import make_take

# Of ridge regression: frames on either side, and its strength.
RIDGE = {"speech_embedding": (2, 3e3), "log_mel": (4, 1e4), "hubert": (2, 3e3)}
COUNTED = 400  # frames of a person, at most, that count in what all share
FURTHEST = 8  # frames
# What says nothing of a method: ridge's numbers have no unit, others are nobody's avatar.
OWN = ("own_opening", "own_width")
UNTOLD = {
    "ridge": ("far_opening", "far_width", *OWN),
    "generic": OWN,
    "built_in": OWN,
}
DRAWS = 2000  # of the bootstrap


class Person(NamedTuple):
    """What one person says, and what their mouth does."""

    name: str
    shipped: bool  # whether the built-in model may have learned from them
    content: list[np.ndarray]  # of each clip, [2T, F]
    f0: list[np.ndarray]  # [2T]
    motion: list[np.ndarray]  # [T, 204] eye distances


def main(tiny=False):
    """One line a kind of content and method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("people", nargs="?", type=Path, metavar="PEOPLE")
    parser.add_argument("--work", type=Path)
    kinds = ["speech_embedding", "log_mel"]
    parser.add_argument("--content", nargs="+", default=kinds, metavar="KIND")
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument(
        "--avatar", help="whom voices are adapted to; default: the first"
    )
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    tiny = tiny or args.tiny
    parallel.enable_compilation_cache()
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        for kind in args.content:
            content = choose_content(kind)
            if args.people:
                people = heard(args.people, work, content)
            else:
                people = synthetic(3 if tiny else 12, 1 if tiny else 4, content)
            avatar = args.avatar or people[0].name
            groups = 2 if tiny else args.groups
            compare(people, kind, avatar, groups, work / "runs", tiny)


def compare(people, kind, avatar, groups, work, tiny) -> None:
    """The lines of one kind of content."""
    (owner,) = [person for person in people if person.name == avatar]
    strangers = [person for person in people if person is not owner]
    alone = adapted(None, owner, work / "nothing", tiny)
    fixed = {"nothing": lambda person: voiced(alone, person)}
    if built_in().content["type"] == kind:
        ours = adapted(built_in(), owner, work / "ours", tiny)
        fixed["built_in"] = lambda person: voiced(built_in(), person)
        fixed["ours"] = lambda person: voiced(ours, person)
    rows = {name: {} for name in ("ridge", "generic", "adapted", *fixed)}
    order = np.random.default_rng(0).permutation(len(people))
    for number in range(groups):
        out = [people[i] for i in order[number::groups]]
        others = [people[i] for i in np.sort(order) if people[i] not in out]
        line = ridge(others, *RIDGE[kind])
        generic = learn(others, work / f"generic-{kind}-{number}", tiny)
        # The avatar's own speech is what it adapts to, whoever is left out.
        mine = adapted(generic, owner, work / f"adapted-{kind}-{number}", tiny)
        calls = {
            "ridge": line,
            "generic": lambda person, voice=generic: voiced(voice, person),
            "adapted": lambda person, voice=mine: voiced(voice, person),
        }
        for name, call in (calls | fixed).items():
            for person in out:
                if name in ("ridge", "generic") or person in strangers:
                    rows[name][person.name] = score(call(person), person, owner)
    for name, scores in rows.items():
        unknown = [
            p for p in people if not (p.shipped and name in ("built_in", "ours"))
        ]
        told = {
            half: summary([scores[p.name] for p in unknown if p.name in scores][k::2])
            for k, half in enumerate(("chosen", "reported"))
        }
        told["all"] = summary([scores[p.name] for p in unknown if p.name in scores])
        for half in told.values():
            for column in UNTOLD.get(name, ()):
                del half[column]
        sizes = {"content": kind, "method": name, "avatar": avatar, "groups": groups}
        timing.emit("strangers", told, **sizes)


def heard(folder: Path, work: Path, content: dict) -> list[Person]:
    """The people of an index, and what they say, as `content`."""
    with open(folder / "index.tsv", encoding="utf-8") as file:
        _, *lines = csv.reader(file, delimiter="\t")
    root, found = folder.resolve().parent, []
    # Tracked once, whatever is heard.
    job = clips.Job(str(root), str(work / "clips"), choose_content("speech_embedding"))
    for pattern, _, _, shipped, *_ in lines:
        files = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
        takes = [take for file in files if (take := seen(file, root, job, content))]
        if takes:
            name = files[0].parent.name if "*" in pattern else files[0].stem
            parts = map(list, zip(*takes, strict=True))
            found.append(Person(name, shipped.startswith("yes"), *parts))
    return found


def synthetic(speakers: int, sentences: int, content: dict) -> list[Person]:
    """As many of the synthetic world."""
    found = []
    for speaker in range(speakers):
        takes = [make_take(0, speaker, 10 * speaker + n) for n in range(sentences)]
        sounds = [audio_features(take.waveform, content) for take in takes]
        motion = [take.neutral_motion for take in takes]
        found.append(
            Person(
                f"speaker {speaker}",
                False,
                [sound.content for sound in sounds],
                [sound.f0 for sound in sounds],
                [x.reshape(len(x), -1).astype(np.float32) for x in motion],
            )
        )
    return found


def seen(file: Path, root: Path, job: clips.Job, content: dict):
    """(content, f0, motion) of a clip in step; None of one that can't be used."""
    path = file.resolve().relative_to(root).as_posix()
    outcome = clips.extract(clips.Task(path, None), job)
    if outcome.reason:
        print(f"{path}: left out: {outcome.reason}")
        return None
    clip = clips.read_clip(job.out, path)
    landmarks = clip["landmarks"]
    waveform = fitted(load_audio(file), len(landmarks))
    offset = estimate(waveform, landmarks)
    if offset and not offset.clear:
        print(
            f"{path}: left out: its sound fits no time (correlation {offset.fit:.2f})"
        )
        return None
    late = offset.frames if offset else 0
    sound = audio_features(moved(waveform, late), content)
    rest = rest_landmarks(landmarks, clip["found"])
    motion = landmarks_to_motion(landmarks, rest)
    return sound.content, sound.f0, motion.reshape(len(motion), -1)


def learn(people: list[Person], work: Path, tiny: bool) -> Voice:
    """A generic voice of some people: each counts the same, up to COUNTED frames."""
    config = stage_config("audio_to_motion", "generic", {})
    frames, starts, first = config.batch.frames[0], [], 0
    for person in people:
        own = []
        for motion in person.motion:
            own.append(first + np.arange(max(0, len(motion) - frames + 1)))
            first += len(motion)
        own = np.concatenate(own)
        kept = min(COUNTED, len(own))
        starts.append(np.random.default_rng(0).permutation(own)[:kept])
    return train(people, np.concatenate(starts), config, None, work, tiny)


def adapted(generic: Voice | None, person: Person, work: Path, tiny: bool) -> Voice:
    """A person's voice from a generic one, or from nothing."""
    length = sum(map(len, person.motion))
    arg = "adapted" if generic else f"person,frames={length}"
    config = stage_config("audio_to_motion", arg, {})
    starts = np.arange(length - config.batch.frames[0] + 1)
    return train([person], starts, config, generic, work, tiny)


def train(people, starts, config, generic, work: Path, tiny: bool) -> Voice:
    """What a config makes of people's clips in a row."""
    heard = {
        name: np.concatenate([x for p in people for x in getattr(p, name)])
        for name in ("content", "f0", "motion")
    }
    sizes = config.model.to_dict()
    if generic:
        sizes = as_far(generic, *heard.values()).sizes
    if tiny:
        config.train.steps = 2
    config.train.ckpt_steps = config.train.val_steps = config.train.steps
    batch = {"batch_size": config.batch.batch_size, "frames": config.batch.frames[0]}
    options = config.stage.to_dict() | batch
    stage = audio_to_motion_stage(AudioToMotion(**sizes), **options)
    data = heard | {
        "blink": np.zeros(len(heard["motion"]), np.int32),
        "start_ok": starts.astype(np.int32),
    }
    start = generic and (generic.trained["params"], generic.trained["aux"])
    result = train_recipe(Recipe(stage, data, initial=start), config, work)
    trained = {"params": result.ema_params, "aux": result.aux}
    if generic:
        trained = between(generic.trained, trained, config.generic_share)
    voice = Voice(sizes, trained, {})
    # As an avatar is assembled.
    return as_far(voice, *heard.values()) if len(people) == 1 else voice


def voiced(voice: Voice, person: Person) -> list[np.ndarray]:
    """Opening and width [T, 2] of each clip of a person, as a voice makes them."""
    heard = zip(person.content, person.f0, strict=True)
    return [np.asarray(mouth_shape(spoken_motion(voice, *sound))) for sound in heard]


def ridge(people: list[Person], side: int, strength: float):
    """person -> opening and width [T, 2] of their clips, by ridge regression on windows
    of 2 `side` + 1 frames, of people in their own range."""
    across = within = 0.0
    for person in people:
        x = np.concatenate([windows(content, side) for content in person.content])
        y = np.concatenate([np.asarray(mouth_shape(m)) for m in person.motion])
        weight = min(len(x), COUNTED) / len(x)
        x, y = x - x.mean(0), (y - y.mean(0)) / y.std(0)
        within, across = within + weight * x.T @ x, across + weight * x.T @ y
    found = np.linalg.solve(within + strength * np.eye(len(within)), across)
    return lambda person: [windows(c, side) @ found for c in person.content]


def windows(content: np.ndarray, side: int) -> np.ndarray:
    """[T, (2 side + 1) * 2 * F] of content [2T, F]; the ends go on."""
    frames = content.astype(np.float64).reshape(len(content) // 2, -1)
    places = np.arange(len(frames))[:, None] + np.arange(-side, side + 1)
    return frames[places.clip(0, len(frames) - 1)].reshape(len(frames), -1)


def score(made: list[np.ndarray], person: Person, owner: Person) -> np.ndarray:
    """[7] opening, width (correlations), lag (frames), how far of each, beside the person
    who speaks and beside the avatar's."""
    true = [np.asarray(mouth_shape(motion)) for motion in person.motion]

    def fits(late: int) -> np.ndarray:
        pairs = [shifted(*pair, late) for pair in zip(made, true, strict=True)]
        mine, theirs = (np.concatenate(part) for part in zip(*pairs, strict=True))
        return np.array([np.corrcoef(*both)[0, 1] for both in zip(mine.T, theirs.T)])

    lags = range(-FURTHEST, FURTHEST + 1)
    lag = max(lags, key=lambda late: fits(late).mean())
    own = [np.asarray(mouth_shape(motion)) for motion in owner.motion]
    far = [
        np.concatenate(made).std(0) / np.concatenate(each).std(0)
        for each in (true, own)
    ]
    return np.array([*fits(0), lag, *np.concatenate(far)])


def shifted(made: np.ndarray, true: np.ndarray, late: int):
    """Both, where what was made is `late` frames late."""
    if late >= 0:
        return made[late:], true[: len(true) - late]
    return made[:late], true[-late:]


def summary(scores: list[np.ndarray]) -> dict:
    """Means over people, and intervals of the correlations."""
    scores = np.array(scores)
    far = [f"{of}_{part}" for of in ("far", "own") for part in ("opening", "width")]
    names = ("opening", "width", "lag", *far)
    told = {n: round(float(v), 3) for n, v in zip(names, scores.mean(0), strict=True)}
    drawn = np.random.default_rng(0).integers(0, len(scores), (DRAWS, len(scores)))
    low, high = np.percentile(scores[drawn].mean(1), [2.5, 97.5], axis=0)
    for column, name in enumerate(names[:2]):
        interval = [round(float(v[column]), 3) for v in (low, high)]
        told[f"{name}_interval"] = interval
    return told | {"people": len(scores)}


if __name__ == "__main__":
    main()
