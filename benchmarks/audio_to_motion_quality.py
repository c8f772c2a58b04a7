"""How well does speech move the mouth, and do seeds differ?

    python benchmarks/audio_to_motion_quality.py [--portrait DATA] [--tiny]

`portrait`: a prepared portrait (`emogene prepare`; without one, a synthetic talker) in
five contiguous folds. What `emogene create` trains on a person is trained on four and
tested on the fifth, which it hears without the others' sound. Correlation with the
tracked truth of mouth opening (inner lips, 62-66) and width (corners, 48-54), of the
motion at temperature 0: over all folds at once, and the mean over folds; beside it ridge
regression on windows of nine frames, whose strength is chosen inside the training folds.
Content is normalised once per recording, as always. Then seeds at the temperature that
`emogene talk` uses: their standard deviation over that of the true motion, and what is
left of the correlation.

`synthetic`: speakers and sentences of the synthetic world that were never heard, by the
stages as `emogene demo` trains them: correlation of the opening; how often bilabials
bring the lips to less than 15 % of the speaker's range; how often the lip-sync expert
tells the true sound from one 3 to 15 frames off while the mouth moves; its confidence in
the truth, in the mean motion and in seeds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timing

from emogene_jax import parallel
from emogene_jax.audio.features import audio_features
from emogene_jax.audio_to_motion.lip_sync import LipSync, sync_confidence
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate
from emogene_jax.commands.demo_page import sync_accuracy
from emogene_jax.pipeline import TEMPERATURE
from emogene_jax.portrait.cut import some_frames
from emogene_jax.portrait.pack import load_portrait, save_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.portrait.takes import takes_of
from emogene_jax.recipes.audio_to_motion import arg_of, voice_of
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import FPS, SAMPLE_RATE, eye_distance
from emogene_jax.synthetic.portrait import SPEAKER, synthetic_portrait
from emogene_jax.synthetic.takes import make_take
from emogene_jax.synthetic.voice import BILABIALS

FOLDS = 5
SIDE = 4  # frames on either side of the one that ridge regression predicts
STRENGTHS = 10.0 ** np.arange(-1, 6, 0.5)
SEEDS = 8
PARTS = {"jaw": slice(0, 17), "brows": slice(17, 27), "mouth": slice(48, 68)}
CLOSED = 0.15  # of the speaker's range


class Person(NamedTuple):
    """What one person is seen to do while they speak."""

    content: np.ndarray  # [2T, F]
    motion: np.ndarray  # [T, 68, 3] eye distances, without blinks
    rest: np.ndarray  # [68, 3] eye distances


def main(tiny=False, portrait=None):
    """One line a question."""
    parallel.enable_compilation_cache()
    shown = load_portrait(portrait, pictures=False) if portrait else talker(tiny)
    found = folds(shown, tiny)
    name = "filmed" if portrait else "synthetic"
    frames = len(shown.clip)
    timing.emit("audio_to_motion_portrait", found, portrait=name, frames=frames)
    world = {"speakers": 24, "sentences": 12, "validation_sentences": 1}
    if tiny:
        world |= {"speakers": 2, "sentences": 2}
    timing.emit("audio_to_motion_synthetic", synthetic(world, tiny), **world)


def talker(tiny: bool) -> Portrait:
    """Sentences of one synthetic speaker in a row; in pictures as small as a test's, whose
    renderer is compiled."""
    says = range(2 if tiny else 8)
    takes = [make_take(0, SPEAKER, sentence) for sentence in says]
    return synthetic_portrait(size=32, takes=takes)


def person_of(shown: Portrait) -> Person:
    """A portrait, as mouths are compared."""
    rest = shown.rest / eye_distance(shown.rest)
    return Person(shown.content, takes_of(shown).neutral, rest)


def shape(motion: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Opening and width of the mouth [T, 2] in eye distances."""
    face = motion.reshape(-1, 68, 3) + rest
    ends = ((62, 66), (48, 54))
    return np.stack(
        [np.linalg.norm(face[:, a] - face[:, b], axis=-1) for a, b in ends], 1
    )


