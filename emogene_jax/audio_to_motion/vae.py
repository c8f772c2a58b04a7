"""Audio to motion: a conditional VAE with a flow prior (Paper: Sec. 3.1).

content [B, S, F] and f0 [B, S] (Hz, 0 = unvoiced) at 50 Hz, blink [B, T] (0 or 1),
motion [B, T, 204] in eye distances, mask [B, T]; S = 2T. Latents z [B, ceil(T/4), L]
are at 6.25 Hz. Defaults are the official release's sizes, and the parameter tree keeps
its names (import_weights.py), except for motion_scale and downsample. Frames need not
be a multiple of the stride: the ends are padded inside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emogene_jax.audio_to_motion.flow import PriorFlow
from emogene_jax.audio_to_motion.wavenet import Conv, WaveNet
from emogene_jax.parallel import full_precision, on_accelerator
from emogene_jax.precision import Dense

PITCH_BINS = 256
PITCH_RANGE = (50.0, 1100.0)  # Hz
STRIDE = 4  # frames per latent


class Reconstruction(NamedTuple):
    """What the VAE makes of a motion."""

    motion: jax.Array  # [B, T, 204]
    kl: jax.Array  # (), one-sample estimate, per latent channel
    mean: jax.Array  # [B, T/4, L] of the posterior
    log_std: jax.Array  # [B, T/4, L]
    prior_latent: jax.Array  # [B, T/4, L], standard normal under the prior


def pitch_bins(f0: jax.Array) -> jax.Array:
    """Bins 1..255 (int32, 1 = unvoiced) of f0 in Hz, evenly spaced in mel."""
    low, high = (1127 * jnp.log(1 + jnp.asarray(f) / 700) for f in PITCH_RANGE)
    mel = 1127 * jnp.log(1 + f0 / 700)
    bins = (mel - low) * (PITCH_BINS - 2) / (high - low) + 1
    return (jnp.clip(bins, 1, PITCH_BINS - 1) + 0.5).astype(jnp.int32)


class ConditionEncoder(nn.Module):
    """conv - batch norm - GELU - conv over time. clear: padding is 0 at each step, like
    what lies beyond the ends, so that its amount does not matter either."""

    features: int
    clear: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, train: bool) -> jax.Array:
        """[B, T, features] of x [B, T, C]; masked frames stay out of the statistics."""
        x = Conv(self.features, (3,), use_bias=False, name="conv_in")(x)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")
        x = norm(x, mask=None if mask is None else mask[..., None] > 0)
        x = nn.gelu(x, approximate=False)
        if self.clear and mask is not None:
            x = x * mask[..., None]
        return Conv(self.features, (3,), use_bias=False, name="conv_out")(x)


def _squeeze(features: int) -> nn.Conv:
    """A convolution that makes one step of four."""
    return Conv(features, (2 * STRIDE,), STRIDE, padding=((STRIDE // 2,) * 2,))


class Encoder(nn.Module):
    """Motion -> posterior of the latents."""

    hidden: int
    latent: int
    width: int
    layers: int

    def setup(self):
        self.pre_net = _squeeze(self.hidden)
        self.wn = WaveNet(self.hidden, self.width, self.layers)
        self.out_proj = Conv(2 * self.latent, (1,))

    def __call__(self, motion: jax.Array, mask: jax.Array, g: jax.Array):
        """Mean and log std [B, T/4, L]; motion [B, T, C], mask and g at T/4."""
        h = self.wn(self.pre_net(motion) * mask, mask, g)
        return jnp.split(self.out_proj(h), 2, axis=-1)


class Unsqueeze(nn.Module):
    """Four steps of one (a transposed convolution without overlap)."""

    features: int

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """[B, 4T, features] of z [B, T, L]."""
        batch, steps, channels = z.shape
        kernel = self.param(
            "kernel",
            nn.initializers.lecun_normal(in_axis=1, batch_axis=0),
            (STRIDE, channels, self.features),
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = jnp.einsum("btc,kcf->btkf", z, kernel) + bias
        return x.reshape(batch, STRIDE * steps, self.features)


class Decoder(nn.Module):
    """Latents and condition -> motion."""

    hidden: int
    out: int
    width: int
    layers: int

    def setup(self):
        self.pre_net = Unsqueeze(self.hidden)
        self.wn = WaveNet(self.hidden, self.width, self.layers)
        self.out_proj = Conv(self.out, (1,))

    def __call__(self, z: jax.Array, mask: jax.Array, g: jax.Array) -> jax.Array:
        """Motion [B, T, C]; z [B, T/4, L], mask and g at T."""
        return self.out_proj(self.wn(self.pre_net(z) * mask, mask, g))


class FlowVAE(nn.Module):
    """Encoder, prior flow and decoder under a condition g [B, T, G], T = 4n."""

    out: int
    hidden: int
    latent: int
    width: int
    encoder_layers: int
    decoder_layers: int
    condition: int
    flow_hidden: int
    flow_layers: int
    flow_blocks: int

    def setup(self):
        self.g_pre_net = _squeeze(self.condition)
        self.encoder = Encoder(
            self.hidden, self.latent, self.width, self.encoder_layers
        )
        self.prior_flow = PriorFlow(
            self.flow_hidden, layers=self.flow_layers, blocks=self.flow_blocks
        )
        self.decoder = Decoder(self.hidden, self.out, self.width, self.decoder_layers)

    def reconstruct(self, motion, mask, g, noise, spoken=None) -> Reconstruction:
        """Through a posterior sample, or in clips where spoken [B] is true through the
        prior's mean; motion [B, T, C], mask [B, T, 1], noise as z."""
        g_squeezed = self.g_pre_net(g)
        squeezed = mask[:, ::STRIDE]
        mean, log_std = self.encoder(motion, squeezed, g_squeezed)
        z = mean + noise * jnp.exp(log_std)
        if spoken is None:
            prior_latent = self.prior_flow(z, squeezed, g_squeezed)
        else:
            prior_latent, of_mean = self.prior_flow.both(
                z, jnp.zeros_like(z), squeezed, g_squeezed
            )
        # log q(z) - log p(z): the normalising constants cancel, the flow adds none.
        log_ratio = 0.5 * (prior_latent**2 - noise**2) - log_std
        kl = jnp.sum(log_ratio * squeezed) / (jnp.sum(squeezed) * self.latent)
        if spoken is not None:
            z = jnp.where(spoken[:, None, None], of_mean, z)
        recon = self.decoder(z, mask, g) * mask
        return Reconstruction(recon, kl, mean, log_std, prior_latent)

    def generate(self, prior_latent, g) -> jax.Array:
        """Motion [B, T, C] of a latent [B, T/4, L] of the prior."""
        ones = jnp.ones_like(g[..., :1])
        z = self.prior_flow(
            prior_latent, ones[:, ::STRIDE], self.g_pre_net(g), inverse=True
        )
        return self.decoder(z, ones, g)


