"""Pairs that are made up teach the facial actions, and a person's own emotions alone."""

import jax
import numpy as np
import pytest

from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.expressions import express
from emogene_jax.motion_to_emotion.pairs import (
    facial_action_pairs,
    own_emotion_pairs,
    prior_pairs,
)
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage
from emogene_jax.portrait.takes import added_by_emotion, takes_of
from emogene_jax.recipes.recipe import Recipe, train_recipe
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.takes import make_take

STYLE, PERSON, UNSEEN = 5, 3, 40
FILMED = ("happy", "angry", "surprise")


def learned(variant, pairs, steps, folder, initial=None):
    """Parameters after so many steps of the config on pairs."""
    every = {f"train.{name}": steps for name in ("steps", "ckpt_steps", "val_steps")}
    config = stage_config("motion_to_emotion", variant, every)
    sizes = config.model.to_dict() | config.stage.to_dict()
    stage = motion_to_emotion_stage(**sizes, batch_size=config.batch.batch_size)
    recipe = Recipe(stage, pairs, initial=initial)
    return jax.device_get(train_recipe(recipe, config, folder).ema_params)


@pytest.fixture(scope="module")
def models(heard_of, tmp_path_factory):
    """(prior, own): before and after the person was seen in three emotions, a take
    each: two of sentences that they also said neutrally, one of another."""
    folder = tmp_path_factory.mktemp("models")
    talkers = [make_take(0, k, k).neutral_motion for k in range(20, 25)]
    pairs = facial_action_pairs(np.concatenate(talkers), 0)
    prior = learned("generic", pairs, 500, folder / "prior")
    takes = [make_take(0, PERSON, sentence) for sentence in (0, 1)]
    for sentence, emotion in zip((0, 1, 7), FILMED, strict=True):
        takes.append(
            make_take(0, PERSON, sentence, emotion, style=STYLE, own_pace=True)
        )
    shown = added_by_emotion(takes_of(heard_of(takes)))
    pairs = own_emotion_pairs(prior, shown, 0)
    return prior, learned("person", pairs, 300, folder / "own", (prior, {}))


def felt(params, neutral, emotion):
    weights = np.tile(
        np.eye(8, dtype=np.float32)[EMOTIONS.index(emotion)], (len(neutral), 1)
    )
    return np.asarray(deform(params, neutral, weights, np.ones(len(neutral))))


def rms(x):
    return np.sqrt((x**2).sum(-1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("emotion", "share"), zip(FILMED, (0.5, 0.5, 0.9), strict=True)
)
def test_an_unseen_sentence_is_felt_as_the_person_does(models, emotion, share):
    true = make_take(0, PERSON, UNSEEN, emotion, style=STYLE)
    prior, own = (felt(m, true.neutral_motion, emotion) - true.motion for m in models)
    assert rms(own) < share * rms(prior)


@pytest.mark.parametrize("emotion", [e for e in EMOTIONS if e not in FILMED])
def test_what_was_never_filmed_stays_the_priors(models, emotion):
    neutral = make_take(0, PERSON, UNSEEN).neutral_motion
    prior, own = (felt(m, neutral, emotion) for m in models)
    assert rms(own - prior) < max(0.1 * rms(prior - neutral), 0.002)


def test_lips_that_meet_still_meet(models):
    true = make_take(0, PERSON, UNSEEN)
    gap = true.neutral_motion[:, 62, 1] - true.neutral_motion[:, 66, 1]
    shut = gap < 0.002
    moved = felt(models[1], true.neutral_motion, "surprise")
    opening = moved[:, 62, 1] - moved[:, 66, 1]
    assert shut.sum() > 5 and (~shut).sum() > 5
    assert np.median(opening[shut]) < 0.25 * np.median(opening[~shut])
    assert np.corrcoef(gap, opening)[0, 1] > 0.8


def test_pairs_hold_what_they_say():
    motion = make_take(0, 1, 2).neutral_motion
    pairs = prior_pairs(motion, np.random.default_rng(1))
    assert pairs["neutral"].shape == pairs["emotional"].shape == (len(motion), 204)
    for i in (0, 7, 30):
        expected = express(
            motion[i : i + 1], EMOTIONS[pairs["emotion"][i]], pairs["intensity"][i]
        )
        np.testing.assert_allclose(pairs["emotional"][i], expected.ravel(), atol=1e-6)
    neutral = pairs["emotion"] == EMOTIONS.index("neutral")
    np.testing.assert_array_equal(
        pairs["emotional"][neutral], pairs["neutral"][neutral]
    )
