"""The audio-to-motion VAE in PyTorch, to be timed beside ours.

Layer by layer what the official release is, under its parameter names, so that its
weights load; tests hold it to the release's own numbers. The losses and Adam's settings
are the release's too, without its lip-sync expert. Layout [B, C, T] inside.
"""

import math
import os
import warnings

import torch
from emogene_jax.configs.audio_to_motion import get_config
from torch import nn

MEL_RANGE = tuple(1127 * math.log(1 + hz / 700) for hz in (50.0, 1100.0))


def _conv(inputs: int, outputs: int, width: int = 1) -> nn.Module:
    """A weight-normalised convolution, by the form whose names the release has."""
    conv = nn.Conv1d(inputs, outputs, width, padding=width // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(conv)


def _squeeze(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 8, 4, 2))


class WaveNet(nn.Module):
    """Gated convolutions under a condition g [B, G, T]."""

    def __init__(self, hidden: int, width: int, layers: int, condition: int):
        super().__init__()
        self.cond_layer = _conv(condition, 2 * hidden * layers)
        self.in_layers = nn.ModuleList(
            _conv(hidden, 2 * hidden, width) for _ in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            _conv(hidden, (1 + (i < layers - 1)) * hidden) for i in range(layers)
        )

    def forward(self, x, mask, g):
        """Skip sum [B, C, T] of x [B, C, T]."""
        skip = torch.zeros_like(x)
        conditions = self.cond_layer(g).chunk(len(self.in_layers), 1)
        layers = zip(self.in_layers, self.res_skip_layers, conditions, strict=True)
        for gates, out, condition in layers:
            signal, gate = (gates(x) + condition).chunk(2, 1)
            y = out(torch.tanh(signal) * torch.sigmoid(gate))
            if y.shape[1] > x.shape[1]:
                residual, y = y.chunk(2, 1)
                x = (x + residual) * mask
            skip = skip + y
        return skip * mask


