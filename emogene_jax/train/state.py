"""What training carries from step to step, and how one step changes it.

A state is replicated on every device and donated to each step. Everything random in a
step comes from fold_in(key, step), so a step is a function of (state, data) alone.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from emogene_jax.signals import Stage, UserError
from emogene_jax.train.packed import Packed, pack, unpack


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Any
    aux: Any  # what changes without gradients: batch-norm statistics, occupancy
    opt_state: Any
    ema: Any  # moving average of params; None where it is off
    step: jax.Array  # int32 (): steps done
    key: jax.Array  # PRNG key; never changes


class Optimizer(NamedTuple):
    """Adam with a learning rate that warms up and then decays."""

    learning_rate: float
    schedule: str = "cosine"  # after the warm-up: cosine, exponential or constant
    warmup_steps: int = 0  # linear, from 0
    decay_steps: int = 0  # exponential: x decay_rate after as many
    decay_rate: float = 0.1
    final_fraction: float = (
        0.01  # of learning_rate: where cosine ends, the others' floor
    )
    clip: float = 1.0  # largest global norm of the gradient; 0 = no clipping
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    # {regular expression: factor} on the learning rate of the parameters whose path
    # (`planes/coarse`) it finds; the first that matches counts. 0 freezes.
    multipliers: Mapping[str, float] = {}


def learning_rate(optimizer: Optimizer, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, for a training of `steps`."""
    peak, floor = optimizer.learning_rate, optimizer.final_fraction
    after = max(1, steps - optimizer.warmup_steps)
    if optimizer.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, after, floor)
    elif optimizer.schedule == "exponential":
        if not optimizer.decay_steps:
            raise UserError("optimizer.decay_steps: found 0, expected how many")
        decay = optax.exponential_decay(
            peak, optimizer.decay_steps, optimizer.decay_rate, end_value=peak * floor
        )
    elif optimizer.schedule == "constant":
        decay = optax.constant_schedule(peak)
    else:
        raise UserError(
            f"optimizer.schedule: found {optimizer.schedule!r}, expected cosine, "
            "exponential or constant"
        )
    if not optimizer.warmup_steps:
        return decay
    # + 1: the first step must not be wasted on a learning rate of 0.
    warmup = lambda step: peak * (step + 1) / optimizer.warmup_steps  # noqa: E731
    return optax.join_schedules([warmup, decay], [optimizer.warmup_steps])


def make_optimizer(optimizer: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optax chain of `optimizer`, for a training of `steps`."""
    parts = []
    if optimizer.clip:
        parts.append(optax.clip_by_global_norm(optimizer.clip))
    parts.append(optax.scale_by_adam(optimizer.b1, optimizer.b2, optimizer.eps))
    if optimizer.weight_decay:
        parts.append(optax.add_decayed_weights(optimizer.weight_decay))
    if optimizer.multipliers:
        parts.append(_scale_groups(dict(optimizer.multipliers)))
    parts.append(optax.scale_by_learning_rate(learning_rate(optimizer, steps)))
    return optax.chain(*parts)


def init_state(
    stage: Stage,
    transform: optax.GradientTransformation,
    key: jax.Array,
    batch: Any,
    with_ema: bool,
    initial: tuple[Any, Any] | None = None,
) -> TrainState:
    """The state before the first step, for use inside jit.

    `batch` shows its shapes to the stage; `initial` is (params, aux) in place of what
    the stage would begin with.
    """
    params, aux = stage.init(key, batch) if initial is None else initial
    # Copies: jit hands an argument through as it is, and a state that held the
    # caller's buffers, or one buffer twice, could not be donated. And of no weak type, as
    # a checkpoint's are: a training that goes on would compile all of its programs anew.
    params, aux = jax.tree.map(lambda x: jnp.array(x, x.dtype), (params, aux))
    ema = jax.tree.map(jnp.copy, params) if with_ema else None
    return TrainState(
        params, aux, transform.init(params), ema, jnp.zeros((), jnp.int32), key
    )


def step_key(state: TrainState, use: str) -> jax.Array:
    """The key of a step for one use of it: to `sample` a batch, or for the `loss`."""
    key = jax.random.fold_in(state.key, state.step)
    return jax.random.fold_in(key, ("sample", "loss").index(use))


def make_step(
    stage: Stage, transform: optax.GradientTransformation, ema: float | None
) -> Callable[[TrainState, Any, Any], tuple[TrainState, dict]]:
    """One step of training: (state, frozen, batch) -> (state, metrics).

    Written in global view (see parallel.py): `batch` is the batch of all devices.
    """

    def step(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, dict]:
        key = step_key(state, "loss")

        def loss(params):
            return stage.loss(params, state.aux, frozen, batch, key, state.step)

        (value, (aux, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            **metrics,
            "loss": value,
            "gradient_norm": optax.tree.norm(grads),
        }
        average = _update_ema(state.ema, params, state.step, ema)
        next_step = state.step + 1
        return TrainState(
            params, aux, opt_state, average, next_step, state.key
        ), metrics

    return step


def _update_ema(average: Any, params: Any, step: jax.Array, decay: float | None) -> Any:
    if average is None:
        return None
    # A short training forgets its random start too: the horizon grows with the steps.
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, params)


def _scale_groups(multipliers: dict[str, float]) -> optax.GradientTransformation:
    def factor(path, _) -> float:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, value in multipliers.items():
            if re.search(pattern, name):
                used.add(pattern)
                return value
        return 1.0

    used: set[str] = set()

    def init(params):
        jax.tree_util.tree_map_with_path(factor, unpack(params))
        if unused := set(multipliers) - used:
            raise UserError(
                f"optimizer.multipliers: no parameter matches {sorted(unused)}"
            )
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        scale = lambda path, leaf: leaf * factor(path, leaf)  # noqa: E731
        scaled = jax.tree_util.tree_map_with_path(scale, unpack(updates))
        return pack(scaled) if isinstance(updates, Packed) else scaled, state

    return optax.GradientTransformation(init, update)
