"""A head is learned from filmed and augmented frames, and is judged by its own end."""

import os

import chex
import jax
import numpy as np
import pytest

from emogene_jax.face.mesh import MESH_POINTS
from emogene_jax.recipes import head
from emogene_jax.recipes.person import from_arrays
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.recipes.torso import head_fields
from emogene_jax.train import checkpoint


def config_of(work, **changes):
    given = {"data": str(work["portrait"]), "augment.frames": 0} | changes
    return stage_config("head", "tiny", given)


def negative(training, *_):
    """In place of augmented frames: the last ones in negative, with a larger face."""
    part = slice(-10, None)
    return training._replace(
        frames=255 - training.frames[part],
        head_matte=training.head_matte[part],
        torso_matte=training.torso_matte[part],
        mesh=training.mesh[part] * 1.1,
        landmarks=training.landmarks[part] * 1.1,
        torso=training.torso[part],
        pose=type(training.pose)(*(values[part] for values in training.pose)),
    )


def test_augmented_frames_are_kept_beside_the_portrait(
    work, filmed, tmp_path, monkeypatch
):
    """Or in the work directory, where that can't be written; and are of what may be
    learned from."""
    asked = []

    def augmented(training, place, deformation, filmed, count, seed):
        asked.append((place, len(training.frames), filmed, count, seed))
        return deformation

    monkeypatch.setattr(head, "augmented", augmented)
    changes = {"augment.frames": 30, "augment.seed": 4}
    config = config_of(work, **changes)
    config.frozen.deformation = str(work["deformation"])
    told = config, work["portrait"], tmp_path
    mesh = np.zeros((len(filmed.clip), MESH_POINTS, 3), np.float32)
    tracked = filmed._replace(mesh=mesh)
    deformation = head.varied_frames(tracked, *told)
    chex.assert_trees_all_equal(
        deformation, checkpoint.load(work["deformation"]).params
    )
    monkeypatch.setattr(os, "access", lambda *_: False)
    head.varied_frames(tracked, *told)
    beside = work["portrait"] / "augmented"
    assert [place for place, *_ in asked] == [beside, tmp_path / "augmented"]
    assert asked[0][1:] == (len(filmed.frames), ["happy"], 30, 4)


def test_without_augmented_frames_no_deformation_model_is_asked_for(
    work, filmed, tmp_path, monkeypatch
):
    """Nor where there is no mesh that could be moved; making one takes its time."""
    monkeypatch.setattr(head, "person_deformation", None)
    for count in (0, 30):
        config = config_of(work, **{"augment.frames": count})
        assert head.varied_frames(filmed, config, *[tmp_path] * 2) is None


def test_a_head_learns_from_both_and_keeps_what_was_measured(
    work, filmed, tmp_path, monkeypatch
):
    monkeypatch.setattr(head, "varied_frames", negative)
    recipe = head.build(config_of(work), tmp_path)
    known = len(filmed.frames) - round(len(filmed.frames) / 11)
    assert len(recipe.data["frames"]) == known + 10
    np.testing.assert_array_equal(
        recipe.data["frames"][known:], 255 - recipe.data["frames"][known - 10 : known]
    )
    person = from_arrays(recipe.fixed)
    assert person.varied_motion.shape == (10, 68, 3)
    chex.assert_trees_all_close(recipe.frozen["rig"], person.rig)
    assert recipe.validate is not None
    whole = head.build(config_of(work, holdout_seconds=0.0), tmp_path)
    assert whole.validate is None


@pytest.mark.slow
def test_it_learns_and_a_killed_training_goes_on_to_the_same_bits(
    work, filmed, tmp_path
):
    def learn(workdir, steps):
        every = ("steps", "ckpt_steps", "val_steps")
        config = config_of(work, **{f"train.{name}": steps for name in every})
        assert config.optimizer.warmup_steps > steps  # all plans begin alike
        return config, train_from_config(config, tmp_path / workdir)

    config, whole = learn("whole", 8)
    assert np.isfinite(whole.metrics[config.metric])
    assert {"val_psnr_head", "val_psnr_mouth"} <= set(whole.metrics)
    learn("cut", 4)
    _, resumed = learn("cut", 8)
    for name in ("params", "ema_params", "aux"):
        chex.assert_trees_all_equal(getattr(resumed, name), getattr(whole, name))
    assert resumed.metrics[config.metric] == whole.metrics[config.metric]
    saved = checkpoint.load(tmp_path / "whole")
    fields = head_fields(saved, "whole", filmed, None)
    chex.assert_trees_all_equal(fields.head, jax.device_get(whole.ema_params))
    assert fields.samples == config.shown_samples and fields.torso is None
