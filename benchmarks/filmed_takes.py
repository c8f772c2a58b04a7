"""What does the deformation model add, against filmed emotions? (Paper: Table III.)

    python benchmarks/filmed_takes.py TAKES [--pair words|names] [--deformation DIR]
    python benchmarks/filmed_takes.py --avatar AVATAR PORTRAIT

TAKES: a folder of one person's takes, neutral and emotional ones of the same sentences,
named or sorted by emotion (as CREMA-D and MEAD are). Each emotional take is tracked; the
neutral take of its words (by what is heard; or of its name but for the emotion: CREMA-D's
names say the sentence, MEAD's numbers do not) is brought to its time and given its emotion
(`with`: the built-in model's, or DIR's) or not (`without`), and compared with what was
filmed: landmark distance from the front, in px of a crop whose outer eye corners are 80 px
apart, and how often the filmed frame is nearest to its own emotion among the eight.

AVATAR and the prepared PORTRAIT, whose clips have emotions, of one person: the sound of
each emotional clip is spoken with its emotion or neutrally, under the filmed poses, and the
pictures are compared with the filmed ones: the paper's own columns. Say with it what the
avatar was learned from: of clips that it has seen the numbers say little.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import reconstruct
import timing

from emogene_jax.audio.align import aligned_frames, at_frames
from emogene_jax.audio.features import audio_features, fitted
from emogene_jax.audio.load import load_audio
from emogene_jax.audio_to_motion.generic import built_in_expert
from emogene_jax.avatar.file import load_avatar
from emogene_jax.corpora.watch import watch
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotions import ALIASES, emotion_of, intensity_of
from emogene_jax.evaluate import tables
from emogene_jax.evaluate.compare import Clip, compare, load_tools, watch_reference
from emogene_jax.evaluate.geometry import CROP_EYES
from emogene_jax.evaluate.metrics import lmd_curve
from emogene_jax.evaluate.reconstruction import rerender
from emogene_jax.face.fit import rest_landmarks
from emogene_jax.landmarks import FACE, MOUTH
from emogene_jax.media.files import VIDEO_ENDS
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.pipeline import neutral_motion
from emogene_jax.portrait.cut import cut
from emogene_jax.portrait.pack import load_portrait
from emogene_jax.portrait.takes import nearest_take
from emogene_jax.recipes.motion_to_emotion import load_deformation
from emogene_jax.signals import (
    EMOTIONS,
    AudioFeatures,
    landmarks_to_motion,
    motion_to_landmarks,
)

# What CREMA-D's names say of strength, as corpora/crema_d.py reads it.
LEVELS = {"lo": 1 / 3, "md": 2 / 3, "hi": 1.0, "xx": 2 / 3, "x": 2 / 3}


def main(tiny: bool = False):
    """A line, and a table on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("takes", nargs="?", type=Path, metavar="TAKES")
    parser.add_argument("--pair", choices=("words", "names"), default="words")
    parser.add_argument("--deformation", metavar="DIR")
    parser.add_argument("--avatar", nargs=2, type=Path, metavar=("AVATAR", "PORTRAIT"))
    args = parser.parse_args()
    if (args.takes is None) == (args.avatar is None):
        if tiny:  # there are no filmed takes to run on
            return
        parser.error("expected TAKES, or --avatar AVATAR PORTRAIT")
    if args.takes is not None:
        params, by_name = load_deformation(args.deformation), args.pair == "names"
        rows, told = landmarks(*filmed(args.takes), params, by_name)
        timing.emit("filmed_takes_landmarks", rows, **told)
        text = tables.markdown(*tables.all_numbers(rows, {}))
    else:
        with tempfile.TemporaryDirectory() as work:
            rows, told = pictures(*args.avatar, Path(work), load_tools())
        timing.emit("filmed_takes_pictures", rows, **told)
        text = tables.markdown(*tables.paper_table(rows))
    print(text, file=sys.stderr)


def filmed(folder: Path) -> tuple[dict, dict]:
    """({name: (emotion, intensity, motion [T, 68, 3] in eye distances from the neutral
    rest, content [2T, F])} of the emotional takes in a folder, the same of the neutral)."""
    content = built_in_expert().content
    seen = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_ENDS):
        face = watch(path)
        heard = audio_features(fitted(load_audio(path), len(face.found)), content)
        seen[str(path.relative_to(folder))] = path, face, heard.content
    calm = [face for path, face, _ in seen.values() if emotion_of(path) == "neutral"]
    if not calm:
        sys.exit(f"{folder}: no neutral take in it")
    shapes = np.concatenate([face.landmarks for face in calm])
    rest = rest_landmarks(shapes, np.concatenate([face.found for face in calm]))
    felt, neutral = {}, {}
    for name, (path, face, heard) in seen.items():
        emotion = emotion_of(path)
        motion = landmarks_to_motion(face.landmarks, rest)
        group = neutral if emotion == "neutral" else felt
        level = LEVELS.get(path.stem.rpartition("_")[2].lower(), intensity_of(path))
        group[name] = emotion, level, motion, heard
    return felt, neutral


