import jax
import jax.numpy as jnp
import numpy as np

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
