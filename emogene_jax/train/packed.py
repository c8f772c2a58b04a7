"""All parameters as one vector, as an accelerator trains them.

An optimiser that goes through hundreds of small arrays launches hundreds of kernels a
step; through one vector, a few. Stages, work directories and results know only trees.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from emogene_jax.signals import Stage


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["vector"], meta_fields=["layout"]
)
@dataclasses.dataclass(frozen=True)
class Packed:
    """A tree of arrays of one type as one array [N]."""

    vector: jax.Array
    layout: Any  # the tree's structure, and the shape of each leaf


def pack(tree: Any) -> Packed:
    """A tree of arrays, packed."""
    leaves, structure = jax.tree.flatten(tree)
    vector = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    return Packed(vector, (structure, tuple(leaf.shape for leaf in leaves)))


def unpack(tree: Any) -> Any:
    """A tree in which nothing is packed any more."""
    return jax.tree.map(
        lambda part: _parts(part) if _is_packed(part) else part,
        tree,
        is_leaf=_is_packed,
    )


def packed_stage(stage: Stage) -> Stage:
    """`stage`, whose loss takes packed parameters."""

    def loss(params, *told):
        return stage.loss(_parts(params), *told)

    return stage._replace(loss=loss)


def packed_state(state: Any) -> Any:
    """A TrainState with its parameters packed, and all that lies beside each of them."""
    structure = jax.tree.structure(state.params)

    def like_params(part):
        return jax.tree.structure(part) == structure

    def packed(tree):
        return jax.tree.map(
            lambda part: pack(part) if like_params(part) else part,
            tree,
            is_leaf=like_params,
        )

    told = {
        name: packed(getattr(state, name)) for name in ("params", "opt_state", "ema")
    }
    return state._replace(**told)


def _is_packed(part: Any) -> bool:
    return isinstance(part, Packed)


@jax.custom_vjp
def _parts(packed: Packed) -> Any:
    """The tree that was packed. Its gradient is packed at once: as a sum of as many
    vectors as there are parts it would cost more than the step."""
    structure, shapes = packed.layout
    leaves, begin = [], 0
    for shape in shapes:
        end = begin + math.prod(shape)
        leaves.append(packed.vector[begin:end].reshape(shape))
        begin = end
    return jax.tree.unflatten(structure, leaves)


_parts.defvjp(lambda packed: (_parts(packed), None), lambda _, tree: (pack(tree),))
