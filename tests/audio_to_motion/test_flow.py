import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.audio_to_motion.flow import PriorFlow


def test_it_goes_there_and_back():
    flow = PriorFlow(hidden=6, layers=2, blocks=2)
    z = jax.random.normal(jax.random.key(0), (2, 5, 4))
    g = jax.random.normal(jax.random.key(1), (2, 5, 3))
    ones = jnp.ones((2, 5, 1))
    params = jax.jit(flow.init)(jax.random.key(2), z, ones, g)
    # Shifts start at 0; let the flow do something.
    params = jax.tree.map(lambda x: x + 0.3, params)
    apply = jax.jit(flow.apply, static_argnames="inverse")
    moved = apply(params, z, ones, g)
    assert np.abs(moved - z).max() > 0.1
    back = apply(params, moved, ones, g, inverse=True)
    np.testing.assert_allclose(back, z, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 3, 2])
def test_there_and_back_go_side_by_side(blocks, on_an_accelerator):
    flow = PriorFlow(hidden=6, layers=1, blocks=blocks)
    z, other = jax.random.normal(jax.random.key(0), (2, 2, 5, 4))
    g = jax.random.normal(jax.random.key(1), (2, 5, 3))
    mask = jnp.ones((2, 5, 1)).at[1, 3:].set(0)
    params = jax.jit(flow.init)(jax.random.key(2), z, mask, g)
    params = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params
    )

    def apart(*told):
        params, z, other, g = told
        there = flow.apply(params, z, mask, g)
        return there, flow.apply(params, other, mask, g, inverse=True)

    def together(*told):
        params, z, other, g = told
        return flow.apply(params, z, other, mask, g, method="both")

    def learned(made):
        weigh = lambda *told: sum(jnp.sum(jnp.sin(x)) for x in made(*told))  # noqa: E731
        return jax.jit(lambda *told: (made(*told), jax.grad(weigh, range(4))(*told)))

    told = params, z, other, g
    expected = learned(apart)(*told)
    on_an_accelerator()
    chex.assert_trees_all_close(learned(together)(*told), expected, atol=2e-5)
