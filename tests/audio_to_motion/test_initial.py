import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.audio_to_motion.initial import initial_variables
from emogene_jax.audio_to_motion.vae import AudioToMotion


def test_same_distributions_as_the_modules_own():
    model = AudioToMotion(
        hidden=16,
        latent=4,
        encoder_layers=1,
        decoder_layers=1,
        condition=32,
        flow_hidden=16,
        flow_layers=1,
        flow_blocks=1,
    )
    inputs = (
        jnp.zeros((1, 8, 40)),
        jnp.zeros((1, 8)),
        jnp.zeros((1, 4, 204)),
        jnp.ones((1, 4)),
        jnp.zeros((1, 1, 4)),
    )
    linen = jax.jit(model.init)(jax.random.key(0), *inputs)
    params, aux = initial_variables(model, jax.random.key(1), *inputs)

    def compare(path, theirs, ours):
        assert ours.shape == theirs.shape
        error = 4 / theirs.size**0.5  # four standard errors, about
        name = jax.tree_util.keystr(path)
        spread = float(np.std(theirs)) * error + 1e-6
        assert abs(np.mean(ours) - np.mean(theirs)) <= 2 * spread, name
        if path[-1].key == "g":
            return  # a norm of few numbers: only its mean is steady
        np.testing.assert_allclose(
            np.std(ours), np.std(theirs), rtol=error + 0.02, atol=1e-6, err_msg=name
        )

    both = jax.device_get((linen, {"params": params, **aux}))
    jax.tree_util.tree_map_with_path(compare, *both)
