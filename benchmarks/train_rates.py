"""How many steps a second does each stage train, and how long is its whole training?

`emogene train` itself, on all devices there are, for a few steps of each config: head and
torso as `emogene create` trains them on this machine (at 512 px on a GPU, 256 px on a
CPU), the others in the paper's size. Rates are those of its own curves, after what
compiles. Clips are random numbers as large as HuBERT-large's (1024 channels, 10 s), read
from records on disk; the portrait is a word or two of the synthetic character: more and
larger frames cost a step no more.

`hours` is computed, not measured: the config's steps at that rate, without validation.
Of clips a CPU does fewer a step than the configs ask for, and then there are no hours.
"""

import tempfile
from pathlib import Path

import jax
import timing
from data_batches import RandomClips

from emogene_jax import parallel
from emogene_jax.cli import STAGES
from emogene_jax.input.tensorflow import quiet_tfds
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.synthetic.portrait import portrait_takes, synthetic_portrait
from emogene_jax.train import checkpoint
from emogene_jax.train.board import read_curves

# Clips of a step on a CPU.
ON_A_CPU = {"lip_sync": 16, "audio_to_motion": 8}


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
        takes = portrait_takes(0, 1, sentence_seconds=1.2)[:2]
        portrait = synthetic_portrait(size=32 if tiny else 64, takes=takes)
        save_portrait(portrait, Path(folder) / "portrait")
        for name in STAGES:
            _time(name, Path(builder.data_dir), Path(folder), tiny)


def _time(name: str, records: Path, folder: Path, tiny: bool) -> None:
    """One line: `name` trains for a few steps, in `folder`/`name`."""
    on_cpu, of_clips = not parallel.on_accelerator(), name not in ("head", "torso")
    arg = "" if of_clips else "cpu,size=256" if on_cpu else "gpu,size=512"
    arg = "tiny" if tiny else arg
    config = stage_config(name, arg)
    planned = config.train.steps
    fewer = on_cpu and not tiny and name in ON_A_CPU
    if fewer:
        config.batch.batch_size = ON_A_CPU[name]
    lap = 2 if tiny else 10 if on_cpu and name != "motion_to_emotion" else 200
    laps = 2 * lap  # the first one compiles
    config.train.update(steps=laps, log_steps=lap, val_steps=laps, ckpt_steps=laps)
    config.data = str(records if of_clips else folder / "portrait")
    if not of_clips:
        config.holdout_seconds = 0.0  # there is hardly more than has to be left
    if name == "head":
        config.augment.frames = 0  # the synthetic character has no mesh to warp
    if name == "torso":
        config.frozen.head = str(folder / "head")
    train_from_config(config, folder / name)
    curves = read_curves(folder / name / "board")
    names = ("steps_per_s", "examples_per_s", "waiting_for_input")
    rates = {which: float(f"{curves[which][-1][1]:.4g}") for which in names}
    examples = round(rates["examples_per_s"] / rates["steps_per_s"])
    if not (tiny or fewer):
        rates["hours"] = round(planned / rates["steps_per_s"] / 3600, 2)
    saved = checkpoint.load(folder / name)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(saved.params))
    sizes = {"steps": planned, "examples": examples, "parameters": parameters}
    timing.emit("train_rates", rates, stage=name, config=arg, **sizes)


if __name__ == "__main__":
    main()
