import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.audio_to_motion import vae
from emogene_jax.audio_to_motion.initial import initial_variables
from emogene_jax.audio_to_motion.vae import (
    AudioToMotion,
    latent_steps,
    pitch_bins,
)

generate = jax.jit(vae.generate, static_argnums=0)
SMALL = AudioToMotion(
    hidden=8,
    latent=4,
    encoder_layers=2,
    decoder_layers=1,
    condition=6,
    flow_hidden=4,
    flow_layers=1,
    flow_blocks=2,
    motion_scale=10.0,
    downsample="stack",
)


def speech(frames, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(batch, 2 * frames, 7)).astype(np.float32)
    f0 = rng.uniform(0, 300, (batch, 2 * frames)).astype(np.float32)
    return content, f0


@pytest.fixture(scope="module")
def variables():
    content, f0 = speech(8)
    noise = jnp.zeros((2, 2, 4))
    motion = jnp.zeros((2, 8, 204))
    params, aux = initial_variables(
        SMALL, jax.random.key(0), content, f0, motion, jnp.ones((2, 8)), noise
    )
    values = {"params": params, **aux}
    # Shifts start at 0; let the flow do something.
    return jax.tree.map(
        lambda x: x + 0.1 * np.random.default_rng(x.size).normal(size=x.shape) ** 2,
        jax.device_get(values),
    )


def split(variables):
    return variables["params"], {"batch_stats": variables["batch_stats"]}


def test_published_sizes():
    model = AudioToMotion()
    shapes = jax.eval_shape(
        model.init,
        jax.random.key(0),
        jnp.zeros((1, 16, 1024)),
        jnp.zeros((1, 16)),
        jnp.zeros((1, 8, 204)),
        jnp.ones((1, 8)),
        jnp.zeros((1, 2, 16)),
    )
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    assert round(count / 1e6, 2) == 12.17


@pytest.mark.parametrize("frames", [1, 6, 8])
def test_any_number_of_frames(variables, frames):
    params, aux = split(variables)
    content, f0 = speech(frames)
    key = jax.random.key(1)
    motion = generate(SMALL, params, aux, content, f0, key, 1.0)
    assert motion.shape == (2, frames, 204)
    noise = jax.random.normal(key, (2, latent_steps(frames), 4))
    out = jax.jit(SMALL.apply)(
        variables, content, f0, motion, jnp.ones((2, frames)), noise
    )
    assert out.motion.shape == (2, frames, 204)
    assert np.isfinite(out.motion).all()
    assert np.isfinite(out.kl)


def test_temperature_zero_is_the_mean_and_the_key_decides(variables):
    params, aux = split(variables)
    content, f0 = speech(8)
    made = [
        generate(SMALL, params, aux, content, f0, jax.random.key(seed), temperature)
        for seed, temperature in ((0, 0.0), (1, 0.0), (0, 1.0), (0, 1.0), (1, 1.0))
    ]
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[2], made[3])
    assert np.abs(made[2] - made[0]).max() > 1e-3
    assert np.abs(made[2] - made[4]).max() > 1e-3


def test_blinks_and_pitch_are_heard(variables):
    params, aux = split(variables)
    content, f0 = speech(8)
    key = jax.random.key(0)
    open_eyes = generate(SMALL, params, aux, content, f0, key, 0.0)
    blink = jnp.zeros((2, 8), jnp.int32).at[:, 3].set(1)
    blinking = generate(SMALL, params, aux, content, f0, key, 0.0, blink)
    higher = generate(SMALL, params, aux, content, 2 * f0, key, 0.0)
    assert np.abs(blinking - open_eyes).max() > 1e-4
    assert np.abs(higher - open_eyes).max() > 1e-4


def test_masked_frames_come_out_as_zero(variables):
    params, aux = split(variables)
    content, f0 = speech(8)
    mask = jnp.ones((2, 8)).at[1, 5:].set(0)
    motion = generate(
        SMALL, params, aux, content, f0, jax.random.key(0), 1.0, mask=mask
    )
    assert not motion[1, 5:].any()
    assert motion[1, :5].all()


def test_pitch_bins():
    bins = pitch_bins(jnp.array([0.0, 50, 1100, 5000, 220, 221]))
    assert bins.tolist()[:4] == [1, 1, 255, 255]
    assert 1 < bins[4] <= bins[5] < 255


def test_spoken_clips_are_what_is_decoded_of_the_mean(variables):
    content, f0 = speech(8)
    motion = np.random.default_rng(1).normal(size=(2, 8, 204)).astype(np.float32)
    noise = jnp.ones((2, 2, 4))
    rest = (content, f0, motion, jnp.ones((2, 8)), noise)
    one = jnp.array([False, True])
    apply = jax.jit(SMALL.apply)
    always = apply(variables, *rest)
    out = apply(variables, *rest, spoken=one)
    spoken = generate(SMALL, *split(variables), content, f0, jax.random.key(0), 0.0)
    np.testing.assert_allclose(out.motion[1], spoken[1], atol=1e-5)
    np.testing.assert_allclose(out.motion[0], always.motion[0], atol=1e-5)
    assert np.abs(out.motion[1] - always.motion[1]).max() > 1e-3
    np.testing.assert_allclose(out.kl, always.kl, rtol=1e-5)
