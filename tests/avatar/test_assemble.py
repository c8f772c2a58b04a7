"""Work directories become an avatar, where they fit each other."""

import warnings

import chex
import numpy as np
import pytest

from emogene_jax.avatar.assemble import Parts, assemble, one_after_the_other
from emogene_jax.avatar.file import load_avatar, save_avatar
from emogene_jax.portrait.cut import cut
from emogene_jax.recipes.person import from_arrays
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint


def parts(work, **changes) -> Parts:
    return Parts(**work)._replace(**changes)


def test_what_fits_is_an_avatar(work, filmed, person, tmp_path):
    avatar, training, held = assemble(parts(work))
    count = len(filmed.clip) - len(held.clip)
    assert len(training.clip) == count < len(filmed.clip)
    head = checkpoint.load(work["head"])
    chex.assert_trees_all_equal(avatar.fields.head, head.params)
    chex.assert_trees_all_equal(avatar.fields.density, head.aux["density"])
    chex.assert_trees_all_equal(avatar.fields.rig, from_arrays(head.fixed).rig)
    chex.assert_trees_all_equal(avatar.fields.torso, person.fields.torso)
    chex.assert_trees_all_equal(avatar.deformation, person.deformation)
    chex.assert_trees_all_equal(avatar.audio_to_motion, person.audio_to_motion)
    np.testing.assert_array_equal(avatar.fields.background, training.background)
    # Of what is held out it has no pose.
    known = one_after_the_other(cut(filmed, slice(0, count)))
    np.testing.assert_array_equal(avatar.pose.translation, known.translation)
    assert avatar.info["content"] == filmed.info["content"]
    assert avatar.info["filmed_emotions"] == ["happy"]
    save_avatar(avatar, tmp_path)
    again = load_avatar(tmp_path)
    assert again.info == avatar.info
    chex.assert_trees_all_equal(again.fields.torso, avatar.fields.torso)


def test_an_avatar_remembers_configs_but_no_places(work):
    configs = assemble(parts(work))[0].info["configs"]
    assert configs["head"]["model"]["basis"] == 2
    assert configs["head"]["portrait"] == configs["torso"]["portrait"]
    told = str(configs)
    assert not any(str(folder) in told for folder in work.values())


def test_a_torso_behind_another_head_is_told(work, tmp_path):
    head = checkpoint.load(work["head"])
    params = head.params | {"pose_correction": head.params["pose_correction"] + 0.1}
    checkpoint.write(tmp_path, params, head.aux, head.config, fixed=head.fixed)
    with pytest.warns(UserWarning, match="the neck may show a seam") as told:
        assemble(parts(work, head=tmp_path))
    assert str(told[0].message).startswith(f"{work['torso']}: trained behind another")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assemble(parts(work))


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("portrait", "other", "head: trained on portrait"),
        (
            "head",
            "torso",
            "torso: expected a work directory of head",
        ),
        ("head", "audio_to_motion", "expected a work directory of head"),
        ("head", "deformation", "expected a work directory of head"),
        ("torso", "head", "head: expected a work directory of torso"),
        ("torso", "audio_to_motion", "expected a work directory of torso"),
        ("audio_to_motion", "head", "expected a work directory of audio_to_motion"),
        ("deformation", "head", "expected a work directory of motion_to_emotion"),
        ("torso", "portrait", "found no checkpoints"),
        ("portrait", "head", "found no portrait.json"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_line(
    work, other_portrait, part, given, message
):
    places = work | {"other": other_portrait}
    with pytest.raises(UserError, match=message) as error:
        assemble(parts(work, **{part: places[given]}))
    assert "\n" not in str(error.value)


def test_a_torso_of_another_part_of_the_portrait_is_refused(work, tmp_path):
    torso = checkpoint.load(work["torso"])
    config = torso.config["config"]
    portrait = config["portrait"] | {"held_out": config["portrait"]["held_out"] + 5}
    other = {"config": config | {"portrait": portrait}}
    checkpoint.write(tmp_path, torso.params, torso.aux, other)
    with pytest.raises(UserError, match="trained on portrait") as error:
        assemble(parts(work, torso=tmp_path))
    assert str(error.value).startswith(str(tmp_path))


def test_a_voice_that_does_not_fit_its_config_is_refused(work, tmp_path):
    voice = checkpoint.load(work["audio_to_motion"])
    config = voice.config["config"]
    other = {"config": config | {"model": config["model"] | {"hidden": 9}}}
    checkpoint.write(tmp_path, voice.params, voice.aux, other)
    with pytest.raises(UserError, match=r"its config says .params.*expected \[.*9"):
        assemble(parts(work, audio_to_motion=tmp_path))


def test_clips_of_a_person_are_one_movement(filmed):
    """Between two clips the head lay somewhere else; it does not jump there."""
    first = int((filmed.clip == 0).sum())
    moved = filmed.pose.translation.copy()
    moved[first:] += 5.0
    apart = filmed._replace(pose=filmed.pose._replace(translation=moved))
    joined = one_after_the_other(apart)
    assert len(joined.rotation) == len(filmed.frames)
    np.testing.assert_array_equal(joined.translation[:first], moved[:first])
    steps = np.linalg.norm(np.diff(joined.translation, axis=0), axis=-1)
    assert steps[first - 1] < 1e-9 and steps.max() < 1.0
    one = apart._replace(clip=np.zeros_like(apart.clip))
    np.testing.assert_array_equal(one_after_the_other(one).translation, moved)
