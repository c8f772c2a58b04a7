"""One device and eight give the same gradients; state is donated; numbers are told."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emogene_jax import parallel
from emogene_jax.signals import UserError


class Net(nn.Module):
    """Everything that sharding has been seen to break: lookup, normalisation, scatter."""

    @nn.compact
    def __call__(self, batch):
        x = batch["x"] + nn.Embed(5, 6)(batch["label"])
        x = nn.relu(nn.LayerNorm()(nn.Dense(16)(x)))
        grid = self.param("grid", nn.initializers.normal(1.0), (7, 16))
        return nn.Dense(1)(x * grid[batch["cell"]])[..., 0]


def make_batch(size=16):
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(size, 6)).astype(np.float32),
        "label": rng.integers(0, 5, size).astype(np.int32),
        "cell": rng.integers(0, 7, size).astype(np.int32),
        "y": rng.normal(size=size).astype(np.float32),
    }


def gradient(params, batch):
    error = lambda params: jnp.mean((Net().apply(params, batch) - batch["y"]) ** 2)  # noqa: E731
    return jax.grad(error)(params)


def test_gradients_of_eight_devices_are_those_of_one():
    assert parallel.device_count() == 8
    batch = make_batch()
    params = Net().init(jax.random.key(0), batch)
    alone = jax.jit(gradient)(params, batch)
    step = parallel.data_parallel(gradient, donate=())
    placed = parallel.shard_batch(batch)
    assert len(placed["x"].addressable_shards) == 8
    assert placed["x"].addressable_shards[0].data.shape == (2, 6)
    together = step(parallel.replicate(params), placed)
    difference = jax.tree.map(
        lambda a, b: np.asarray(a) - np.asarray(b), alone, together
    )
    norms = [optax.tree.norm(tree) for tree in (difference, jax.device_get(alone))]
    assert norms[0] < 1e-4 * norms[1]
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(together))


def test_a_batch_drawn_inside_is_spread_and_unchanged():
    drawn = {"rays": jnp.arange(24.0).reshape(8, 3), "camera": jnp.arange(4.0)}
    shards = {}

    @jax.jit
    def draw(drawn):
        spread = parallel.spread(drawn)
        jax.debug.inspect_array_sharding(
            spread["rays"], callback=lambda s: shards.update(rays=s.num_devices)
        )
        return spread

    chex.assert_trees_all_equal(draw(drawn), drawn)
    assert shards["rays"] == 8


def test_state_is_donated_and_traced_once():
    @chex.assert_max_traces(1)
    def step(state, batch):
        return state + batch.mean()

    chex.clear_trace_counter()
    run = parallel.data_parallel(step)
    state = parallel.replicate(np.zeros(4, np.float32))
    for value in range(3):
        before = state
        state = run(state, parallel.shard_batch(np.full((8, 2), value, np.float32)))
        assert before.is_deleted()
    np.testing.assert_array_equal(state, np.full(4, 3.0))


def test_a_batch_that_does_not_fit_is_told_in_numbers():
    message = "batch_size 30 is not divisible by 8 devices"
    with pytest.raises(UserError, match=message):
        parallel.shard_batch(make_batch(30))
    with pytest.raises(UserError, match=message):
        jax.jit(parallel.spread)(jnp.zeros((30, 2)))


def test_compiled_programs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        folder = parallel.enable_compilation_cache()
        assert folder.parent == tmp_path / "xla"
        assert jax.config.jax_compilation_cache_dir == str(folder)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
