import jax.numpy as jnp
import numpy as np

from emogene_jax.audio_to_motion import loss

RNG = np.random.default_rng(0)
PREDICTION, TARGET = RNG.normal(size=(2, 2, 6, 204))
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], np.float32)


def test_mouth_weights_have_mean_one():
    weights = np.asarray(loss.mouth_weights(3.0)).reshape(68, 3)
    np.testing.assert_allclose(weights.mean(), 1, 1e-6)
    np.testing.assert_allclose(weights[48:], 3 * weights[0, 0], 1e-6)
    np.testing.assert_allclose(weights[:48], weights[0, 0], 1e-6)


def test_mouth_shape_is_opening_and_width():
    motion = np.zeros((3, 68, 3), np.float32)
    motion[1, 62, 1], motion[1, 66, 1] = 0.02, -0.05  # the lips part
    motion[2, 54, 0], motion[2, 48, 0] = 0.03, -0.01  # the corners, too
    motion[2, :, 2] = 1  # and the face as a whole comes nearer
    made = loss.mouth_shape(motion.reshape(3, 204))
    np.testing.assert_allclose(made, [[0, 0], [0.07, 0], [0, 0.04]], atol=1e-7)


def test_lips_that_touch_are_closed():
    closed = np.asarray(loss.closed(jnp.array([-0.05, 0.0, 0.02, 0.2])))
    np.testing.assert_allclose(closed, [1, 1, np.exp(-1), 0], atol=1e-4)


def test_squared_error_is_a_mean_over_valid_frames():
    weights = loss.mouth_weights(2.0)
    valid = [(0, t) for t in range(6)] + [(1, t) for t in range(3)]
    each = [
        np.mean(np.asarray(weights) * (PREDICTION[b, t] - TARGET[b, t]) ** 2)
        for b, t in valid
    ]
    made = loss.squared_error(PREDICTION, TARGET, MASK, weights)
    np.testing.assert_allclose(made, np.mean(each), 1e-5)


def test_continuity_needs_both_frames():
    weights = jnp.ones(204)
    pairs = [(0, t) for t in range(5)] + [(1, t) for t in range(2)]
    gap = PREDICTION - TARGET
    each = [np.mean((gap[b, t + 1] - gap[b, t]) ** 2) for b, t in pairs]
    made = loss.continuity(PREDICTION, TARGET, MASK, weights)
    np.testing.assert_allclose(made, np.mean(each), 1e-5)
    assert loss.continuity(TARGET + 3.0, TARGET, MASK, weights) < 1e-9


def test_nothing_valid_gives_zero():
    assert loss.masked_mean(jnp.ones(3), jnp.zeros(3)) == 0


def test_sync_loss_is_a_cross_entropy():
    np.testing.assert_allclose(loss.sync_loss(jnp.array(0.8), 1.0), -np.log(0.8), 1e-5)
    np.testing.assert_allclose(loss.sync_loss(jnp.array(0.8), 0.0), -np.log(0.2), 1e-5)
    assert np.isfinite(loss.sync_loss(jnp.array([0.0, 1.0]), 1.0)).all()
