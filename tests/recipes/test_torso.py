"""A torso is learned behind the head of its own portrait, or not at all."""

import jax
import numpy as np
import pytest

from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotion_to_video.torso import TorsoSize, torso_rows
from emogene_jax.evaluate.reconstruction import rerender
from emogene_jax.portrait.cut import cut, spread_rows
from emogene_jax.pose.code import pose_code
from emogene_jax.recipes import torso
from emogene_jax.recipes.recipe import portrait_parts, train_recipe
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint

SIZE = TorsoSize(1, 1, 1, 1, 1)  # of none


def config_of(portrait, head, **changes):
    given = {"data": str(portrait), "frozen.head": str(head)} | changes
    return stage_config("torso", "tiny", given)


@pytest.mark.parametrize(
    ("portrait", "head", "changes", "message"),
    [
        ("portrait", "", {}, "frozen.head must name the head's work directory"),
        ("portrait", "portrait", {}, "found no checkpoints"),
        ("other", "head", {}, r"/head: trained on portrait .*, found "),
        ("portrait", "head", {"holdout_seconds": 0.6}, "'held_out': 15}"),
        ("portrait", "audio_to_motion", {}, r"trained on portrait None"),
        ("portrait", "torso", {}, "names no basis"),
    ],
)
def test_a_head_that_is_not_of_this_portrait_is_refused(
    work, other_portrait, tmp_path, portrait, head, changes, message
):
    places = work | {"other": other_portrait, "": ""}
    config = config_of(places[portrait], places[head], **changes)
    with pytest.raises(UserError, match=message) as error:
        torso.build(config, tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def learned(work, tmp_path_factory):
    config = config_of(work["portrait"], work["head"])
    config.update_from_flattened_dict(
        {f"train.{name}": 40 for name in ("steps", "ckpt_steps", "val_steps")}
        | {"stage.rays": 64, "optimizer.warmup_steps": 5, "most_frames": 20}
    )
    workdir = tmp_path_factory.mktemp("torso")
    recipe = torso.build(config, workdir)
    return config, workdir, recipe, train_recipe(recipe, config, workdir)


@pytest.mark.slow
def test_it_learns_from_spread_frames_and_says_how_well(learned, filmed):
    config, workdir, recipe, result = learned
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.params))
    assert result.metrics["psnr"] > 12
    assert np.isfinite(result.metrics[config.metric])
    heads, turns = recipe.data["heads"], recipe.data["turns"]
    assert heads.shape == (20, 32, 32, 4) and heads.dtype == np.uint8
    assert heads[..., 3].max() > 128  # the head is there to stand behind
    np.testing.assert_array_equal(turns, np.arange(20))
    known = cut(filmed, slice(0, -config.portrait.held_out))
    told = checkpoint.load(workdir).config["config"]
    assert told["model"]["rows"] == pytest.approx(torso_rows(known.torso_matte), abs=1)
    assert told["portrait"] == config.portrait.to_dict()


@pytest.mark.slow
def test_frames_that_were_picked_out_are_told_what_they_are_in_the_movement(
    learned, work, tmp_path
):
    """Half of a pose's code is the pose smoothed over its neighbours, and the head is
    seen under a pose that its code corrects."""
    config, _, recipe, _ = learned
    training, _, _ = portrait_parts(config, tmp_path)
    rows = spread_rows(len(training.clip), 20)
    head = checkpoint.load(work["head"])
    fields = torso.head_fields(head, "head", training, None)
    codes = pose_code(fields.code, training.pose)
    np.testing.assert_array_equal(recipe.data["code"], codes[rows])
    whole = rerender(Renderer(fields._replace(torso_size=SIZE)), training)[1]
    np.testing.assert_array_equal(recipe.data["heads"], whole[rows])


@pytest.mark.slow
def test_it_knows_which_head_it_stands_behind(learned, work):
    told = checkpoint.load(learned[1]).config["config"]["frozen"]
    head = checkpoint.load(work["head"]).params
    assert told["head_digest"] == torso.params_digest(head)
    other = jax.tree.map(lambda leaf: leaf + 1e-3, head)
    assert told["head_digest"] != torso.params_digest(other)
