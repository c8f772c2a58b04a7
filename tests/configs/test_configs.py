"""Every config and every sweep loads, and its keys are those of what it configures."""

import importlib.util
import inspect
from pathlib import Path

import pytest

from emogene_jax.audio_to_motion import stage as audio_stage
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.data import batches
from emogene_jax.emotion_to_video import stage as video_stage
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.motion_to_emotion.deformation import Deformer
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage
from emogene_jax.signals import UserError
from emogene_jax.train.loop import train
from emogene_jax.train.state import Optimizer

ROOT = Path(__file__).resolve().parents[2]
CONFIGURED = {
    "lip_sync": (LipSync, audio_stage.lip_sync_stage, batches.clip_batches),
    "audio_to_motion": (
        AudioToMotion,
        audio_stage.audio_to_motion_stage,
        batches.clip_batches,
    ),
    "motion_to_emotion": (Deformer, motion_to_emotion_stage, batches.pair_batches),
    "head": (HeadSize, video_stage.head_stage, None),
    "torso": (TorsoSize, video_stage.torso_stage, None),
}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", CONFIGURED)
@pytest.mark.parametrize("arg", ["", "tiny"])
def test_keys_are_arguments_of_what_they_configure(name, arg):
    config = load(ROOT / "configs" / f"{name}.py").get_config(arg)
    assert config.name == name and config.is_locked
    model, stage, batch = CONFIGURED[name]
    for section, target in (
        (config.model, model),
        (config.stage, stage),
        (config.get("batch", {}), batch),
        (config.optimizer, Optimizer),
        (config.train, train),
    ):
        names = inspect.signature(target).parameters if target else {}
        assert set(section) <= set(names), (name, target)
    assert config.train.steps == 2 or not arg
    model(**config.model)


@pytest.mark.parametrize("name", CONFIGURED)
def test_sweeps_override_what_is_there(name):
    module = load(ROOT / "configs" / f"{name}.py")
    sweeps = [item for item in vars(module) if item.startswith("sweep_")]
    assert sweeps
    for sweep in sweeps:
        points = list(getattr(module, sweep)())
        assert len(points) > 1
        for point in points:
            config = module.get_config()
            config.update_from_flattened_dict(point)  # raises on a typo or a type


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_header_says_what_to_type_and_to_expect(name):
    path = ROOT / "configs" / f"{name}.py"
    header = load(path).__doc__
    assert f"emogene train --config {name} --workdir" in header
    for what in ("Hardware: ", "Hours: ", "Expect: `"):
        assert f"\n{what}" in header, what
    # A rate means nothing without the size of the batch that it is for.
    assert "over all devices and hosts" in path.read_text()


def test_an_unknown_argument_is_told():
    with pytest.raises(UserError, match="'big'.*tiny"):
        load(ROOT / "configs" / "head.py").get_config("big")


def test_no_config_is_left_out():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert files == {*CONFIGURED, "__init__", "common"}
