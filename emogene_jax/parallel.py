"""Devices: the only file that names them. Training and rendering both use it.

Data parallelism here is what `jax.pmap` was: pmap is in maintenance since JAX 0.8, is
`jit(shard_map)` underneath, and its successor is `jit` over a mesh. A step is written
in *global view*: it sees the whole batch, takes a plain mean and holds no collective.
The state is replicated, the batch is split along its leading axis over the mesh's one
axis `data`, and the compiler adds the one all-reduce of the gradients. The same step
runs on one device, on all devices of a node and on several hosts.

Never move a pmap step (`pmean(grad(loss))`) into `jax.shard_map`: the gradients of
replicated parameters are summed there already, so they come out D times too large.
"""

import contextlib
import functools
import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from emogene_jax.folders import cache_folder
from emogene_jax.signals import UserError

AXIS = "data"
# Variables of SLURM and Open MPI: which of the processes this is, and how many there are.
_LAUNCHERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)


def connect() -> None:
    """Joins the other hosts where $EMOGENE_DISTRIBUTED asks for it (launch/slurm.sbatch).

    To be called before anything else touches a device. The other hosts are found by
    SLURM's variables (or those of the other launchers that JAX knows), or, by hand, by

        JAX_COORDINATOR_ADDRESS=first-host:1234 EMOGENE_DISTRIBUTED=0/2   # and 1/2
    """
    asked = os.environ.get("EMOGENE_DISTRIBUTED")
    if not asked or jax.distributed.is_initialized():
        return
    if by_hand := _by_hand(asked):
        if not os.environ.get("JAX_COORDINATOR_ADDRESS"):
            raise UserError("$JAX_COORDINATOR_ADDRESS: expected HOST:PORT of host 0")
        jax.distributed.initialize(process_id=by_hand[0], num_processes=by_hand[1])
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise UserError(
            f"$EMOGENE_DISTRIBUTED is set, found no launcher: {error}"
        ) from error
    if _alone_on_its_machine():
        # A process a host drives all of its GPUs; under SLURM, JAX takes it that there
        # is a process for each, and would use only the first.
        jax.config.update("jax_cuda_visible_devices", "all")


def _by_hand(asked: str) -> tuple[int, int] | None:
    """(index, hosts) of `0/2`; None where it is left to the launcher."""
    index, by_hand, total = asked.partition("/")
    if not by_hand:
        return None
    if not (index.isdecimal() and total.isdecimal() and int(index) < int(total)):
        raise UserError(
            f"$EMOGENE_DISTRIBUTED: found {asked!r}, expected INDEX/HOSTS, e.g. 0/2"
        )
    return int(index), int(total)


def _alone_on_its_machine() -> bool:
    """Whether SLURM, where it started this, started one process a machine."""
    return os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").partition("(")[0] == "1"


def host_apart() -> tuple[int, int]:
    """`host`, where each does a part of the work by itself: asked for as of `connect`, but
    not joined. Each has its own devices alone, and none waits for another.

    Raises:
      UserError: $EMOGENE_DISTRIBUTED leaves it to a launcher, and there is none.
    """
    asked = os.environ.get("EMOGENE_DISTRIBUTED")
    if not asked:
        return 0, 1
    if by_hand := _by_hand(asked):
        return by_hand
    for names in _LAUNCHERS:
        index, hosts = (os.environ.get(name, "") for name in names)
        if index.isdecimal() and hosts.isdecimal():
            if not _alone_on_its_machine():
                # Else each of a machine's processes would take all of its GPUs.
                place = os.environ["SLURM_LOCALID"]
                jax.config.update("jax_cuda_visible_devices", place)
            return int(index), int(hosts)
    raise UserError(
        "$EMOGENE_DISTRIBUTED is set, found no launcher: expected INDEX/HOSTS, e.g. 0/2"
    )


def host() -> tuple[int, int]:
    """(index of this host, number of hosts)."""
    return jax.process_index(), jax.process_count()


def mesh() -> Mesh:
    """The mesh of every device of every host, one axis."""
    return _absent or _mesh_of(tuple(jax.devices()))


@functools.cache
def _mesh_of(devices: Sequence) -> Mesh:
    # Auto: make_mesh is Explicit by default, under which Linen's nn.Embed raises.
    told = {"axis_types": (AxisType.Auto,), "devices": devices}
    return jax.make_mesh((len(devices),), (AXIS,), **told)


_absent: Mesh | None = None  # of compiling_for


@contextlib.contextmanager
def compiling_for(devices: Sequence) -> Iterator[None]:
    """Inside, programs are for devices that are not there (of a topology of
    jax.experimental.topologies). They are compiled and never run, so `replicate` and
    `shard_batch` say what arrays are like instead of placing them."""
    global _absent
    _absent = _mesh_of(tuple(devices))
    try:
        yield
    finally:
        _absent = None


def _like(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays' shapes, as those of arguments for devices that are not there."""
    shapes = jax.eval_shape(lambda: tree)
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), shapes
    )


