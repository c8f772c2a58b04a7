"""Initial variables of this folder's models, quick to compile.

Linen draws each parameter apart, and XLA compiles each draw apart: ten seconds of CPU
for the VAE. Here all numbers are drawn at once and dealt out by the name of the leaf.
The values have the distributions that the modules' own initialisers have (a test
compares them); a new kind of leaf needs a line here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

ONES = ("scale", "var")
ZEROS = ("bias", "mean")


def initial_variables(model: nn.Module, key: jax.Array, *inputs) -> tuple[Any, Any]:
    """(params, aux) of model, which is called with inputs."""
    shapes = traverse_util.flatten_dict(jax.eval_shape(model.init, key, *inputs))
    sizes = {
        path: 0 if path[-1] in (*ONES, *ZEROS, "g") else int(np.prod(leaf.shape))
        for path, leaf in shapes.items()
    }
    drawn = jax.random.truncated_normal(key, -2, 2, (sum(sizes.values()),))
    drawn = drawn / 0.87962566  # the standard deviation of what is left: now 1
    offsets = np.cumsum([0, *sizes.values()])
    values = {}
    for offset, (path, leaf) in zip(offsets, shapes.items(), strict=False):
        normal = drawn[offset : offset + sizes[path]].reshape
        values[path] = _value(path, leaf, normal)
    for path in shapes:
        if path[-1] == "g":
            v = values[(*path[:-1], "v")]
            values[path] = jnp.sqrt(jnp.sum(v**2, axis=(0, 1)))
    tree = traverse_util.unflatten_dict(values)
    return tree.pop("params"), tree


def _value(path: tuple[str, ...], leaf, normal) -> jax.Array | None:
    """One leaf; normal(shape) gives standard normal numbers."""
    name = path[-1]
    if name in ONES:
        return jnp.ones(leaf.shape)
    if name in ZEROS or path[-2] == "post":
        return jnp.zeros(leaf.shape)
    if name == "g":
        return None  # follows from v
    if name == "embedding":
        return normal(leaf.shape) / leaf.shape[1] ** 0.5
    if name in ("kernel", "v"):
        # Unsqueeze's kernels do not overlap: each output sees one tap.
        overlap = 1 if path[-3:-1] == ("decoder", "pre_net") else leaf.shape[0]
        fan_in = leaf.shape[-2] * (overlap if len(leaf.shape) == 3 else 1)
        return normal(leaf.shape) / fan_in**0.5
    raise ValueError(f"no initial value is known for {'/'.join(path)}")