@full_precision
def _looked_up(table: nn.Embed, rows: jax.Array) -> jax.Array:
    """Rows of a table; on an accelerator as a product, since the gradient of looking up
    would be added to a few rows thousands of times, one after the other."""
    if not on_accelerator():
        return table(rows)
    if table.num_embeddings == 2:  # XLA may fail at the gradient of so narrow a product
        return jnp.where(rows[..., None] == 0, *table.embedding)
    return jax.nn.one_hot(rows, table.num_embeddings) @ table.embedding


def _pad(x: jax.Array, length: int, mode: str) -> jax.Array:
    """x [B, T, ...] padded at the end of axis 1 to length."""
    widths = [(0, 0), (0, length - x.shape[1])] + [(0, 0)] * (x.ndim - 2)
    return jnp.pad(x, widths, mode=mode)


class AudioToMotion(nn.Module):
    """The whole model. motion_scale: the network's unit of motion per eye distance
    (its inner values should be of order 1). reach: how far this person's face moves,
    sidewards and (up, down, in depth), beside the others that the network has learned
    from. downsample: how two audio steps become one frame: "nearest" takes the first, as
    the official release does; "stack" keeps both.
    """

    hidden: int = 256
    latent: int = 16
    width: int = 5
    encoder_layers: int = 8
    decoder_layers: int = 4
    condition: int = 128
    flow_hidden: int = 64
    flow_layers: int = 4
    flow_blocks: int = 4
    motion_channels: int = 204
    motion_scale: float = 1.0
    reach_wide: float = 1.0
    reach_high: float = 1.0
    downsample: str = "nearest"

    def setup(self):
        if self.downsample not in ("nearest", "stack"):
            raise ValueError(f"downsample {self.downsample!r} is not nearest or stack")
        # The official release lets the condition of padding be what it is.
        self._clear = self.downsample == "stack"
        self.mel_encoder = ConditionEncoder(self.condition, self._clear)
        self.pitch_embed = nn.Embed(300, self.condition)
        self.pitch_encoder = ConditionEncoder(self.condition, self._clear)
        self.blink_embed = nn.Embed(2, self.condition)
        self.cond_proj = Dense(self.condition)
        self.vae = FlowVAE(
            self.motion_channels,
            self.hidden,
            self.latent,
            self.width,
            self.encoder_layers,
            self.decoder_layers,
            self.condition,
            self.flow_hidden,
            self.flow_layers,
            self.flow_blocks,
        )

    def unit(self) -> np.ndarray:
        """The network's unit of motion per eye distance, of each channel [204]."""
        reach = np.array([self.reach_wide, self.reach_high, self.reach_high])
        if self.reach_wide == self.reach_high:  # whatever a channel is
            reach = reach[:1]
        return np.resize(self.motion_scale / reach, self.motion_channels)

    def encode_condition(self, content, f0, blink, mask, train: bool) -> jax.Array:
        """Condition g [B, T', condition], T' = T rounded up to the stride."""
        frames = content.shape[1] // 2
        padded = -(-frames // STRIDE) * STRIDE
        if blink is None:
            blink = jnp.zeros((content.shape[0], frames), jnp.int32)
        # The last value goes on: a jump to 0 would sound like an event.
        content = _pad(content, 2 * padded, "edge")
        f0 = _pad(f0, 2 * padded, "edge")[:, ::2]
        blink = _pad(blink, padded, "edge")
        mask = None if mask is None else _pad(mask, padded, "constant")
        if self.downsample == "stack":
            content = content.reshape(content.shape[0], padded, -1)
        else:
            content = content[:, ::2]
        parts = [
            self.mel_encoder(content, mask, train),
            self.pitch_encoder(
                _looked_up(self.pitch_embed, pitch_bins(f0)), mask, train
            ),
            _looked_up(self.blink_embed, blink),
        ]
        g = self.cond_proj(jnp.concatenate(parts, axis=-1))
        return g * mask[..., None] if self._clear and mask is not None else g

    def __call__(
        self,
        content,
        f0,
        motion,
        mask,
        noise,
        blink=None,
        train: bool = False,
        spoken=None,
    ) -> Reconstruction:
        """Reconstruct motion [B, T, 204] through the posterior.

        Args:
          content: [B, 2T, F]; f0: [B, 2T] Hz; blink: [B, T] or None (open eyes).
          motion: [B, T, 204] eye distances; mask: [B, T].
          noise: [B, ceil(T/4), latent], standard normal.
          train: use and update the batch statistics.
          spoken: [B] bool; of these clips the motion is what `decode` makes of speech
            with a latent of 0, and the rest of the result as always.
        """
        frames = motion.shape[1]
        g = self.encode_condition(content, f0, blink, mask, train)
        motion = _pad(motion * self.unit(), g.shape[1], "edge")
        mask = _pad(mask[..., None], g.shape[1], "constant")
        out = self.vae.reconstruct(motion, mask, g, noise, spoken)
        return out._replace(motion=out.motion[:, :frames] / self.unit())

    def decode(self, content, f0, prior_latent, blink=None) -> jax.Array:
        """Motion [B, T, 204] of speech and a latent [B, ceil(T/4), L] of the prior."""
        g = self.encode_condition(content, f0, blink, None, False)
        motion = self.vae.generate(prior_latent, g) / self.unit()
        return motion[:, : content.shape[1] // 2]


def latent_steps(frames: int) -> int:
    """Latents that `frames` frames have."""
    return -(-frames // STRIDE)


@jax.jit(static_argnums=0)
def generate(
    model: AudioToMotion,
    params,
    aux,
    content: jax.Array,
    f0: jax.Array,
    key: jax.Array,
    temperature: float | jax.Array,
    blink: jax.Array | None = None,
    mask: jax.Array | None = None,
    first: int | jax.Array = 0,
) -> jax.Array:
    """Neutral motion [B, T, 204] in eye distances, of speech.

    Args:
      content: [B, 2T, F]; f0: [B, 2T] Hz; any T.
      key: decides the latent; temperature scales its standard deviation, 0 = the mean.
      blink: [B, T] or None; mask: [B, T] or None, by which the motion is multiplied.
      first: the latent step that these frames begin with. Each step has a noise of its
        own, so that overlapping stretches of a long speech agree.
    """
    steps = first + jnp.arange(latent_steps(content.shape[1] // 2))
    shape = (content.shape[0], model.latent)
    noise = jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n), shape))
    latent = temperature * jnp.swapaxes(noise(steps), 0, 1)
    variables = {"params": params, **aux}
    motion = model.apply(variables, content, f0, latent, blink, method="decode")
    return motion if mask is None else motion * mask[..., None]
