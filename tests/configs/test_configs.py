"""Every config and every sweep loads, its keys are those of what it configures, and no
number of a training stands anywhere else."""

import importlib.util
import inspect
import re
from pathlib import Path

import jax
import pytest

from emogene_jax.audio_to_motion import stage as audio_stage
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.input import batches
from emogene_jax.motion_to_emotion.deformation import Deformer
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import UserError
from emogene_jax.synthetic.records import World
from emogene_jax.train.loop import train
from emogene_jax.train.state import Optimizer

ROOT = Path(__file__).resolve().parents[2]
# A model, its stage, and its batches: of each config what its sections are told to.
CONFIGURED = {
    "lip_sync": (LipSync, audio_stage.lip_sync_stage, batches.clip_batches),
    "audio_to_motion": (
        AudioToMotion,
        audio_stage.audio_to_motion_stage,
        batches.clip_batches,
    ),
    "motion_to_emotion": (Deformer, motion_to_emotion_stage, batches.pair_batches),
    "head": (HeadSize, head_stage, None),
    "torso": (TorsoSize, torso_stage, None),
}
FIELDS = ("", "gpu,size=512", "cpu,size=128,frames=400", "size=256,cpu", "demo", "tiny")
VARIANTS = {
    "lip_sync": ("", "demo", "tiny"),
    "audio_to_motion": ("", "person", "person,frames=400", "demo", "tiny"),
    "motion_to_emotion": ("", "generic", "person", "demo", "tiny"),
    "head": FIELDS,
    "torso": FIELDS,
}
EVERY = [(name, arg) for name, args in VARIANTS.items() for arg in args]


def load(name: str):
    path = ROOT / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "arg"), EVERY)
def test_keys_are_arguments_of_what_they_configure(name, arg):
    config = load(name).get_config(arg)
    assert config.name == name and config.is_locked
    model, stage, batch = CONFIGURED[name]
    for section, target in (
        (config.model, model),
        (config.stage, stage),
        (config.get("batch", {}), batch),
        (config.optimizer, Optimizer),
        (config.train, train),
        (config.get("world", {}), World),
    ):
        names = inspect.signature(target).parameters if target else {}
        assert set(section) <= set(names), (name, target)
    model(**config.model)
    # What a training has to be told it is told, but for its data.
    required = {
        n
        for n, p in inspect.signature(train).parameters.items()
        if p.default is p.empty and n not in ("stage", "workdir", "batch_source")
    }
    assert required - set(config.train) == {"optimizer"}
    sized = {"gpu", "cpu", "demo", "tiny", "person", "generic", ""}
    assert {part for part in arg.split(",") if "=" not in part} <= sized


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_tiny_one_is_two_steps(name):
    config = stage_config(name, "tiny")
    plan = config.train
    assert plan.steps == plan.val_steps == plan.ckpt_steps == 2
    assert config.data == "synthetic"


@pytest.mark.parametrize(
    ("name", "arg", "found"),
    [
        ("head", "big", "'big'"),
        ("head", "cpu,size=big", "'size=big'"),
        ("head", "cpu,size=-1", "'size=-1'"),
        ("torso", "cpu,colour=3", "'colour=3'"),
        ("lip_sync", "cpu", "'cpu'"),
        ("audio_to_motion", "person,size=3", "'size=3'"),
        ("motion_to_emotion", "personal", "'personal'"),
    ],
)
def test_an_argument_that_is_unknown_is_told_in_a_line(name, arg, found):
    with pytest.raises(UserError) as error:
        load(name).get_config(arg)
    told = str(error.value)
    assert told.startswith(f"config argument: found {found}, expected some of ")
    assert "tiny" in told and "\n" not in told


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_key_that_is_unknown_is_refused(name):
    config = load(name).get_config("tiny")
    with pytest.raises(KeyError, match="hiden"):
        config.update_from_flattened_dict({"model.hiden": 3})
    with pytest.raises(AttributeError):
        config.train.stepz = 3


def test_what_follows_from_a_portrait():
    def steps(name, arg):
        return load(name).get_config(arg).train.steps

    sizes = [steps("head", f"cpu,size={size}") for size in (64, 128, 192, 256, 512)]
    assert sizes == sorted(sizes) and sizes[0] == sizes[1] < sizes[-1] == 2 * sizes[0]
    few, some, many = (
        steps("head", f"cpu,size=256,frames={n}") for n in (50, 300, 7500)
    )
    assert few < some < many == steps("head", "cpu,size=256")
    person = [steps("audio_to_motion", f"person,frames={n}") for n in (0, 1000, 9000)]
    assert person == [450, 1000, 3000]
    for name in ("head", "torso"):
        small, large = (load(name).get_config(f"cpu,size={n}") for n in (128, 512))
        assert small.model.coarse < large.model.coarse
    for arg in ("cpu,size=16", "gpu,size=4096"):
        HeadSize(**load("head").get_config(arg).model)
        assert load("torso").get_config(arg).model.fine <= 512


