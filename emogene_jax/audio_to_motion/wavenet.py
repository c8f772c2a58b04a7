"""WaveNet: gated convolutions with residual and skip paths, under a condition.

x [B, T, C] hidden, g [B, T, G] condition at the rate of x, mask [B, T, 1]. Dilation is
1 throughout, as in the official release. Convolutions are weight-normalised: a kernel
is g * v / ||v||, one norm per output channel.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from emogene_jax.parallel import on_accelerator


class WeightNormConv(nn.Module):
    """A weight-normalised convolution over time that keeps the length."""

    features: int
    width: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, features] of x [B, T, C]."""
        v = self.param(
            "v",
            nn.initializers.lecun_normal(),
            (self.width, x.shape[-1], self.features),
        )
        norm = jnp.sqrt(jnp.sum(v**2, axis=(0, 1)))
        # The norm of the first kernel: normalisation changes nothing at the start.
        g = self.param("g", lambda _: jax.lax.stop_gradient(norm))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolved(x, v * (g / norm)) + bias


def convolved(x: jax.Array, kernel: jax.Array, *_, **__) -> jax.Array:
    """x [B, T, C] by an odd kernel [width, C, features], its ends padded with zeros:
    [B, T, features]. More arguments are those that nn.Conv has for a function like it."""
    half = len(kernel) // 2
    ends = [(half, half)]
    if not on_accelerator():
        layout = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), ends, dimension_numbers=layout
        )
    # One product: around a library's convolution stand copies into its layouts.
    padded = jnp.pad(x, [(0, 0), *ends, (0, 0)])
    steps = [padded[:, k : k + x.shape[1]] for k in range(len(kernel))]
    return jnp.concatenate(steps, -1) @ kernel.reshape(-1, kernel.shape[-1])


# Linen's, made as above.
Conv = functools.partial(nn.Conv, conv_general_dilated=convolved)


class WaveNet(nn.Module):
    """`layers` gated layers; the sum of their skip outputs."""

    hidden: int
    width: int
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, g: jax.Array) -> jax.Array:
        """Skip sum [B, T, hidden] of x [B, T, hidden], mask [B, T, 1], g [B, T, G]."""
        condition = WeightNormConv(2 * self.hidden * self.layers, name="cond_layer")(g)
        condition = jnp.split(condition, self.layers, axis=-1)
        skip = 0.0
        for i in range(self.layers):
            last = i == self.layers - 1
            gates = WeightNormConv(2 * self.hidden, self.width, name=f"in_layers_{i}")(
                x
            )
            signal, gate = jnp.split(gates + condition[i], 2, axis=-1)
            out = WeightNormConv(
                self.hidden if last else 2 * self.hidden, name=f"res_skip_layers_{i}"
            )(jnp.tanh(signal) * jax.nn.sigmoid(gate))
            if not last:
                residual, out = jnp.split(out, 2, axis=-1)
                x = (x + residual) * mask
            skip = skip + out
        return skip * mask
