"""WaveNet: gated convolutions with residual and skip paths, under a condition.

x [B, T, C] hidden, g [B, T, G] condition at the rate of x, mask [B, T, 1]. Dilation is
1 throughout, as in the official release. Convolutions are weight-normalised: a kernel
is g * v / ||v||, one norm per output channel.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from emogene_jax.parallel import on_accelerator
from emogene_jax.precision import product, rounding


class WeightNormConv(nn.Module):
    """A weight-normalised convolution over time that keeps the length. Among parameters
    that are `folded` already it finds its kernel."""

    features: int
    width: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, features] of x [B, T, C]."""
        if self.has_variable("params", "kernel"):
            kernel = self.get_variable("params", "kernel")
        else:
            shape = self.width, x.shape[-1], self.features
            v = self.param("v", nn.initializers.lecun_normal(), shape)
            # The norm of the first kernel: normalisation changes nothing at the start.
            g = self.param("g", lambda _: jax.lax.stop_gradient(_norm(v)))
            kernel = _normalised(v, g)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolved(x, kernel) + bias


def _norm(v: jax.Array) -> jax.Array:
    """The norms [..., features] of kernels [..., width, C, features]."""
    return jnp.sqrt(jnp.sum(v**2, axis=(-3, -2)))


def _normalised(v: jax.Array, g: jax.Array) -> jax.Array:
    return v * (g / _norm(v))[..., None, None, :]


def folded(params: Any) -> Any:
    """The parameters of a model with the kernels of its weight-normalised convolutions
    in place of their v and g, for its `apply`. Those of one shape are made together, so
    that a step of many layers does not launch as many small kernels. A CPU, which only
    would have to copy them, takes them as they are."""
    if not on_accelerator():
        return params
    flat = traverse_util.flatten_dict(params)
    alike: dict[tuple, list] = {}
    for path, leaf in flat.items():
        if path[-1] == "v":
            alike.setdefault(leaf.shape, []).append(path[:-1])
    for places in alike.values():
        v, g = (jnp.stack([flat.pop((*at, name)) for at in places]) for name in "vg")
        kernels = _normalised(v, g)
        flat |= {(*at, "kernel"): kernels[n] for n, at in enumerate(places)}
    return traverse_util.unflatten_dict(flat)


def convolved(
    x: jax.Array, kernel: jax.Array, strides=(1,), padding="SAME", **_
) -> jax.Array:
    """x [B, T, C] by a kernel [width, C, features]: [B, T', features]; for nn.Conv, which
    gives these arguments.

    Args:
      padding: [(before, after)] steps of zeros, or "SAME" for as many as keep the length.
    """
    half = len(kernel) // 2
    ends = [(half, half)] if padding == "SAME" else padding
    if not on_accelerator() and not rounding():
        layout = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(
            x, kernel, strides, ends, dimension_numbers=layout
        )
    # One product: around a library's convolution stand copies into its layouts.
    padded = jnp.pad(x, [(0, 0), *ends, (0, 0)])
    last = padded.shape[1] - len(kernel)
    steps = [padded[:, k : k + last + 1 : strides[0]] for k in range(len(kernel))]
    # With one axis of rows, so that its gradient has no need to turn anything around;
    # steps one beside the other, since for long rows XLA fails at a concatenation.
    rows = jnp.stack(steps, -2).reshape(-1, kernel[..., 0].size)
    made = product(rows, kernel.reshape(-1, kernel.shape[-1]))
    return made.reshape(*steps[0].shape[:-1], -1)


def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both halves of the channels of x [..., 2C]."""
    return _apart(x) if on_accelerator() else tuple(jnp.split(x, 2, axis=-1))


@jax.custom_vjp
def _apart(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`halves`, whose gradient is chosen number by number: a concatenation would stand
    apart from what makes its parts."""
    return tuple(jnp.split(x, 2, axis=-1))


def _together(_, parts: tuple[jax.Array, jax.Array]) -> tuple[jax.Array]:
    first, second = (part[..., None, :] for part in parts)
    both = jnp.where(jnp.arange(2)[:, None] == 0, first, second)
    return (both.reshape(*parts[0].shape[:-1], -1),)


_apart.defvjp(lambda x: (_apart(x), None), _together)


# Linen's, made as above.
Conv = functools.partial(nn.Conv, conv_general_dilated=convolved)


class WaveNet(nn.Module):
    """`layers` gated layers; the sum of their skip outputs."""

    hidden: int
    width: int
    layers: int

    def setup(self):
        last = self.layers - 1
        self.cond_layer = WeightNormConv(2 * self.hidden * self.layers)
        self.in_layers = [
            WeightNormConv(2 * self.hidden, self.width) for _ in range(self.layers)
        ]
        self.res_skip_layers = [
            WeightNormConv(self.hidden if i == last else 2 * self.hidden)
            for i in range(self.layers)
        ]

    def __call__(self, x: jax.Array, mask: jax.Array, g: jax.Array) -> jax.Array:
        """Skip sum [B, T, hidden] of x [B, T, hidden], mask [B, T, 1], g [B, T, G]."""
        condition = jnp.split(self.cond_layer(g), self.layers, axis=-1)
        skip = 0.0
        for i in range(self.layers):
            gates = self.in_layers[i](x) + condition[i]
            signal, gate = halves(gates)
            out = self.res_skip_layers[i](jnp.tanh(signal) * jax.nn.sigmoid(gate))
            if i < self.layers - 1:
                residual, out = halves(out)
                x = (x + residual) * mask
            skip = skip + out
        return skip * mask