def evaluated(name) -> set[str]:
    """What a stage reports of a held-out batch of its tiny config."""
    config = stage_config(name, "tiny")
    model, stage, _ = CONFIGURED[name]

    def shape(*dims, kind="float32"):
        return jax.ShapeDtypeStruct(dims, kind)

    if name == "motion_to_emotion":
        rows = {"neutral": shape(4, 204), "emotional": shape(4, 204)}
        batch = rows | {"emotion": shape(4, kind="int32"), "intensity": shape(4)}
        stage = stage(**config.model.to_dict(), **config.stage.to_dict())
    else:
        batch = {"content": shape(2, 40, 80), "f0": shape(2, 40), "mask": shape(2, 20)}
        batch |= {"motion": shape(2, 20, 204), "blink": shape(2, 20, kind="int32")}
        batch |= {"speaker": shape(2, kind="int32")}
        stage = stage(model(**config.model.to_dict()), **config.stage.to_dict())
    params, aux = jax.eval_shape(stage.init, jax.random.key(0), batch)
    return set(jax.eval_shape(stage.evaluate, params, aux, None, batch))


@pytest.mark.parametrize("name", ["lip_sync", "audio_to_motion", "motion_to_emotion"])
def test_a_config_is_judged_by_what_its_training_reports(name):
    """Of head and torso, whose renderings are judged, tests/recipes trains some."""
    metrics = {load(name).get_config(arg).metric for arg in VARIANTS[name]}
    assert metrics <= {f"val_{metric}" for metric in evaluated(name)}


@pytest.mark.parametrize(("name", "arg"), EVERY)
def test_a_config_says_what_is_best(name, arg):
    config = load(name).get_config(arg)
    assert config.metric.startswith("val_")
    higher = any(word in config.metric for word in ("psnr", "accuracy"))
    assert config.best == ("highest" if higher else "lowest")


@pytest.mark.parametrize("name", CONFIGURED)
def test_sweeps_override_what_is_there(name):
    module = load(name)
    sweeps = [item for item in vars(module) if item.startswith("sweep_")]
    assert {"sweep_lr", "sweep_width"} <= set(sweeps)
    for sweep in sweeps:
        points = list(getattr(module, sweep)())
        assert len(points) > 1
        for arg in VARIANTS[name]:
            for point in points:
                config = module.get_config(arg)
                config.update_from_flattened_dict(point)  # raises on a typo or a type


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_header_says_what_to_type_and_to_expect(name):
    header = load(name).__doc__
    assert f"emogene train --config {name}" in header
    for what in ("Hardware: ", "Hours: ", "Expect: `"):
        assert f"\n{what}" in header, what
    assert f"`{load(name).get_config().metric}`" in header
    # A rate means nothing without the size of the batch that it is for.
    text = (ROOT / "configs" / f"{name}.py").read_text()
    assert "over all devices and hosts" in text


def test_no_config_is_left_out():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert files == {*CONFIGURED, "__init__", "common"}


# A learning rate; or how many steps something is trained for, or done after.
NUMBERS = re.compile(
    r"""(learning_rate|\blr)["']?\]?\s*(:\s*\w+\s*)?[=:]\s*[0-9.]"""
    r"""|steps["']?\]?\s*(:\s*\w+\s*)?[=:]\s*[1-9][0-9_]+"""
    r"""|\badamw?\(\s*[0-9.]"""
)


@pytest.mark.parametrize(
    "line",
    [
        "Optimizer(learning_rate=1e-3)",
        '"optimizer.learning_rate": 0.1,',
        "learning_rate: float = 2e-3",
        "train(stage, steps=40_000)",
        '"train.ckpt_steps": 250',
        "warmup_steps = 50",
        "optax.adam(1e-2)",
    ],
)
def test_numbers_are_recognised(line):
    assert NUMBERS.search(line)


def test_numbers_of_trainings_stand_in_configs_alone():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("emogene_jax", "benchmarks", "launch")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".sh", ".sbatch")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NUMBERS.search(line)
    ]
    assert not found, "\n".join(found)
