"""What benchmarks of a person's picture share: a portrait whose last seconds nothing is
learned from, its head's training with a clock, and the scores of what was held out."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from emogene_jax import create, parallel
from emogene_jax.data.pack import load_portrait
from emogene_jax.data.pairs import takes_of
from emogene_jax.data.schema import Portrait
from emogene_jax.data.synthetic_portrait import portrait_takes, synthetic_portrait
from emogene_jax.demo import PRESETS
from emogene_jax.emotion_to_video import fit
from emogene_jax.emotion_to_video.rig import Rig
from emogene_jax.emotion_to_video.torso import PoseCode
from emogene_jax.evaluate.avatar import before_the_truth, scores
from emogene_jax.pipeline import FELT, learn_style
from emogene_jax.signals import FPS
from emogene_jax.train.feed import Resident
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import init_state, make_optimizer, make_step

HELD_SECONDS = 4.0
LARGEST_SHARE = 0.2  # of a short portrait, that is held out
SENTENCES = 6  # neutral ones of the synthetic character, 3.2 s each
PARTS = 16  # of a training, each timed by itself
REGIONS = ("head", "head_matte", "mouth")


class Person(NamedTuple):
    """A portrait in its two parts, and what is measured of the first before training."""

    training: Portrait
    held: Portrait  # the last seconds
    rig: Rig
    code: PoseCode
    filmed: dict  # fit.resident of `training`
    shown: list  # that, and the same of augmented frames, where some emotion was not


class Watch:
    """A training's clock: the time that `look` takes does not count.

    The `images` of a Stage, which a training calls whenever it validates."""

    def __init__(self, look: Callable | None = None):
        """look: called with (parts done, parameters, aux), the averaged ones."""
        self.laps: list[float] = []  # seconds
        self._look, self._began = look, 0.0

    def begin(self) -> None:
        """Now."""
        self._began = time.perf_counter()

    def __call__(self, params, aux, frozen, batch) -> dict:
        """No pictures."""
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


def read(folder: str | None, size: int, tiny: bool = False) -> Portrait:
    """The portrait that `emogene prepare` made in a folder; without one the synthetic
    character's, that shows every emotion first, and then speaks neutrally."""
    if folder is not None:
        return load_portrait(Path(folder))
    if tiny:
        takes = portrait_takes(0, 1, sentence_seconds=1.2)
        return synthetic_portrait(size=size, takes=[takes[1], takes[0]])
    takes = portrait_takes(0, SENTENCES)
    return synthetic_portrait(size=size, takes=takes[SENTENCES:] + takes[:SENTENCES])


def split(portrait: Portrait, work: Path, vary: bool = True) -> Person:
    """A portrait, ready for training: the last 4 s (a fifth of a short one) are cut off
    before anything is measured.

    Args:
        work: a folder for what a style learns.
        vary: augment the emotions that were not filmed, as `emogene create` does.
    """
    total = len(portrait.frames)
    known = total - round(min(HELD_SECONDS * FPS, LARGEST_SHARE * total))
    portrait = create.without_hindsight(portrait, known)
    training = create.cut(portrait, slice(0, known))
    varied = _varied(training, work) if vary else None
    rig = fit.person_rig(training, varied)
    code = fit.fit_pose_code(training.pose)
    filmed = fit.resident(training, rig, code)
    shown = [filmed] if varied is None else [filmed, fit.resident(varied, rig, code)]
    held = create.cut(portrait, slice(known, None))
    return Person(training, held, rig, code, filmed, shown)


def _varied(training: Portrait, work: Path) -> Portrait | None:
    takes = takes_of(training)
    if set(FELT) <= set(takes.filmed):
        return None
    prior = create.load_deformation(None)
    style = learn_style(takes, prior, work / "deformation")
    return create.vary(training, style, takes.filmed)


def planned(person: Person, tiny: bool, steps: int | None = None) -> fit.Plan:
    """`emogene create`'s plan for this size and machine; steps: of the head, in place of
    the plan's."""
    size, frames = person.training.camera.size, len(person.training.frames)
    preset = "cpu" if jax.default_backend() == "cpu" else "gpu"
    plan = create.lesson(size, preset, frames).fields
    if tiny:
        plan = PRESETS["tiny"].fields._replace(head_steps=64, head_rays=64)
    steps = max(1, (steps or plan.head_steps) // PARTS) * PARTS
    return fit.planned_for(person.training, plan._replace(head_steps=steps))


def head_training(person: Person, plan: fit.Plan, seed: int = 0, **of_stage) -> dict:
    """fit.head_training of a person."""
    told = (person.training.camera, plan, person.shown, person.rig, seed)
    return fit.head_training(*told, **of_stage)


def train_head(told: dict, workdir: Path, watch: Watch) -> TrainResult:
    """One whole training of a head, in PARTS parts.

    Args:
        told: head_training; its steps are a multiple of PARTS.
        workdir: a new one: a training that goes on is not timed.
        watch: its clock, that begins now.
    """
    told = told | {
        "stage": told["stage"]._replace(images=watch),
        "val_steps": told["steps"] // PARTS,
    }
    watch.begin()
    return train(**told, workdir=workdir)


def stepper(told: dict) -> tuple[Callable, int]:
    """(a function that takes a few steps of a head's training, from its first on, how
    many). told: head_training."""
    stage = told["stage"]
    transform = make_optimizer(told["optimizer"], told["steps"])
    step = make_step(stage, transform, told["ema"])
    frozen = parallel.replicate(told["frozen"])
    feed = Resident(step, stage, told["batch_source"], frozen, deterministic=False)
    each = told["scan_steps"] if parallel.loops_on_device() else 1

    def init(batch):
        return init_state(stage, transform, jax.random.key(0), batch, with_ema=True)

    state = parallel.data_parallel(init, donate=())(feed.example())

    def call():
        nonlocal state
        state, report = feed.advance(state, int(state.step) + each)
        return report

    return call, each


def fields_of(person: Person, plan: fit.Plan, params: Any, density: Any) -> fit.Fields:
    """A head without a torso. params, density: of HeadField, and its grid."""
    params, density = jax.tree.map(np.array, (params, density))  # of our own
    return fit.Fields(
        rig=person.rig,
        head=params,
        density=density,
        torso=None,
        code=person.code,
        camera=person.training.camera,
        background=person.training.background,
        head_size=plan.head_size,
        torso_size=plan.torso_size,
        samples=plan.shown_samples,
    )


def head_scores(heads: np.ndarray, held: Portrait) -> dict[str, float]:
    """{"psnr_head", "psnr_head_matte", "psnr_mouth"} in dB of heads [T, H, W, 4] uint8
    before the true torso and background: evaluate.avatar.scores of those frames."""
    found = scores(held, before_the_truth(heads, held), heads)["psnr"]
    return {f"psnr_{name}": round(found[name], 3) for name in REGIONS}
