"""One device and eight give the same gradients; state is donated; numbers are told."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emogene_jax import parallel
from emogene_jax.signals import UserError

pytestmark = pytest.mark.usefixtures("eight_devices")


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


def test_state_is_donated_where_there_is_a_gpu_and_traced_once(monkeypatch):
    monkeypatch.setattr(parallel, "on_accelerator", lambda: True)

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


@pytest.mark.parametrize("count", [3, 7])
def test_a_batch_that_does_not_fit_is_shared_unevenly(use_devices, count):
    use_devices(count)
    batch = make_batch(22)

    def spread_gradient(params, batch):
        return gradient(params, parallel.spread(batch))

    params = Net().init(jax.random.key(0), batch)
    alone = jax.jit(gradient)(params, batch)
    placed = parallel.shard_batch(batch)
    assert placed["x"].sharding.is_fully_replicated
    step = parallel.data_parallel(spread_gradient, donate=())
    told = parallel.replicate(params), placed
    assert apart(alone, step(*told)) < 1e-4
    # Each has its share of the rows, and none all of them.
    program = step.lower(*told).compile().as_text()
    assert f"f32[{-(-22 // count)},16]" in program and "f32[22,16]" not in program


def test_hosts_must_share_a_batch_evenly(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    message = "batch_size 60 is not divisible by 8 devices"
    with pytest.raises(UserError, match=message):
        parallel.shard_batch(make_batch(30))


def test_compiled_programs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    before = jax.config.jax_compilation_cache_dir
    try:
        folder = parallel.enable_compilation_cache()
        assert folder.parent == tmp_path / "xla"
        assert jax.config.jax_compilation_cache_dir == str(folder)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


HOST = Path(__file__).parent / "host_of_several.py"


def hosts(count, devices, records, workdir, avatar):
    """Runs HOST as `count` processes of `devices` simulated devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    variables = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COORDINATOR_ADDRESS": address,
        "EMOGENE_CACHE": str(workdir.parent / "cache"),
        "PYTHONPATH": str(HOST.parents[1]),
    }
    processes = []
    for index in range(count):
        asked = {"EMOGENE_DISTRIBUTED": f"{index}/{count}"} if count > 1 else {}
        with (workdir.parent / f"{workdir.name}-{index}.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, HOST, records, workdir, avatar],
                env=variables | asked,
                stdout=log,
                stderr=log,
            )
        processes.append((process, log.name))
    try:
        for process, log in processes:
            assert process.wait(900) == 0, Path(log).read_text()[-3000:]
    finally:
        for process, _ in processes:
            process.kill()


def apart(one, other):
    """The norm of the difference, in parts of the norm."""
    difference = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), one, other)
    return optax.tree.norm(difference) / optax.tree.norm(one)


@pytest.mark.slow
def test_two_hosts_do_what_one_does(tmp_path, use_devices, monkeypatch, person):
    """2 processes x 2 devices against 1 x 4: gradients, statistics, and parameters after
    a training that was saved and restored; what two have saved, another number reads.
    And frames, to a rounding."""
    from emogene_jax.avatar.file import save_avatar
    from emogene_jax.synthetic.records import World, write_synthetic
    from emogene_jax.train import checkpoint

    # Eight takes of several lengths: the hosts' shares have unlike masks.
    world = World(0, 2, 1, 1, ("neutral", "happy"), (0.3, 0.7, 1.0))
    records = write_synthetic(world, tmp_path / "records")
    one, two = tmp_path / "one", tmp_path / "two"
    save_avatar(person, tmp_path / "avatar")
    hosts(2, 2, records, two, tmp_path / "avatar")
    monkeypatch.syspath_prepend(HOST.parent)
    import host_of_several

    use_devices(4)
    host_of_several.main(records, one, tmp_path / "avatar")
    gradients = [np.load(folder / "gradient.npy") for folder in (one, two)]
    assert apart(*gradients) < 1e-4
    for part in ("streamed", "resident"):
        a, b = (checkpoint.load(folder / part) for folder in (one, two))
        assert a.step == b.step == 4
        # Adam makes whole steps of gradients that are nearly 0: of rounding, too.
        assert apart(a.params, b.params) < 1e-3
        assert apart(a.aux, b.aux) < 1e-4
    expected = np.load(one / "frames-0.npy").astype(int)
    assert expected.shape == (7, 32, 32, 3) and expected.std() > 1
    for index in range(2):
        found = np.load(two / f"frames-{index}.npy")
        assert np.abs(found - expected).max() <= 1


def test_how_hosts_find_each_other_is_checked(monkeypatch):
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    for asked, message in (
        ("0/2", r"\$JAX_COORDINATOR_ADDRESS: expected HOST:PORT"),
        ("2/2", "found '2/2', expected INDEX/HOSTS"),
        ("a/2", "found 'a/2', expected INDEX/HOSTS"),
    ):
        monkeypatch.setenv("EMOGENE_DISTRIBUTED", asked)
        with pytest.raises(UserError, match=message):
            parallel.connect()


def test_hosts_that_never_meet_know_their_number(monkeypatch):
    for name in ("EMOGENE_DISTRIBUTED", *sum(parallel._LAUNCHERS, ())):
        monkeypatch.delenv(name, raising=False)
    assert parallel.host_apart() == (0, 1)
    monkeypatch.setenv("SLURM_PROCID", "1")  # of a job that asks for nothing
    monkeypatch.setenv("SLURM_NTASKS", "3")
    assert parallel.host_apart() == (0, 1)
    monkeypatch.setenv("EMOGENE_DISTRIBUTED", "1")
    assert parallel.host_apart() == (1, 3)
    monkeypatch.delenv("SLURM_NTASKS")
    with pytest.raises(UserError, match="no launcher: expected INDEX/HOSTS"):
        parallel.host_apart()
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    assert parallel.host_apart() == (2, 4)
    monkeypatch.setenv("EMOGENE_DISTRIBUTED", "3/5")
    assert parallel.host_apart() == (3, 5)
    monkeypatch.setenv("EMOGENE_DISTRIBUTED", "5/5")
    with pytest.raises(UserError, match="found '5/5', expected INDEX/HOSTS"):
        parallel.host_apart()


@pytest.mark.parametrize("tasks, devices", [("1(x2)", "all"), ("4(x2)", "3")])
def test_one_process_of_a_slurm_host_has_all_of_its_gpus(tasks, devices):
    """JAX gives a SLURM task one GPU; that is right only where there is a task for each."""
    variables = os.environ | {
        "EMOGENE_DISTRIBUTED": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(HOST.parents[1]),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0" if devices == "all" else devices,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
    }
    program = (
        "import jax; from emogene_jax import parallel; parallel.connect(); "
        "print(jax._src.xla_bridge.CUDA_VISIBLE_DEVICES.value, parallel.host())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stdout.split("\n")[0] == f"{devices} (0, 1)", ended.stderr
