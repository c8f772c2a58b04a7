"""Which deformation model a portrait is expressed by, and what it is made of."""

import chex
import numpy as np
import pytest

from emogene_jax.motion_to_emotion.stage import NEUTRAL
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.recipes import motion_to_emotion
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import EMOTIONS, UserError
from emogene_jax.train import checkpoint

HAPPY = EMOTIONS.index("happy")


def config_of(data, **changes):
    return stage_config("motion_to_emotion", "tiny", {"data": str(data)} | changes)


@pytest.fixture
def built_in(monkeypatch, tmp_path):
    """A cache folder of its own, and what is trained for the built-in model: tiny."""
    trained, train = [], motion_to_emotion.train_recipe

    def counted(recipe, config, workdir):
        trained.append(config)
        return train(recipe, config, workdir)

    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(motion_to_emotion, "train_recipe", counted)
    asked, config = [], config_of("facial_actions")

    def tiny(arg):
        asked.append(arg)
        return config

    monkeypatch.setattr(motion_to_emotion.generic, "get_config", tiny)
    return trained, asked


def test_the_built_in_model_is_learned_once(built_in):
    trained, asked = built_in
    first, second = (motion_to_emotion.load_deformation(where) for where in ("", None))
    chex.assert_trees_all_equal(first, second)
    assert len(trained) == 1 and asked == ["generic"] * 2


def test_other_facial_actions_make_another_built_in_model(built_in, monkeypatch):
    motion_to_emotion.load_deformation("")
    shown = motion_to_emotion.emotion_displacement
    monkeypatch.setattr(
        motion_to_emotion, "emotion_displacement", lambda name: 1.1 * shown(name)
    )
    motion_to_emotion.load_deformation("")
    assert len(built_in[0]) == 2


def test_several_hosts_do_not_learn_it_each(built_in, monkeypatch):
    monkeypatch.setattr(motion_to_emotion.parallel, "host", lambda: (0, 2))
    with pytest.raises(UserError, match="train motion_to_emotion:generic first"):
        motion_to_emotion.load_deformation("")
    assert not built_in[0]


def test_a_work_directory_of_another_stage_is_refused(work):
    params = motion_to_emotion.load_deformation(work["deformation"])
    assert params["embedding"].shape[0] == len(EMOTIONS)
    with pytest.raises(UserError, match="/head: expected a work directory of motion_"):
        motion_to_emotion.load_deformation(work["head"])


def test_the_generic_one_is_judged_on_talkers_that_it_never_saw(tmp_path):
    recipe = motion_to_emotion.build(config_of("facial_actions"), tmp_path)
    (held,) = recipe.val_batches
    learned = {row.tobytes() for row in recipe.data["neutral"]}
    assert len(recipe.data["neutral"]) > len(held["neutral"]) > 20
    assert not learned & {row.tobytes() for row in held["neutral"]}
    assert recipe.initial is None
    assert {len(rows) for rows in recipe.data.values()} == {len(learned)}


def test_a_persons_begins_with_the_generic_one_and_keeps_its_end(work, tmp_path):
    config = config_of(work["portrait"], **{"frozen.generic": str(work["deformation"])})
    recipe = motion_to_emotion.build(config, tmp_path)
    start = checkpoint.load(work["deformation"]).params
    chex.assert_trees_all_equal(recipe.initial[0], start)
    shown = set(recipe.data["emotion"].tolist())
    assert shown == set(range(len(EMOTIONS))) - {NEUTRAL}
    (held,) = recipe.val_batches
    assert len(held["neutral"]) == config.portrait.held_out
    assert not np.isin(held["neutral"][:, 0], recipe.data["neutral"][:, 0]).any()


def test_an_end_with_an_emotion_is_judged_by_it(filmed, work, tmp_path):
    """What was held out shows a second of neutral frames and a second of happy ones."""
    calm = filmed._replace(emotion=np.where(filmed.clip == 1, HAPPY, NEUTRAL))
    save_portrait(twice(calm), tmp_path / "portrait")
    generic = {"frozen.generic": str(work["deformation"])}
    seconds = len(filmed.clip) / 25
    config = config_of(tmp_path / "portrait", **generic, holdout_seconds=seconds)
    (held,) = motion_to_emotion.build(config, tmp_path).val_batches
    own = held["emotion"] == HAPPY
    assert own.sum() == (held["emotion"] == 0).sum() > 500
    assert np.abs(held["emotional"] - held["neutral"])[own].max() > 0.05


def twice(portrait):
    """A portrait, and the same again."""
    values, total = {}, len(portrait.clip)
    for name, value in portrait._asdict().items():
        if name == "pose":
            value = type(value)(*(np.concatenate([part, part]) for part in value))
        elif name == "clip":
            value = np.concatenate([value, value + value.max() + 1])
        elif name in ("content", "f0", "waveform") or (
            isinstance(value, np.ndarray) and len(value) == total
        ):
            value = np.concatenate([value, value])
        values[name] = value
    return type(portrait)(**values)


def test_without_own_emotions_there_is_nothing_to_learn(work, filmed, tmp_path):
    """Held out but for half a second."""
    generic = {"frozen.generic": str(work["deformation"])}
    seconds = (np.sum(filmed.emotion == HAPPY) - 12) / 25
    config = config_of(work["portrait"], **generic, holdout_seconds=seconds)
    with pytest.raises(UserError, match="no own emotions to learn") as error:
        motion_to_emotion.build(config, tmp_path)
    assert str(error.value).startswith(str(work["portrait"]))