def sentence(name: str) -> str:
    """A take's name without what it says of emotion and level."""
    words = re.split(r"[^A-Za-z0-9]+", name.rpartition(".")[0])
    return "_".join(w for w in words if w.lower() not in (*ALIASES, *LEVELS))


def landmarks(felt: dict, neutral: dict, params, by_name=False) -> tuple[dict, dict]:
    """({"with", "without"}: numbers, what was compared) of takes (filmed)."""
    heard = [content for *_, content in neutral.values()]
    moved = [motion for *_, motion, _ in neutral.values()]
    names = list(map(sentence, neutral))
    clips: dict[str, list[Clip]] = {"with": [], "without": []}
    named, lacking, each = [], [], {}
    for name, (emotion, intensity, motion, content) in felt.items():
        if by_name:
            named_so = sentence(name)
            partner = names.index(named_so) if named_so in names else None
        else:
            partner = nearest_take(content, heard)
        if partner is None:
            lacking.append(name)
            continue
        calm = at_frames(moved[partner], aligned_frames(heard[partner], content))
        versions = {e: with_emotion(params, calm, e, intensity) for e in EMOTIONS}
        for how, made in (("with", versions[emotion]), ("without", calm)):
            clips[how].append(compared(motion, made))
        errors = [((motion - made) ** 2).sum((1, 2)) for made in versions.values()]
        own = np.mean(np.argmin(errors, axis=0) == EMOTIONS.index(emotion))
        named.append(float(own))
        pair = {how: tables.clip_values(some[-1]) for how, some in clips.items()}
        pair = {how: found["aligned_lmd"] for how, found in pair.items()}
        each[name] = {"emotion": emotion, "nearest_is_own": round(named[-1], 3)} | pair
    if not named:
        sys.exit(f"no neutral take of the words of {', '.join(lacking)}")
    rows = {how: tables.summarise(some) for how, some in clips.items()}
    told = {"takes": len(named), "without_a_neutral_take": lacking, "each": each}
    return rows, told | {"nearest_is_own": round(float(np.mean(named)), 4)}


def with_emotion(params, motion: np.ndarray, emotion: str, intensity: float):
    """Neutral motion [T, 68, 3] with an emotion."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)
    weights = weights[np.full(len(motion), EMOTIONS.index(emotion))]
    return np.asarray(deform(params, motion, weights, np.full(len(motion), intensity)))


def compared(filmed: np.ndarray, made: np.ndarray) -> Clip:
    """Landmark distances of motion [T, 68, 3] in eye distances, seen from the front."""
    pair = filmed[..., :2] * CROP_EYES, made[..., :2] * CROP_EYES
    regions = {"mouth": MOUTH, "face": FACE}
    curves = {region: lmd_curve(*pair, points) for region, points in regions.items()}
    return Clip({"aligned_lmd": curves}, {}, len(filmed), [], [], [])


def pictures(avatar: Path, data: Path, work: Path, tools) -> tuple[dict, dict]:
    """({"with", "without"}: numbers, what was compared) of an avatar's renderings against
    the emotional clips of a prepared portrait."""
    person, portrait = load_avatar(avatar), load_portrait(data)
    renderer = Renderer(person.fields)
    clips: dict[str, list[Clip]] = {"with": [], "without": []}
    levels = portrait.info.get("intensity")
    for number in np.unique(portrait.clip):
        rows = np.flatnonzero(portrait.clip == number)
        emotion = EMOTIONS[portrait.emotion[rows[0]]]
        if emotion == "neutral":
            continue
        take = cut(portrait, slice(rows[0], rows[-1] + 1))
        heard = AudioFeatures(take.content, take.f0, take.speech)
        calm = neutral_motion(person, heard, seed=0)
        intensity = levels[number] if levels else 1.0
        felt = with_emotion(person.deformation, calm, emotion, intensity)
        named = work / f"{number}_{emotion}.mkv"  # the judge is asked for it
        true = reconstruct.write(named, take.frames, take.waveform)
        true = watch_reference(true, tools)
        for how, motion in (("with", felt), ("without", calm)):
            shown = take._replace(landmarks=motion_to_landmarks(motion, take.rest))
            file = work / f"{number}_{how}.mkv"
            frames, _ = rerender(renderer, shown)
            reconstruct.write(file, frames, take.waveform)
            clips[how].append(compare(true, file, tools))
    if not clips["with"]:
        sys.exit(f"{data}: all of its clips are neutral")
    rows = {how: tables.summarise(some) for how, some in clips.items()}
    return rows, {"takes": len(clips["with"]), "size": person.fields.camera.size}


if __name__ == "__main__":
    main()
