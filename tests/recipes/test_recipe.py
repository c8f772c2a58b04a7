"""What recipes of all stages share: which portrait, which content, and whose work it is."""

import numpy as np
import pytest

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.recipes import recipe as recipes
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint

HUBERT = {"type": "hubert", "channels": 80, "sha256": "ab"}


def told(error) -> str:
    """Its one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def of_portrait(folder, seconds=None):
    config = stage_config("head", "tiny", {"data": str(folder)})
    config.holdout_seconds = seconds
    return config


def test_a_config_says_which_part_of_which_portrait_it_learns(
    work, other_portrait, filmed, tmp_path
):
    total, seen = len(filmed.frames), []
    for folder, seconds, held in (
        (work["portrait"], None, round(total / 11)),
        (work["portrait"], 0.6, 15),
        (work["portrait"], 0.0, 0),
        (other_portrait, 0.6, 15),
    ):
        config = of_portrait(folder, seconds)
        training, end, place = recipes.portrait_parts(config, tmp_path, pictures=False)
        assert place == folder and len(training.clip) == total - held
        assert (end is None) == (held == 0)
        assert held == 0 or len(end.clip) == held
        seen.append(config.portrait.to_dict())
        assert (seen[-1]["frames"], seen[-1]["held_out"]) == (total, held)
    assert len({part["digest"] for part in seen}) == 2
    assert seen[0]["digest"] == seen[2]["digest"] != seen[3]["digest"]


def test_what_was_held_out_when_it_was_prepared_stays_so(filmed, tmp_path):
    prepared = filmed._replace(info=filmed.info | {"held_out": 7})
    save_portrait(prepared, tmp_path / "portrait")
    for seconds, held in ((None, 7), (0.6, 15)):
        config = of_portrait(tmp_path / "portrait", seconds)
        _, end, _ = recipes.portrait_parts(config, tmp_path, pictures=False)
        assert len(end.clip) == held == config.portrait.held_out


def test_the_synthetic_portrait_is_made_once(filmed, tmp_path, monkeypatch):
    made = []

    def make(seed, size, takes):
        made.append((seed, size, len(takes)))
        return filmed

    monkeypatch.setattr("emogene_jax.synthetic.portrait.synthetic_portrait", make)
    first, second = (of_portrait("synthetic") for _ in range(2))
    for config in (first, second):
        _, _, folder = recipes.portrait_parts(config, tmp_path, pictures=False)
        assert folder == tmp_path / "portrait"
    assert made == [(0, 32, 8)] and first.portrait == second.portrait


def test_content_is_kept_in_the_config_and_another_is_refused():
    config = stage_config("audio_to_motion", "tiny")
    recipes.of_same_content(config, LOG_MEL, None, "runs/expert")
    assert config.content.to_dict() == LOG_MEL
    with pytest.raises(UserError) as error:
        recipes.of_same_content(config, LOG_MEL, HUBERT, "runs/expert")
    assert told(error).startswith("runs/expert: found log_mel of 80 channels, expected")


@pytest.mark.parametrize("stage", ["head", "torso", "audio_to_motion"])
def test_a_work_directory_goes_on_with_its_portrait_alone(
    stage, work, other_portrait, tmp_path
):
    config = stage_config(stage, "tiny", {"data": str(work["portrait"])})
    recipes.portrait_parts(config, tmp_path, pictures=False)
    params = {"w": np.zeros(2, np.float32)}
    checkpoint.write(tmp_path, params, {}, {"config": config.to_dict()}, 1)
    before = checkpoint.load(tmp_path).config
    for changed in ({"data": str(other_portrait)}, {"holdout_seconds": 0.6}):
        config = stage_config(stage, "tiny", {"data": str(work["portrait"])} | changed)
        recipes.portrait_parts(config, tmp_path, pictures=False)
        with pytest.raises(UserError) as error:
            recipes.train_recipe(recipes.Recipe(None, None), config, tmp_path)
        assert told(error).startswith(f"{tmp_path}: its training began with portrait")
    assert checkpoint.load(tmp_path).config == before


def test_a_work_directory_goes_on_with_its_content_alone(tmp_path):
    config = stage_config("lip_sync", "tiny")
    recipes.of_same_content(config, HUBERT, None, "")
    params = {"w": np.zeros(2, np.float32)}
    checkpoint.write(tmp_path, params, {}, {"config": config.to_dict()}, 1)
    for content in (LOG_MEL, HUBERT | {"sha256": "cd"}):
        recipes.of_same_content(config, content, None, "")
        with pytest.raises(UserError) as error:
            recipes.train_recipe(recipes.Recipe(None, None), config, tmp_path)
        assert told(error).startswith(f"{tmp_path}: its training began with other cont")


def test_sizes_of_another_stage_are_not_taken(work):
    head = checkpoint.load(work["head"])
    assert recipes.model_of(head, work["head"], "basis")["basis"] == 2
    with pytest.raises(UserError, match="names no channels"):
        recipes.model_of(head, work["head"], "channels")
    with pytest.raises(UserError, match="names no model sizes"):
        recipes.model_of(head._replace(config={}), work["head"])


def test_a_config_of_no_stage_is_told(tmp_path):
    config = stage_config("head", "tiny")
    config.name = "hand"
    with pytest.raises(UserError) as error:
        train_from_config(config, tmp_path)
    assert "found name 'hand', expected lip_sync, audio_to_motion" in told(error)


def test_a_head_goes_on_with_its_rig_alone(tmp_path):
    """Other augmented frames, or another deformation model, would make it another."""
    config, params = stage_config("head", "tiny"), {"w": np.zeros(2, np.float32)}
    record = {"config": config.to_dict()}
    checkpoint.write(tmp_path, params, {}, record, 1, fixed={"rig": np.arange(3.0)})
    for rig in (np.arange(3.0) + 1, np.arange(4.0)):
        recipe = recipes.Recipe(None, None, fixed={"rig": rig})
        with pytest.raises(UserError, match="began with another rig"):
            recipes.train_recipe(recipe, config, tmp_path)
    recipes._check_given(config, {"rig": np.arange(3.0)}, tmp_path)


def test_a_torso_goes_on_behind_its_head_alone(tmp_path):
    before, now = stage_config("torso", "tiny"), stage_config("torso", "tiny")
    for config, digest in ((before, "a"), (now, "b")):
        with config.unlocked():
            config.frozen.head_digest = digest
    params = {"w": np.zeros(2, np.float32)}
    checkpoint.write(tmp_path, params, {}, {"config": before.to_dict()}, 1)
    with pytest.raises(UserError, match="began with another head"):
        recipes.train_recipe(recipes.Recipe(None, None), now, tmp_path)
