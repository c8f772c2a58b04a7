import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.audio_to_motion.wavenet import (
    WaveNet,
    WeightNormConv,
    convolved,
    folded,
    halves,
)


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


def test_folded_parameters_are_the_same_network(on_an_accelerator):
    on_an_accelerator()
    net = WaveNet(4, 3, 3)
    x, mask = jax.random.normal(jax.random.key(0), (1, 8, 4)), jnp.ones((1, 8, 1))
    g = jax.random.normal(jax.random.key(1), (1, 8, 3))
    params = jax.jit(net.init)(jax.random.key(2), x, mask, g)["params"]

    def loss(params, fold):
        made = net.apply({"params": fold(params)}, x, mask, g)
        return jnp.sum(jnp.sin(made)), made

    before, after = (
        jax.jit(jax.grad(functools.partial(loss, fold=fold), has_aux=True))(params)
        for fold in (lambda params: params, folded)
    )
    chex.assert_trees_all_close(before, after, atol=1e-5)
    kernels = folded(params)
    assert kernels["in_layers_1"].keys() == {"kernel", "bias"}
    assert kernels["in_layers_1"]["kernel"].shape == (3, 4, 8)


@pytest.mark.parametrize(
    "width, stride, pad", [(3, 1, "SAME"), (3, 2, 1), (8, 4, 2), (3, 1, 0)]
)
def test_convolutions_are_products_on_an_accelerator(
    on_an_accelerator, width, stride, pad
):
    x = jax.random.normal(jax.random.key(0), (2, 12, 3))
    kernel = jax.random.normal(jax.random.key(1), (width, 3, 5))
    ends = pad if pad == "SAME" else [(pad, pad)]

    def learned(x, kernel):
        made = lambda *told: convolved(*told, (stride,), ends)  # noqa: E731
        weigh = lambda *told: jnp.sum(jnp.sin(made(*told)))  # noqa: E731
        return made(x, kernel), jax.grad(weigh, (0, 1))(x, kernel)

    before = learned(x, kernel)
    on_an_accelerator()
    chex.assert_trees_all_close(learned(x, kernel), before, atol=1e-5)


def test_an_accelerators_form_is_a_cpus(on_an_accelerator):
    """Convolutions as products, halves put together number by number."""
    net = WaveNet(4, 5, 2)
    x, mask = jax.random.normal(jax.random.key(0), (3, 8, 4)), jnp.ones((3, 8, 1))
    g = jax.random.normal(jax.random.key(1), (3, 8, 3))
    params = jax.jit(net.init)(jax.random.key(2), x, mask, g)

    def loss(params, x, g):
        made = net.apply(params, x, mask, g)
        return jnp.sum(jnp.sin(made)), made

    def learned():
        return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(params, x, g)

    before = learned()
    on_an_accelerator()
    jax.clear_caches()
    chex.assert_trees_all_close(learned(), before, atol=1e-5)
    for made, expected in zip(halves(x), (x[..., :2], x[..., 2:]), strict=True):
        np.testing.assert_array_equal(made, expected)