class Coupling(nn.Module):
    """One block of the flow."""

    def __init__(self, latent: int, hidden: int, condition: int):
        super().__init__()
        self.pre = nn.Conv1d(latent // 2, hidden, 1)
        self.enc = WaveNet(hidden, 3, 4, condition)
        self.post = nn.Conv1d(hidden, latent // 2, 1)
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)

    def forward(self, z, mask, g, inverse: bool):
        """z [B, L, T/4], its second half shifted."""
        fixed, moved = z.chunk(2, 1)
        shift = self.post(self.enc(self.pre(fixed) * mask, mask, g)) * mask
        moved = (moved - shift) * mask if inverse else shift + moved * mask
        return torch.cat([fixed, moved], 1)


class Flow(nn.Module):
    """Four coupling blocks; the odd places of `flows` are flips."""

    def __init__(self, latent: int, condition: int):
        super().__init__()
        self.flows = nn.ModuleList(
            nn.Identity() if i % 2 else Coupling(latent, 64, condition)
            for i in range(8)
        )

    def forward(self, z, mask, g, inverse: bool = False):
        """Latents of the posterior -> of the prior; the reverse where inverse."""
        if inverse:
            for block in reversed(self.flows[::2]):
                z = block(z.flip(1), mask, g, True)
            return z
        for block in self.flows[::2]:
            z = block(z, mask, g, False).flip(1)
        return z


class Coder(nn.Module):
    """The encoder, or the decoder: a change of rate, a WaveNet, a projection."""

    def __init__(self, pre_net, hidden: int, outputs: int, layers: int, condition: int):
        super().__init__()
        self.pre_net = pre_net
        self.wn = WaveNet(hidden, 5, layers, condition)
        self.out_proj = nn.Conv1d(hidden, outputs, 1)

    def forward(self, x, mask, g):
        """[B, outputs, T'] of x [B, C, T]; mask and g at the new rate."""
        return self.out_proj(self.wn(self.pre_net(x) * mask, mask, g) * mask)


class FlowVAE(nn.Module):
    """Encoder, flow and decoder."""

    def __init__(self, motion: int, hidden: int, latent: int, condition: int):
        super().__init__()
        widen = nn.Sequential(nn.ConvTranspose1d(latent, hidden, 4, 4))
        narrow = _squeeze(motion, hidden)
        self.g_pre_net = _squeeze(condition, condition)
        self.encoder = Coder(narrow, hidden, 2 * latent, 8, condition)
        self.prior_flow = Flow(latent, condition)
        self.decoder = Coder(widen, hidden, motion, 4, condition)


class AudioToMotion(nn.Module):
    """The whole model: content [B, 2T, F], f0 [B, 2T] Hz, motion [B, T, 204]."""

    def __init__(self, content: int = 1024, condition: int = 128, hidden: int = 256):
        super().__init__()
        self.mel_encoder = self._encoder(content, condition)
        self.pitch_embed = nn.Embedding(300, condition)
        self.pitch_encoder = self._encoder(condition, condition)
        self.blink_embed = nn.Embedding(2, condition)
        self.cond_proj = nn.Linear(3 * condition, condition)
        self.vae = FlowVAE(204, hidden, 16, condition)

    @staticmethod
    def _encoder(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm1d(outputs),
            nn.GELU(),
            nn.Conv1d(outputs, outputs, 3, padding=1, bias=False),
        )

    def condition(self, content, f0):
        """g [B, G, T], with open eyes."""
        content = content.transpose(1, 2)[..., ::2]
        low, high = MEL_RANGE
        mel = 1127 * torch.log(1 + f0[:, ::2] / 700)
        bins = ((mel - low) * 254 / (high - low) + 1).clamp(1, 255) + 0.5
        pitch = self.pitch_embed(bins.long()).transpose(1, 2)
        blink = self.blink_embed(torch.zeros_like(bins, dtype=torch.long))
        parts = (
            self.mel_encoder(content),
            self.pitch_encoder(pitch),
            blink.transpose(1, 2),
        )
        return self.cond_proj(torch.cat(parts, 1).transpose(1, 2)).transpose(1, 2)

    def forward(self, content, f0, motion, mask, noise):
        """(motion, kl, mean, log_std, prior_latent), all [B, T, C]; noise [B, T/4, L]."""
        vae, noise = self.vae, noise.transpose(1, 2)
        mask = mask[:, None]
        g = self.condition(content, f0)
        squeezed, g_squeezed = mask[..., ::4], vae.g_pre_net(g)
        posterior = vae.encoder(motion.transpose(1, 2), squeezed, g_squeezed)
        mean, log_std = posterior.chunk(2, 1)
        z = mean + noise * torch.exp(log_std)
        recon = vae.decoder(z, mask, g) * mask
        prior = vae.prior_flow(z, squeezed, g_squeezed)
        log_ratio = 0.5 * (prior**2 - noise**2) - log_std
        kl = (log_ratio * squeezed).sum() / squeezed.sum() / z.shape[1]
        recon, mean, log_std, prior = (
            x.transpose(1, 2) for x in (recon, mean, log_std, prior)
        )
        return recon, kl, mean, log_std, prior

    def generate(self, content, f0, latent):
        """Motion [B, T, 204] of a latent [B, T/4, L] of the prior."""
        g = self.condition(content, f0)
        g_squeezed = self.vae.g_pre_net(g)
        z = self.vae.prior_flow(latent.transpose(1, 2), 1, g_squeezed, inverse=True)
        return self.vae.decoder(z, 1, g).transpose(1, 2)


def losses(motion, kl, target, mask):
    """The release's total: squared error, 3 x continuity, .4 x KL."""
    error = (motion - target) * mask[..., None]
    velocity = (motion - target).diff(dim=1) * mask[:, 1:, None]
    count = mask.sum() * target.shape[-1]
    first = (motion - target)[:, 0]
    moved = (velocity**2).sum() + (first**2).sum()
    return (error**2).sum() / count + 3 * moved / count + 0.4 * kl


def trainer(model: AudioToMotion):
    """step(content, f0, motion, mask) -> loss: forward, backward, clipping, Adam."""
    rate = get_config().optimizer.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def step(content, f0, motion, mask):
        model.train()
        noise = torch.randn(len(motion), motion.shape[1] // 4, 16, device=motion.device)
        out, kl, *_ = model(content, f0, motion, mask, noise)
        loss = losses(out, kl, motion, mask)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


class Side:
    """PyTorch's calls on the inputs of `batch(size, frames)`, beside JAX's."""

    def __init__(self, batch, backend: str, official: bool = False):
        torch.set_num_threads(_cores())
        self.device = "cpu" if backend == "cpu" else "cuda"
        self.model = (Official() if official else AudioToMotion()).to(self.device)
        self._batch = batch

    def _inputs(self, size: int, frames: int):
        arrays = self._batch(size, frames)
        names = ("content", "f0", "motion", "mask")
        return [torch.from_numpy(arrays[name]).to(self.device) for name in names]

    def generation(self, frames: int):
        """() -> motion [1, T, 204], waited for."""
        content, f0, *_ = self._inputs(1, frames)

        @torch.inference_mode()
        def call():
            self.model.eval()
            latent = torch.randn(1, frames // 4, 16, device=self.device)
            return self.model.generate(content, f0, latent)[0, 0, 0].item()

        return call

    def training(self, size: int, frames: int):
        """() -> loss of one step, waited for."""
        step, inputs = trainer(self.model), self._inputs(size, frames)
        return lambda: step(*inputs).item()


class Official(nn.Module):
    """The same calls of the release's own module, from a checkout on sys.path."""

    def __init__(self):
        super().__init__()
        from modules.audio2motion.vae import PitchContourVAEModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.model = PitchContourVAEModel({}, in_out_dim=204)

    def forward(self, content, f0, motion, mask, noise):
        """(motion, kl); draws its own noise."""
        inputs = {"audio": content, "f0": f0, "y": motion, "y_mask": mask}
        return self.model(inputs, {}, train=True)[:2]

    def generate(self, content, f0, latent):
        """Motion [B, T, 204]; draws its own latent."""
        mask = torch.ones(f0.shape[0], f0.shape[1] // 2, device=f0.device)
        inputs = {"audio": content, "f0": f0, "y_mask": mask}
        return self.model(inputs, {}, train=False)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
