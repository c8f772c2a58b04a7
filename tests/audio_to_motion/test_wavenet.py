import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.audio_to_motion.wavenet import WaveNet, WeightNormConv


def test_a_kernel_has_the_norm_that_g_says():
    conv = WeightNormConv(3, 5)
    x = jax.random.normal(jax.random.key(0), (1, 9, 2))
    params = conv.init(jax.random.key(1), x)["params"]
    doubled = conv.apply({"params": params | {"g": 2 * params["g"]}}, x)
    longer = conv.apply({"params": params | {"v": 5 * params["v"]}}, x)
    plain = conv.apply({"params": params}, x)
    assert np.abs(plain).max() > 0.1
    np.testing.assert_allclose(doubled, 2 * plain, atol=1e-5)
    np.testing.assert_allclose(longer, plain, atol=1e-5)


def test_masked_steps_stay_out():
    net = WaveNet(4, 5, 2)
    x = jax.random.normal(jax.random.key(0), (1, 8, 4))
    g = jax.random.normal(jax.random.key(1), (1, 8, 3))
    mask = jnp.ones((1, 8, 1)).at[:, 5:].set(0)
    params = net.init(jax.random.key(2), x, mask, g)
    whole = net.apply(params, x * mask, mask, g)
    alone = net.apply(params, x[:, :5], mask[:, :5], g[:, :5])
    np.testing.assert_allclose(whole[:, :5], alone, atol=1e-5)
    assert not whole[:, 5:].any()
