"""How many steps a second does each stage train, and how long is its whole training?

`emogene train` itself, on all devices there are, each config in the paper's size, for a
few steps; rates are those of its own curves, after what compiles. Clips are random
numbers as large as HuBERT-large's (1024 channels, 10 s), read from records on disk; the
portrait is a word of the synthetic character: more and larger frames cost a step no more.

`hours` is computed, not measured: the config's steps at that rate, without validation.
A CPU does fewer examples a step than the configs ask for, and then there are no hours.
"""

import tempfile
from pathlib import Path

import jax
import timing
from data_batches import RandomClips

from emogene_jax import training
from emogene_jax.cli import STAGES, read_config
from emogene_jax.data.pack import save_portrait
from emogene_jax.data.synthetic import make_take
from emogene_jax.data.synthetic_portrait import synthetic_portrait
from emogene_jax.data.tensorflow import quiet_tfds
from emogene_jax.train import checkpoint
from emogene_jax.train.board import read_curves

# Examples of a step on a CPU, and the key of the config that says how many.
ON_A_CPU = {
    "lip_sync": ("batch.batch_size", 16),
    "audio_to_motion": ("batch.batch_size", 8),
    "head": ("stage.frames", 8),
    "torso": ("stage.frames", 8),
}


class Clips(RandomClips):
    """RandomClips in the two splits that a training reads."""

    name = "clips"

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples() for name in ("train", "validation")}


def main(tiny=False):
    """One line a stage."""
    clips, frames, channels = (8, 60, 16) if tiny else (64, 250, 1024)
    with tempfile.TemporaryDirectory() as folder:
        with quiet_tfds():
            builder = Clips(clips, frames, channels, data_dir=folder)
            builder.download_and_prepare(file_format="tfrecord")
        takes = [make_take(0, 0, 0, "neutral", sentence_seconds=1.0)]
        portrait = synthetic_portrait(size=32 if tiny else 64, takes=takes)
        save_portrait(portrait, Path(folder) / "portrait")
        for name in STAGES:
            _time(name, Path(builder.data_dir), Path(folder), tiny)


def _time(name: str, records: Path, folder: Path, tiny: bool) -> None:
    """One line: `name` trains for a few steps, in `folder`/`name`."""
    config = read_config(f"{name}:tiny" if tiny else name, [])
    planned, on_cpu = config.train.steps, jax.default_backend() == "cpu"
    if name in ON_A_CPU and on_cpu and not tiny:
        config.update_from_flattened_dict(dict([ON_A_CPU[name]]))
    lap = 2 if tiny else 10 if on_cpu and name != "motion_to_emotion" else 200
    changes = {"steps": 2 * lap, "log_steps": lap, "val_steps": 2 * lap}
    config.train.update(changes | {"ckpt_steps": 2 * lap})
    config.data = str(records if "batch" in config else folder / "portrait")
    if name == "torso":
        config.frozen.head = str(folder / "head")
    training.train_from_config(config, folder / name)
    curves = read_curves(folder / name / "board")
    names = ("steps_per_s", "examples_per_s", "waiting_for_input")
    rates = {which: float(f"{curves[which][-1][1]:.4g}") for which in names}
    examples = round(rates["examples_per_s"] / rates["steps_per_s"])
    if not (tiny or (name in ON_A_CPU and on_cpu)):
        rates["hours"] = round(planned / rates["steps_per_s"] / 3600, 2)
    saved = checkpoint.load(folder / name)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(saved.params))
    sizes = {"steps": planned, "examples": examples, "parameters": parameters}
    timing.emit("train_rates", rates, stage=name, **sizes)


if __name__ == "__main__":
    main()
