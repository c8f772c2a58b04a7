"""Emotions begin where a face rests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.landmarks import MOUTH_CORNERS
from emogene_jax.motion_to_emotion.deformation import (
    LANDMARK_SIZE,
    Deformer,
    deform,
    layout,
)
from emogene_jax.motion_to_emotion.resting import from_rest, resting_smile
from emogene_jax.signals import EMOTIONS
from emogene_jax.trees import difference


@pytest.fixture(scope="module")
def params():
    inputs = jnp.zeros(LANDMARK_SIZE), jnp.zeros(len(EMOTIONS)), jnp.ones(())
    return jax.jit(Deformer(hidden=8).init)(jax.random.key(0), *inputs)["params"]


def corners(params, emotion: str, intensity: float = 1.0) -> float:
    """Their height, of a face at rest that is asked for an emotion."""
    weights = np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(emotion)]]
    still = np.zeros((1, 68, 3), np.float32)
    felt = deform(params, still, weights, np.array([intensity], np.float32))
    return float(np.asarray(felt)[0, list(MOUTH_CORNERS), 1].mean())


def test_a_smile_is_as_much_as_is_seen():
    scores = np.linspace(0, 1, 21)
    amounts = [resting_smile(score) for score in scores]
    assert amounts[0] == 0 and (np.diff(amounts) >= 0).all() and amounts[-1] > 1


def test_a_resting_smile_does_not_remain_under_sadness(params):
    smiling = from_rest(params, 0.4)
    for emotion in ("sad", "angry", "surprise", "fear", "disgust"):
        assert corners(smiling, emotion) < corners(params, emotion) - 0.04
        half = corners(smiling, emotion, 0.5) - corners(params, emotion, 0.5)
        whole = corners(smiling, emotion) - corners(params, emotion)
        assert half == pytest.approx(whole / 2, abs=1e-5)
    for emotion in ("happy", "contempt", "neutral"):
        assert corners(smiling, emotion) == corners(params, emotion)


def test_what_was_filmed_begins_there_already(params):
    own = from_rest(params, 0.4, filmed=["sad"])
    assert corners(own, "sad") == corners(params, "sad")
    assert corners(own, "fear") < corners(params, "fear")


def test_a_face_that_does_not_smile_keeps_its_mouth(params):
    assert from_rest(params, 0.0) is params


def test_what_is_taken_away_has_a_shape(params):
    smiling = from_rest(params, 0.4)
    assert not difference(smiling, layout(smiling))
    assert difference(smiling | {"resting": smiling["resting"][:3]}, layout(smiling))
