"""A person's own emotions are learned from their takes, and only those."""

import jax
import numpy as np
import pytest

from emogene_jax.data.pairs import added_by_emotion, takes_of
from emogene_jax.data.synthetic import make_take
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.fit import fit_prior, fit_style
from emogene_jax.signals import EMOTIONS

STYLE, PERSON, UNSEEN = 5, 3, 40
FILMED = ("happy", "angry", "surprise")


@pytest.fixture(scope="module")
def models(heard_of, tmp_path_factory):
    """(prior, own): before and after the person was seen in three emotions, a take
    each: two of sentences that they also said neutrally, one of another."""
    folder = tmp_path_factory.mktemp("models")
    talkers = [make_take(0, k, k).neutral_motion for k in range(20, 25)]
    prior = fit_prior(np.concatenate(talkers), folder / "prior", steps=500).ema_params
    prior = jax.device_get(prior)
    takes = [make_take(0, PERSON, sentence) for sentence in (0, 1)]
    for sentence, emotion in zip((0, 1, 7), FILMED, strict=True):
        takes.append(
            make_take(0, PERSON, sentence, emotion, style=STYLE, own_pace=True)
        )
    shown = added_by_emotion(takes_of(heard_of(takes)))
    own = fit_style(prior, shown, folder / "own", steps=300).ema_params
    return prior, jax.device_get(own)


def felt(params, neutral, emotion):
    weights = np.tile(
        np.eye(8, dtype=np.float32)[EMOTIONS.index(emotion)], (len(neutral), 1)
    )
    return np.asarray(deform(params, neutral, weights, np.ones(len(neutral))))


def rms(x):
    return np.sqrt((x**2).sum(-1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("emotion", "share"), zip(FILMED, (0.5, 0.5, 0.8), strict=True)
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
