"""Networks' products are rounded where that is asked for, and nothing else is."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.precision import Dense, learning_in, product
from emogene_jax.signals import UserError

X = np.random.default_rng(0).normal(size=(3, 5, 16)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)


def rounded(x):
    return jnp.asarray(x, jnp.bfloat16).astype(jnp.float32)


def loss(x, kernel):
    return jnp.sum(product(x, kernel) ** 2)


def test_factors_are_rounded_and_sums_are_not():
    made = learning_in("bfloat16", product)(X, KERNEL)
    assert made.dtype == jnp.float32
    np.testing.assert_allclose(made, rounded(X) @ rounded(KERNEL), rtol=1e-5, atol=1e-5)
    # Of gradients as well.
    found = jax.grad(learning_in("bfloat16", loss), (0, 1))(X, KERNEL)
    back = rounded(2 * (rounded(X) @ rounded(KERNEL)))
    expected = (
        back @ rounded(KERNEL).T,
        jnp.einsum("btc,btf->cf", rounded(X), back),
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-3)
    assert all(gradient.dtype == jnp.float32 for gradient in found)


def test_it_ends_with_the_loss():
    learning_in("bfloat16", loss)(X, KERNEL)
    np.testing.assert_array_equal(product(X, KERNEL), X @ KERNEL)


@pytest.mark.parametrize(
    "precision, accelerator, rounds",
    [
        ("auto", False, False),
        ("auto", True, True),
        ("float32", True, False),
        ("bfloat16", False, True),
    ],
)
def test_auto_is_for_accelerators(on_an_accelerator, precision, accelerator, rounds):
    if accelerator:
        on_an_accelerator()
    dense = Dense(4)
    params = {"params": {"kernel": KERNEL, "bias": np.zeros(4, np.float32)}}
    found = learning_in(precision, dense.apply)(params, X)
    assert (np.abs(found - X @ KERNEL).max() > 1e-3) == rounds
    np.testing.assert_allclose(found, X @ KERNEL, atol=0.1)


def test_another_precision_is_told():
    with pytest.raises(UserError, match="precision: found 'half', expected one of"):
        learning_in("half", loss)