def correlation(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[2] of each column."""
    return np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(made.T, true.T, strict=True)]
    )


def folds(shown: Portrait, tiny: bool) -> dict:
    """The figures of the portrait (see the module); where tiny, on its first fold."""
    person, tested = person_of(shown), 1 if tiny else FOLDS
    parts = np.array_split(np.arange(len(person.motion)), FOLDS)
    true = [shape(person.motion[part], person.rest) for part in parts[:tested]]
    made, spread, kept, seconds = [], [], [], []
    for test in range(tested):
        model, trained, taken, steps = learn(shown, parts[test], tiny)
        rows = steps_of(parts[test])
        heard = [array[None, rows] for array in (shown.content, shown.f0)]
        call = jax.jit(lambda *args, model=model: generate(model, *args))
        mean = call(*trained, *heard, jax.random.key(0), 0.0)[0]
        seeds = [
            call(*trained, *heard, jax.random.key(seed), TEMPERATURE)[0]
            for seed in range(SEEDS)
        ]
        made.append(shape(np.asarray(mean), person.rest))
        seconds.append(taken)
        spread.append(differences(np.stack(seeds), person.motion[parts[test]]))
        seeds = [shape(np.asarray(seed), person.rest) for seed in seeds]
        kept.append([correlation(seed, true[test]) for seed in seeds])
    line = ridge(person, parts)[:tested]
    result = compared("", made, true) | compared("ridge_", line, true)
    kept = np.mean(kept, axis=0)  # [SEEDS, 2]
    for column, name in enumerate(("opening", "width")):
        low, high = kept[:, column].min(), kept[:, column].max()
        result[f"{name}_of_seeds"] = [round(float(low), 3), round(float(high), 3)]
    for name in PARTS:
        result[f"seeds_differ_{name}"] = round(
            float(np.mean([row[name] for row in spread])), 3
        )
    return result | {"steps": steps, "train_s": round(float(np.mean(seconds)), 1)}


def learn(shown: Portrait, test: np.ndarray, tiny: bool):
    """(model, (params, aux), seconds, steps) of what `create` trains on a portrait, on
    all frames but those of a fold, `test`."""
    with tempfile.TemporaryDirectory() as folder:
        data, work = Path(folder) / "portrait", Path(folder) / "voice"
        others = without(shown, test)
        save_portrait(others, data)
        arg = "tiny" if tiny else arg_of(others)
        changes = {"data": str(data), "holdout_seconds": 0.0}
        config = stage_config("audio_to_motion", arg, changes)
        result = train_from_config(config, work)
        voice = voice_of(work)
    model = AudioToMotion(**voice.sizes)  # with the person's reach
    trained = voice.trained["params"], voice.trained["aux"]
    return model, trained, result.seconds, config.train.steps


def without(shown: Portrait, test: np.ndarray) -> Portrait:
    """A portrait without the frames `test` in a row, nor their sound; black pictures.
    What was one clip before and after is two: no window crosses the gap."""
    every = np.arange(len(shown.clip))
    rows = np.setdiff1d(every, test)
    each = SAMPLE_RATE // FPS
    sound = shown.waveform.reshape(len(every), each)[rows].ravel()
    levels = shown.info.get("intensity") or [1.0] * (shown.clip.max() + 1)
    dark = np.zeros((len(rows), 16, 16, 3), np.uint8)
    return some_frames(shown, rows)._replace(
        frames=dark,
        head_matte=dark[..., 0],
        torso_matte=dark[..., 0],
        clip=2 * shown.clip[rows] + (rows > test[0]),
        waveform=sound,
        info=shown.info | {"intensity": np.repeat(levels, 2).tolist()},
    )


def steps_of(frames: np.ndarray) -> np.ndarray:
    """The audio steps [2N] of frames [N]."""
    return np.stack([2 * frames, 2 * frames + 1], 1).ravel()


def differences(seeds: np.ndarray, true: np.ndarray) -> dict:
    """Standard deviation over seeds [N, T, 204], as a part of the true motion's own."""
    seeds = seeds.reshape(len(seeds), -1, 68, 3)
    return {
        name: seeds[:, :, part].std(0).mean() / true[:, part].std(0).mean()
        for name, part in PARTS.items()
    }


def compared(prefix: str, made: list, true: list) -> dict:
    """Correlations over all folds, and their mean over folds."""
    together = correlation(np.concatenate(made), np.concatenate(true))
    each = np.mean([correlation(*pair) for pair in zip(made, true, strict=True)], 0)
    result = {}
    for column, name in enumerate(("opening", "width")):
        result[f"{prefix}{name}"] = round(float(together[column]), 3)
        result[f"{prefix}{name}_mean_of_folds"] = round(float(each[column]), 3)
    return result


def ridge(person: Person, parts: list) -> list[np.ndarray]:
    """Opening and width [t, 2] of each fold by ridge regression on the other folds."""
    heard = [
        _windows(person.content[steps_of(part)].astype(np.float64)) for part in parts
    ]
    true = [shape(person.motion[part], person.rest) for part in parts]
    made = []
    for test in range(FOLDS):
        others = [i for i in range(FOLDS) if i != test]
        errors = 0.0
        for held in others:
            rest = [i for i in others if i != held]
            found = _ridge(heard, true, rest, held)
            errors += np.square(found - true[held]).mean(1)  # [strengths, 2]
        best = errors.argmin(0)
        found = _ridge(heard, true, others, test)
        made.append(np.stack([found[best[i], :, i] for i in range(2)], 1))
    return made


def _windows(content: np.ndarray) -> np.ndarray:
    """[T, 9 * 2 * F] of content [2T, F]; the ends go on."""
    frames = content.reshape(len(content) // 2, -1)
    places = np.arange(len(frames))[:, None] + np.arange(-SIDE, SIDE + 1)
    return frames[places.clip(0, len(frames) - 1)].reshape(len(frames), -1)


def _ridge(heard, true, train, test) -> np.ndarray:
    """Predictions [strengths, t, 2] of fold `test` from folds `train`."""
    x, y = (np.concatenate([part[i] for i in train]) for part in (heard, true))
    mean, level = x.mean(0), y.mean(0)
    values, vectors = np.linalg.eigh((x - mean) @ (x - mean).T)
    across = (heard[test] - mean) @ (x - mean).T @ vectors
    target = vectors.T @ (y - level)
    damped = target / (values.clip(0)[:, None] + STRENGTHS[:, None, None])
    return across @ damped + level


def synthetic(world: dict, tiny: bool) -> dict:
    """The figures of the synthetic world (see the module)."""
    unheard = [
        make_take(0, 1000 + speaker, 1000 + 3 * speaker + sentence)
        for speaker in range(2 if tiny else 8)
        for sentence in range(1 if tiny else 3)
    ]
    with tempfile.TemporaryDirectory() as folder:
        sizes, trained, seconds = train_both(Path(folder), world, tiny)
        accuracy = sync_accuracy(Path(folder) / "lip_sync", unheard)
    model = AudioToMotion(**sizes["audio_to_motion"])
    expert = LipSync(**sizes["lip_sync"])
    call = jax.jit(lambda *args: generate(model, *trained["audio_to_motion"], *args)[0])
    judge = jax.jit(lambda *args: sync_confidence(expert, *trained["lip_sync"], *args))
    rows = {"truth": [], "mean": [], "seeds": []}
    made, true, shut = [], [], []
    for take in unheard:
        sound = audio_features(take.waveform)
        heard = sound.content[None], sound.f0[None]
        mean = call(*heard, jax.random.key(0), 0.0)
        seed = call(*heard, jax.random.key(1), TEMPERATURE)
        truth = jnp.asarray(take.neutral_motion.reshape(len(seed), -1))
        for row, motion in zip(rows.values(), (truth, mean, seed), strict=True):
            row.append(float(judge(sound.content, motion).mean()))
        rest = take.rest / eye_distance(take.rest)
        made.append(shape(np.asarray(mean), rest)[:, 0])
        true.append(shape(take.neutral_motion, rest)[:, 0])
        shut += closures(take.phonemes, made[-1], true[-1])
    correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(made, true, strict=True)]
    figures = {
        "opening": np.mean(correlations),
        "opening_worst": np.min(correlations),
        "bilabials_close": np.mean(shut),
        "expert_accuracy": accuracy,
    }
    figures |= {f"confidence_{name}": np.mean(row) for name, row in rows.items()}
    return {name: round(float(value), 3) for name, value in figures.items()} | {
        "bilabials": len(shut),
        "takes": len(unheard),
        "train_s": seconds,
    }


def train_both(folder: Path, world: dict, tiny: bool):
    """({stage: sizes}, {stage: (params, aux)}, {stage: seconds}) of the two stages."""
    from emogene_jax.synthetic.records import World, write_synthetic

    records = write_synthetic(World(**world, emotions=("neutral",)), folder / "world")
    sizes, trained, seconds = {}, {}, {}
    expert = {"frozen.lip_sync": str(folder / "lip_sync")}
    for name, frozen in (("lip_sync", {}), ("audio_to_motion", expert)):
        changes = {"data": str(records)} | frozen
        config = stage_config(name, "tiny" if tiny else "demo", changes)
        result = train_from_config(config, folder / name)
        sizes[name] = config.model.to_dict()
        trained[name] = result.ema_params, result.aux
        seconds[name] = round(result.seconds, 1)
    return sizes, trained, seconds


def closures(phonemes, made: np.ndarray, true: np.ndarray) -> list[bool]:
    """Of each bilabial in which some frame falls: whether the lips close. made, true:
    opening [T]; the true one gives the speaker's range."""
    seconds = (np.arange(len(made)) + 0.5) / FPS
    limit = true.min() + CLOSED * np.ptp(true)
    inside = [
        (p.start <= seconds) & (seconds < p.end)
        for p in phonemes
        if p.symbol in BILABIALS
    ]
    return [bool(made[now].min() < limit) for now in inside if now.any()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--portrait")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    main(args.tiny, args.portrait)
