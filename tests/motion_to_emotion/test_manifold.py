"""Motion comes back to what a person can do, and emotions survive it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.landmarks import BROWS, EYES, INNER_LOWER, INNER_UPPER, MOUTH
from emogene_jax.motion_to_emotion.expressions import emotion_displacement, express
from emogene_jax.motion_to_emotion.manifold import REGIONS, fit_manifold, project
from emogene_jax.signals import EMOTIONS
from emogene_jax.synthetic.motion import identity, talk
from emogene_jax.synthetic.voice import random_sentence


def talking(seed, frames=120):
    rng = np.random.default_rng(seed)
    return talk(random_sentence(rng, seconds=frames / 25), frames, identity(0), rng)


@pytest.fixture(scope="module")
def shown():
    """What the person showed: 120 frames talking, 160 of them again with an emotion."""
    rng = np.random.default_rng(0)
    neutral = talking(1)
    varied = [
        express(neutral[[i % 120]], EMOTIONS[i % 8], rng.uniform(0.3, 1.15))
        for i in range(160)
    ]
    return np.concatenate([neutral, *varied])


@pytest.fixture(scope="module")
def manifold(shown):
    return fit_manifold(shown)


def rms(motion):
    return float(np.sqrt(np.mean(np.square(motion))))


def test_regions_are_the_whole_face_once():
    assert np.array_equal(np.sort(np.concatenate(REGIONS)), np.arange(68))


def test_what_was_shown_stays(shown, manifold):
    assert rms(project(manifold, shown) - shown) < 0.05 * rms(shown)
    assert manifold.basis.shape[1] < 60  # and that is no wonder: few dimensions


@pytest.mark.parametrize("emotion", [name for name in EMOTIONS if name != "neutral"])
def test_no_emotion_is_undone(manifold, emotion):
    """Of a sentence that the manifold has not seen, at full intensity."""
    neutral = talking(7)
    added = express(neutral, emotion) - neutral
    kept = project(manifold, neutral + added) - project(manifold, neutral)
    for region in (BROWS, EYES, MOUTH):
        asked = added[:, region].ravel()
        if rms(asked) > 0.01:
            share = kept[:, region].ravel() @ asked / (asked @ asked)
            assert 0.93 < share < 1.05, (emotion, region)


def test_a_neutral_portrait_alone_would_undo_them():
    """Why augmented frames must be among them."""
    neutral = talking(1)
    alone = fit_manifold(neutral)
    sad = neutral + emotion_displacement("sad")
    left = project(alone, sad)[:, BROWS] - neutral[:, BROWS]
    assert rms(left) < 0.5 * rms((sad - neutral)[:, BROWS])


def test_what_nobody_does_is_taken_out(shown, manifold):
    noise = np.random.default_rng(3).normal(0, 0.02, shown.shape).astype(np.float32)
    assert rms(project(manifold, shown + noise) - shown) < 0.6 * rms(noise)
    far = project(manifold, 20 * shown)
    assert np.abs(far).max() < 2 * np.abs(shown).max()


def test_regions_do_not_know_each_other(shown, manifold):
    """Brows of one frame, mouth of another: never seen together, both kept."""
    mixed = shown.copy()
    mixed[:, BROWS] = shown[::-1, BROWS]
    assert rms(project(manifold, mixed) - mixed) < 0.05 * rms(mixed)


def test_closed_lips_stay_closed(manifold):
    motion = talking(9)
    gap = motion[:, INNER_UPPER, 1] - motion[:, INNER_LOWER, 1]
    after = project(manifold, motion)
    change = after[:, INNER_UPPER, 1] - after[:, INNER_LOWER, 1] - gap
    closed = gap.max(-1) < 0.004
    assert closed.any() and np.abs(change[closed]).max() < 0.01


def test_strength_goes_from_nothing_to_all(shown, manifold):
    wild = 3 * shown
    np.testing.assert_allclose(project(manifold, wild, 0.0), wild)
    half, full = (project(manifold, wild, s) for s in (0.5, 1.0))
    np.testing.assert_allclose(half, (wild + full) / 2, atol=1e-6)
    np.testing.assert_allclose(project(manifold, full), full, atol=1e-5)  # idempotent


def test_jax_arrays_under_jit_and_single_frames(shown, manifold):
    there = jax.jit(project)(manifold, jnp.asarray(shown), 0.7)
    np.testing.assert_allclose(there, project(manifold, shown, 0.7), atol=1e-5)
    assert project(manifold, shown[0]).shape == (68, 3)
    assert project(manifold, shown).dtype == np.float32