def device_count() -> int:
    """Devices over all hosts."""
    return mesh().size


def on_accelerator() -> bool:
    """Whether this is not a CPU: where a dispatch costs as much as a step, so that many
    steps per dispatch pay; where frames are rendered side by side, and not one after the
    other in a cache; and where memory is donated (data_parallel)."""
    return _platform() != "cpu"


def on_gpu() -> bool:
    """Whether this is a GPU: what kernels of our own are written for."""
    return _platform() in ("gpu", "cuda", "rocm")


def interpreted() -> bool:
    """Whether such a kernel is run step by step on a CPU, as a test of it is."""
    return mesh().devices.flat[0].platform == "cpu"


def _platform() -> str:
    return mesh().devices.flat[0].platform


def full_precision(make: Callable) -> Callable:
    """`make`, with its products in full float32, as those of a CPU are. A GPU rounds the
    factors of one to 10 bits, which features can bear; of a coordinate it is half a pixel.
    """

    @functools.wraps(make)
    def exact(*args, **kwargs):
        if not on_accelerator():
            return make(*args, **kwargs)
        with jax.default_matmul_precision("float32"):
            return make(*args, **kwargs)

    return exact


def is_main_process() -> bool:
    """Whether this host writes logs."""
    return jax.process_index() == 0


def device_names() -> list[str]:
    """What each device is: `0: NVIDIA H200`."""
    return [f"{device.id}: {device.device_kind}" for device in jax.devices()]


def device_memory() -> int | None:
    """Bytes that JAX may still take of the first device; None where it is not told."""
    told = jax.devices()[0].memory_stats() or {}
    limit = told.get("bytes_limit")
    return None if limit is None else limit - told.get("bytes_in_use", 0)


def describe() -> str:
    """What this runs on, in words: `8 x NVIDIA H200`, `2 CPU cores`."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return f"{jax.device_count()} x {device.device_kind}"


def replicated() -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh(), PartitionSpec())


def replicate(tree: Any) -> Any:
    """Arrays held whole by every device, of arrays every host holds.

    It may share memory with a JAX array in `tree`: donate it, and both are gone.
    """
    if _absent:
        return _like(tree, replicated())
    if jax.process_count() == 1:
        return jax.device_put(tree, replicated())
    return jax.tree.map(_replicate_here, tree)


def _replicate_here(leaf: Any) -> jax.Array:
    """This host's part of an array that all hosts hold whole."""
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key):
        data = _replicate_here(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, replicated(), leaf.__getitem__)


def on_one_device(tree: Any) -> Any:
    """What every device holds whole, as arrays of one device of this host."""
    if device_count() == 1:
        return tree
    return jax.device_put(jax.device_get(tree), jax.local_devices()[0])


def first_host_first(make: Callable[[], Any]) -> Any:
    """make(), on the first host before the others: what it writes, they find."""
    if is_main_process():
        made = make()
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("first_host_first")
    return made if is_main_process() else make()


