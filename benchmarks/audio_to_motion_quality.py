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

`synthetic`: speakers and sentences of the synthetic world that were never heard, by
models of `emogene train` that are small enough for a laptop: correlation of the opening;
how often bilabials bring the lips to less than 15 % of the speaker's range; how often
the lip-sync expert tells the true sound from one 3 to 15 frames off while the mouth
moves; its confidence in the truth, in the mean motion and in seeds.
"""

import argparse
import importlib
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timing

from emogene_jax import parallel
from emogene_jax.audio.features import audio_features
from emogene_jax.audio_to_motion.fit import fit_person
from emogene_jax.audio_to_motion.lip_sync import LipSync, sync_confidence
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate
from emogene_jax.create import lesson
from emogene_jax.data.synthetic import make_take
from emogene_jax.data.synthetic_voice import BILABIALS
from emogene_jax.motion_to_emotion.blink import open_lids
from emogene_jax.pipeline import TEMPERATURE
from emogene_jax.signals import FPS, eye_distance, landmarks_to_motion

FOLDS = 5
SIDE = 4  # frames on either side of the one that ridge regression predicts
STRENGTHS = 10.0 ** np.arange(-1, 6, 0.5)
SEEDS = 8
PARTS = {"jaw": slice(0, 17), "brows": slice(17, 27), "mouth": slice(48, 68)}
CLOSED = 0.15  # of the speaker's range
# The laptop's models, and how long they learn; the rest is as in configs/.
SMALL = {
    "lip_sync": {
        "model.channels": 128,
        "batch.batch_size": 32,
        "train.steps": 800,
    },
    "audio_to_motion": {
        "model.hidden": 96,
        "model.encoder_layers": 4,
        "model.decoder_layers": 3,
        "model.condition": 64,
        "model.flow_hidden": 48,
        "model.flow_layers": 2,
        "stage.mouth_weight": 3.0,
        "batch.batch_size": 16,
        "batch.frames": (60,),
        "train.steps": 1000,
    },
}


class Person(NamedTuple):
    """What one person is seen to do while they speak."""

    content: np.ndarray  # [2T, F]
    f0: np.ndarray  # [2T] Hz
    motion: np.ndarray  # [T, 68, 3] eye distances, without blinks
    rest: np.ndarray  # [68, 3] eye distances


def main(tiny=False, portrait=None):
    """One line a question."""
    parallel.enable_compilation_cache()
    person = filmed(portrait) if portrait else talker(2 if tiny else 8)
    steps = 4 if tiny else lesson(256, "cpu").audio_steps
    found = folds(person, steps, tested=1 if tiny else FOLDS)
    name = "filmed" if portrait else "synthetic"
    frames = len(person.motion)
    timing.emit("audio_to_motion_portrait", found, portrait=name, frames=frames)
    world = {"speakers": 24, "sentences": 12, "validation_sentences": 1}
    if tiny:
        world |= {"speakers": 2, "sentences": 2}
    timing.emit("audio_to_motion_synthetic", synthetic(world, tiny), **world)


def filmed(folder) -> Person:
    """A prepared portrait."""
    from emogene_jax.data.pack import load_portrait

    shown = load_portrait(folder)
    motion = landmarks_to_motion(shown.landmarks, shown.rest)
    rest = shown.rest / eye_distance(shown.rest)
    return Person(shown.content, shown.f0, open_lids(motion, shown.rest), rest)


def talker(sentences: int) -> Person:
    """Sentences of one synthetic speaker in a row."""
    takes = [make_take(0, 0, sentence) for sentence in range(sentences)]
    sound = audio_features(
        np.concatenate([np.resize(t.waveform, len(t.motion) * 640) for t in takes])
    )
    motion = np.concatenate([t.neutral_motion for t in takes])
    rest = takes[0].rest
    return Person(
        sound.content, sound.f0, open_lids(motion, rest), rest / eye_distance(rest)
    )


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


def folds(person: Person, steps: int, tested: int = FOLDS) -> dict:
    """The figures of the portrait (see the module), on its first `tested` folds."""
    parts = np.array_split(np.arange(len(person.motion)), FOLDS)
    true = [shape(person.motion[part], person.rest) for part in parts[:tested]]
    made, spread, kept, seconds = [], [], [], []
    for test in range(tested):
        model, trained, taken = learn(person, parts, test, steps)
        heard = [x[None] for x in sound_of(person, parts[test])]
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


def learn(person: Person, parts, test: int, steps: int):
    """(model, (params, aux), seconds) of what `create` trains, on all folds but one."""
    train = np.concatenate([part for i, part in enumerate(parts) if i != test])
    clip = (train >= parts[test][0]).astype(np.int32)  # no window crosses the gap
    with tempfile.TemporaryDirectory() as folder:
        sizes, result = fit_person(
            *sound_of(person, train), person.motion[train], clip, Path(folder), steps
        )
    model = AudioToMotion(**sizes)
    return model, (result.ema_params, result.aux), result.seconds


def sound_of(person: Person, frames: np.ndarray):
    """(content, f0) of some frames."""
    steps = np.stack([2 * frames, 2 * frames + 1], 1).ravel()
    return person.content[steps], person.f0[steps]


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
    heard = [_windows(sound_of(person, part)[0].astype(np.float64)) for part in parts]
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
    from emogene_jax.evaluate.demo import sync_accuracy

    correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(made, true, strict=True)]
    figures = {
        "opening": np.mean(correlations),
        "opening_worst": np.min(correlations),
        "bilabials_close": np.mean(shut),
        "expert_accuracy": sync_accuracy(
            trained["lip_sync"], sizes["lip_sync"], unheard
        ),
    }
    figures |= {f"confidence_{name}": np.mean(row) for name, row in rows.items()}
    return {name: round(float(value), 3) for name, value in figures.items()} | {
        "bilabials": len(shut),
        "takes": len(unheard),
        "train_s": seconds,
    }


def train_both(folder: Path, world: dict, tiny: bool):
    """({stage: sizes}, {stage: (params, aux)}, {stage: seconds}) of the two stages."""
    from emogene_jax.data.records import World, write_synthetic
    from emogene_jax.training import train_from_config

    records = write_synthetic(World(**world, emotions=("neutral",)), folder / "world")
    sizes, trained, seconds = {}, {}, {}
    for name, small in SMALL.items():
        module = importlib.import_module(f"emogene_jax.configs.{name}")
        config = module.get_config("tiny" if tiny else "")
        changes = {"data": str(records)}
        if not tiny:
            changes |= small | {
                "optimizer.learning_rate": 1e-3,
                "optimizer.warmup_steps": 50,
                "train.val_steps": small["train.steps"],
                "train.ema": 0.99,
            }
        if name == "audio_to_motion":
            changes["frozen.lip_sync"] = str(folder / "lip_sync")
        config.update_from_flattened_dict(changes)
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
