"""The conditional prior: a volume-preserving normalising flow over the latents.

z [B, T/4, L]. Each block shifts the second half of the channels by a function of the
first half, then flips the channel order. Shifts leave the volume alone, so the
log-determinant is 0 and the prior's density is that of the transformed latent.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from emogene_jax.audio_to_motion.wavenet import Conv, WaveNet, halves
from emogene_jax.parallel import on_accelerator
from emogene_jax.train.packed import pack, unpack


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
        fixed, moved = halves(z)
        h = Conv(self.hidden, (1,), name="pre")(fixed) * mask
        h = WaveNet(self.hidden, self.width, self.layers, name="enc")(h, mask, g)
        # A zero shift at first: training starts from the standard normal prior.
        shift = Conv(
            moved.shape[-1], (1,), kernel_init=nn.initializers.zeros, name="post"
        )(h)
        shift = shift * mask
        moved = moved * mask + jnp.where(inverse, -shift, shift)
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

    def both(
        self, z: jax.Array, other: jax.Array, mask: jax.Array, g: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(self(z), self(other, inverse=True)). On an accelerator side by side, in half
        as many launches: while the one takes the first block, the other takes the last."""
        if not on_accelerator():
            return self(z, mask, g), self(other, mask, g, inverse=True)
        last = self.blocks - 1
        halfway = -(-self.blocks // 2)
        # The first and the last block, then those beside them; each pair is used twice.
        order = [place for k in range(halfway) for place in (k, last - k)]
        packed = [pack(self.couplings[place].variables["params"]) for place in order]
        blocks = jax.tree.map(lambda *vectors: jnp.stack(vectors), *packed)
        coupling = self.couplings[0].clone(parent=None, name=None)

        def step(params, z, inverse):
            return coupling.apply({"params": unpack(params)}, z, mask, g, inverse)

        inverse = jnp.array([False, True])
        both = jnp.stack([z, other[..., ::-1]])
        for k in range(self.blocks):
            if k == halfway:  # there and back change places, blocks stay
                both, inverse = both[::-1], inverse[::-1]
            first = 2 * min(k, last - k)
            pair = jax.tree.map(lambda rows, n=first: rows[n : n + 2], blocks)
            both = jax.vmap(step)(pair, both, inverse)[..., ::-1]
        there, back = both if halfway == self.blocks else both[::-1]
        return there, back[..., ::-1]