def shard_batch(batch: Any) -> Any:
    """A global batch split along its leading axis, of this host's share of it. What one
    host's devices can't share evenly, each of them gets whole: `spread` shares it.

    Raises:
      UserError: `batch_size 30 is not divisible by 8 devices` of several hosts.
    """
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))
    rows = {np.shape(leaf)[0] for leaf in jax.tree.leaves(batch)}
    if jax.process_count() == 1 and any(n % device_count() for n in rows):
        return replicate(batch)
    if _absent:
        return _like(batch, sharding)

    def place(array):
        array = np.asarray(array)
        _check_divisible(array.shape[0] * jax.process_count())
        return jax.make_array_from_process_local_data(sharding, array)

    return jax.tree.map(place, batch)


def own_share(batch: Any) -> Any:
    """This host's rows of a batch that every host holds, for `shard_batch`."""
    index, hosts = host()

    def own(leaf):
        count = len(leaf) // hosts
        return leaf[index * count : (index + 1) * count]

    return jax.tree.map(own, batch)


def spread(batch: Any) -> Any:
    """Inside jit: a batch that was drawn on the devices, split among them.

    Leaves as long as the longest one (rays, sentences) are split along their leading
    axis; what there is one of (a frame's landmarks) stays whole. It moves work, never
    values.
    """
    lengths = [leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim]
    if not lengths or device_count() == 1:
        return batch
    longest = max(lengths)  # it need not be divisible: XLA pads what is left over
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))

    def place(leaf):
        if leaf.ndim and leaf.shape[0] == longest:
            return jax.lax.with_sharding_constraint(leaf, sharding)
        return leaf

    return jax.tree.map(place, batch)


def data_parallel(
    step: Callable,
    donate: tuple[int, ...] = (0,),
    deterministic: bool = False,
    split: bool = False,
) -> Callable:
    """`step`, compiled once for all devices: pmap's successor, in global view.

    Args:
      step: (state, …, batch) -> results. Its inputs come from `replicate` and
        `shard_batch`; everything it returns is replicated.
      donate: positions of the arguments whose memory the results take over. Not on a
        CPU: XLA would copy there what it overwrites while it is still read (12 % of a
        VAE's step).
      deterministic: on a GPU, ordered scatter-adds instead of atomic ones: slower, but
        the same bits each time. A CPU gives those anyway.
      split: what it returns has a row per row of the batch, and each stays where it was
        made. Not on several hosts, each of which wants all of them.
    """
    options = {}
    if deterministic and _platform() == "gpu":
        options = {"xla_gpu_deterministic_ops": True}
    return jax.jit(
        step,
        donate_argnums=donate if on_accelerator() else (),
        out_shardings=NamedSharding(
            mesh(),
            PartitionSpec(AXIS) if split and host()[1] == 1 else PartitionSpec(),
        ),
        compiler_options=options or None,
    )


def by_themselves(step: Callable, shared: int) -> Callable:
    """`step` for data_parallel, of which every device does its own share of the batch by
    itself, without a word to the others. For what has no gradients (see above).

    Args:
      step: (shared arguments, batch arguments) -> results, all of them with a row per row
        of the batch.
      shared: how many arguments every device holds whole.
    """

    def all_of_them(*arguments):
        whole, split = PartitionSpec(), PartitionSpec(AXIS)
        specs = tuple(whole if n < shared else split for n in range(len(arguments)))
        told = {"mesh": mesh(), "in_specs": specs, "out_specs": split}
        return jax.shard_map(step, **told, check_vma=False)(*arguments)

    return all_of_them


def enable_compilation_cache(folder: Path | None = None) -> Path:
    """Keeps compiled programs on disk, so that a second run starts fast.

    Args:
      folder: where; by default $JAX_COMPILATION_CACHE_DIR as it is, or `xla` in the cache
        folder.

    Returns:
      The folder. Each kind of processor has its own: a home directory may be shared by
      machines, and a program compiled for one can crash another.
    """
    if folder is None and os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(jax.config.jax_compilation_cache_dir)
    if folder is None:
        folder = cache_folder() / "xla"
    folder = Path(folder) / _processor()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        flags = platform.processor()
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"


def _check_divisible(batch_size: int) -> None:
    devices = device_count()
    if batch_size % devices:
        raise UserError(
            f"batch_size {batch_size} is not divisible by {devices} devices"
        )
