"""The deformation model learns the facial-action prior, and leaves neutral alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.motion_to_emotion.expressions import express, signature
from emogene_jax.motion_to_emotion.pairs import prior_pairs
from emogene_jax.motion_to_emotion.stage import motion_to_emotion_stage
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.takes import make_take


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    motion = np.concatenate([make_take(0, i, i).neutral_motion for i in range(4)])
    resident = jax.tree.map(jnp.asarray, prior_pairs(np.repeat(motion, 4, 0), rng))
    stage = motion_to_emotion_stage(hidden=64, batch_size=64)
    key = jax.random.key(0)
    params, aux = jax.jit(stage.init)(key, stage.sample(resident, key, 0))
    optimiser = optax.adam(optax.cosine_decay_schedule(4e-3, 800))

    def one(carry, step):
        params, state = carry
        batch = stage.sample(resident, key, step)
        grads, (_, metrics) = jax.grad(stage.loss, has_aux=True)(
            params, aux, {}, batch, key, step
        )
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, updates), state), metrics

    scan = jax.jit(lambda carry: jax.lax.scan(one, carry, jnp.arange(800)))
    (params, _), metrics = scan((params, jax.jit(optimiser.init)(params)))
    return params, jax.tree.map(np.asarray, metrics)


def test_it_learns(trained):
    _, metrics = trained
    assert np.mean(metrics["landmark_error"][-20:]) < 0.2 * np.mean(metrics["moved"])
    assert np.mean(metrics["neutral_error"][-20:]) < 0.002


def test_unseen_speech_takes_every_emotion(trained):
    params, _ = trained
    motion = make_take(0, 9, 99).neutral_motion
    frames = len(motion)
    weights = np.eye(8, dtype=np.float32)
    truth = np.stack([express(motion, name).mean(0).ravel() for name in EMOTIONS])
    for index, name in enumerate(EMOTIONS):
        out = deform(
            params, motion, np.tile(weights[index], (frames, 1)), np.ones(frames)
        )
        distance = np.linalg.norm(truth - np.asarray(out).mean(0).ravel(), axis=-1)
        assert distance.argmin() == index, name
    lifted = (
        signature(np.asarray(out))["brow_height"] - signature(motion)["brow_height"]
    )
    assert lifted.mean() > 0.05  # surprise


def test_held_out_pairs_are_judged_as_they_are_learned(trained):
    """Nothing in this stage is drawn anew; but what moved is told beside the error."""
    params, metrics = trained
    motion = make_take(0, 9, 98).neutral_motion
    pairs = prior_pairs(motion, np.random.default_rng(5))
    found = motion_to_emotion_stage(hidden=64).evaluate(params, {}, None, pairs)
    assert set(found) == {*metrics, "loss"}
    assert found["landmark_error"] < 0.3 * found["moved"]
    moved = (pairs["emotional"] - pairs["neutral"]).reshape(-1, 68, 3)
    np.testing.assert_allclose(
        found["moved"], np.sqrt((moved**2).sum(-1).mean()), rtol=1e-5
    )
