"""The conditional prior: a volume-preserving normalising flow over the latents.

z [B, T/4, L]. Each block shifts the second half of the channels by a function of the
first half, then flips the channel order. Shifts leave the volume alone, so the
log-determinant is 0 and the prior's density is that of the transformed latent.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from emogene_jax.audio_to_motion.wavenet import Conv, WaveNet


class Coupling(nn.Module):
    """One mean-only coupling block."""

    hidden: int
    width: int
    layers: int

    @nn.compact
    def __call__(
        self, z: jax.Array, mask: jax.Array, g: jax.Array, inverse: bool
    ) -> jax.Array:
        """z [B, T/4, L], its second half shifted (back, where inverse)."""
        fixed, moved = jnp.split(z, 2, axis=-1)
        h = Conv(self.hidden, (1,), name="pre")(fixed) * mask
        h = WaveNet(self.hidden, self.width, self.layers, name="enc")(h, mask, g)
        # A zero shift at first: training starts from the standard normal prior.
        shift = Conv(
            moved.shape[-1], (1,), kernel_init=nn.initializers.zeros, name="post"
        )(h)
        shift = shift * mask
        moved = (moved - shift) * mask if inverse else shift + moved * mask
        return jnp.concatenate([fixed, moved], axis=-1)


class PriorFlow(nn.Module):
    """`blocks` coupling blocks with flips: latent -> normal, and back."""

    hidden: int = 64
    width: int = 3
    layers: int = 4
    blocks: int = 4

    def setup(self):
        # Even numbers, as in the official release, whose odd ones are the flips.
        self.couplings = [
            Coupling(self.hidden, self.width, self.layers, name=f"flows_{2 * i}")
            for i in range(self.blocks)
        ]

    def __call__(
        self, z: jax.Array, mask: jax.Array, g: jax.Array, inverse: bool = False
    ) -> jax.Array:
        """z [B, T/4, L] of the posterior -> of the prior; the reverse where inverse."""
        if inverse:
            for coupling in reversed(self.couplings):
                z = coupling(z[..., ::-1], mask, g, inverse=True)
            return z
        for coupling in self.couplings:
            z = coupling(z, mask, g, inverse=False)[..., ::-1]
        return z
