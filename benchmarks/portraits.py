"""What benchmarks of a person's picture share: a prepared portrait whose last seconds
nothing is learned from, its head's training with a clock, and the scores of what was held
out."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from emogene_jax import parallel
from emogene_jax.emotion_to_video.render import Fields
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.evaluate.reconstruction import before_the_truth, scores
from emogene_jax.portrait.pack import load_portrait, save_portrait
from emogene_jax.portrait.schema import Portrait
from emogene_jax.recipes.recipe import Recipe, train_recipe
from emogene_jax.recipes.run import stage_config
from emogene_jax.recipes.torso import head_fields
from emogene_jax.signals import FPS
from emogene_jax.synthetic.portrait import portrait_takes, synthetic_portrait
from emogene_jax.train import checkpoint
from emogene_jax.train.feed import Resident
from emogene_jax.train.loop import TrainResult
from emogene_jax.train.state import Optimizer, init_state, make_optimizer, make_step

HELD_SECONDS = 4.0
LARGEST_SHARE = 0.2  # of a short portrait, that is held out
SENTENCES = 6  # neutral ones of the synthetic character, 3.2 s each
PARTS = 16  # of a training, each timed by itself
REGIONS = ("head", "head_matte", "mouth")


class Watch:
    """A training's clock: the time that `look` takes does not count.

    The `validate` of a Recipe, which a training calls after each part."""

    def __init__(self, look: Callable | None = None):
        """look: called with (parts done, parameters, aux), the averaged ones."""
        self.laps: list[float] = []  # seconds
        self._look, self._began = look, 0.0

    def begin(self) -> None:
        """Now."""
        self._began = time.perf_counter()

    def __call__(self, params, aux) -> dict:
        """No scores."""
        self.laps.append(time.perf_counter() - self._began)
        if self._look:
            self._look(len(self.laps), params, aux)
        self.begin()
        return {}

    @property
    def compile_s(self) -> float:
        """The first part less a usual one; 0 before there is another."""
        usual = statistics.median(self.laps[1:] or self.laps)
        return max(self.laps[0] - usual, 0.0)

    @property
    def seconds(self) -> float:
        """Of all parts so far, less compile_s."""
        return sum(self.laps) - self.compile_s

    def ms_per_step(self, each: int) -> float:
        """The median over parts of `each` steps."""
        return 1e3 * statistics.median(self.laps[1:] or self.laps) / each


def prepared(folder: str | None, work: Path, size: int, tiny: bool = False) -> Path:
    """The folder that `emogene prepare` made; without one that of the synthetic
    character, in `work`, that shows every emotion first, and then speaks neutrally."""
    if folder is not None:
        return Path(folder)
    sentences, seconds = (1, 1.2) if tiny else (SENTENCES, 3.2)
    takes = portrait_takes(0, sentences, seconds)
    emotional = takes[sentences:][: 1 if tiny else None]
    shown = synthetic_portrait(size=size, takes=emotional + takes[:sentences])
    save_portrait(shown, work / "portrait")
    return work / "portrait"


def config_of(stage: str, data: Path, tiny: bool = False, changes: dict | None = None):
    """The config by which `emogene create` trains head or torso on a prepared portrait
    on this machine. The last 4 s (a fifth of a short one) are held out, and all of them
    are looked at."""
    portrait = load_portrait(data, pictures=False)
    total = len(portrait.clip)
    held = round(min(HELD_SECONDS * FPS, LARGEST_SHARE * total))
    variant = "gpu" if parallel.on_accelerator() else "cpu"
    size = f"size={portrait.camera.size},frames={total - held}"
    told = {"data": str(data), "holdout_seconds": held / FPS, "val_frames": held}
    arg = f"{'tiny' if tiny else variant},{size}"
    return stage_config(stage, arg, told | (changes or {}))


def head_config(
    data: Path, tiny: bool = False, seed: int = 0, steps: int | None = None
):
    """`config_of` a head, whose training is in PARTS parts.

    Args:
        steps: of all of it, in place of the config's.
    """
    changes = {"seed": seed}
    if tiny:
        changes["augment.frames"] = 0  # the synthetic character has no mesh to warp
    config = config_of("head", data, tiny, changes)
    each = max(1, (steps or config.train.steps) // PARTS)
    config.train.update(steps=PARTS * each, val_steps=each, ckpt_steps=each)
    return config


def train_head(recipe: Recipe, config, workdir: Path, watch: Watch) -> TrainResult:
    """One whole training of a head by `head_config`.

    Args:
        workdir: a new one: a training that goes on is not timed.
        watch: its clock, that begins now.
    """
    stage = recipe.stage._replace(images=None)
    watch.begin()
    return train_recipe(recipe._replace(stage=stage, validate=watch), config, workdir)


def head_of(workdir: Path, training: Portrait) -> Fields:
    """The head that was trained in a work directory, without a torso."""
    saved = checkpoint.load(workdir)
    return head_fields(saved, workdir, training, TorsoSize(1, 1, 1, 1, 1))


def stepper(recipe: Recipe, config) -> tuple[Callable, int]:
    """(a function that takes a few steps of a head's training, from its first on, how
    many)."""
    plan, stage = config.train, recipe.stage
    transform = make_optimizer(Optimizer(**config.optimizer.to_dict()), plan.steps)
    step = make_step(stage, transform, plan.ema)
    frozen = parallel.replicate(recipe.frozen)
    feed = Resident(step, stage, recipe.data, frozen, deterministic=False)
    each = plan.scan_steps if parallel.on_accelerator() else 1

    def init(batch):
        return init_state(stage, transform, jax.random.key(0), batch, with_ema=True)

    state = parallel.data_parallel(init, donate=())(feed.example())

    def call():
        nonlocal state
        state, (report,) = feed.advance(state, int(state.step) + each)
        return report

    return call, each


def head_scores(heads: np.ndarray, held: Portrait) -> dict[str, float]:
    """{"psnr_head", "psnr_head_matte", "psnr_mouth"} in dB of heads [T, H, W, 4] uint8
    before the true torso and background: evaluate.reconstruction.scores of those
    frames."""
    found = scores(held, before_the_truth(heads, held), heads)["psnr"]
    return {f"psnr_{name}": round(found[name], 3) for name in REGIONS}
