"""The network of HuBERT in JAX: pieces of waveform -> hidden states, in three steps.

    extract  waveform -> projected convolution features, 64 steps at a time
    embed    their sequence, plus what the positional convolution says
    layer    one layer of the transformer

They are compiled apart: `extract` once for all lengths, and a transformer's layers are
all alike, so that a new length compiles in a fraction of a second. Names are those of
the paper (Hsu et al., 2021, arXiv:2106.07447) and of wav2vec 2.0 (arXiv:2006.11477).

    B  rows: stretches of speech    N  steps of a row, 50 per second
    C  convolution channels         D  hidden channels
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from emogene_jax.parallel import on_accelerator

HOP = 320  # samples between steps: the product of the strides
FIELD = 400  # samples that a step's convolutions see
CONV_EPSILON = 1e-5  # of the norms between the convolutions, whatever the config says


class HubertConfig(NamedTuple):
    """What a checkpoint's config.json says; the defaults are those of the base size."""

    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: str = "group"  # of the first convolution, or "layer": of each
    feat_extract_activation: str = "gelu"
    feat_proj_layer_norm: bool = True
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False  # norms before the parts of a layer, not after


def _norm(x, p, epsilon: float):
    """Layer norm in float32, whatever goes in."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    variance = jnp.square(x).mean(-1, keepdims=True)
    return x * lax.rsqrt(variance + epsilon) * p["scale"] + p["bias"]


def _precision(dtype):
    """Float32 means float32: an accelerator would take fewer bits."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else None


def _product(equation: str, a, b):
    """A product in the precision of b, its sums in float32."""
    return jnp.einsum(
        equation,
        a.astype(b.dtype),
        b,
        precision=_precision(b.dtype),
        preferred_element_type=jnp.float32,
    )


def _dense(x, p):
    return _product("bni,io->bno", x, p["kernel"]) + p["bias"]


def _gelu(x, dtype):
    return jax.nn.gelu(x, approximate=False).astype(dtype)


def _convolve(x, kernel, **options):
    """A convolution of x [B, N, C] with kernel [taps, in, out]."""
    axes = ("NWC", "WIO", "NWC")
    return lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        dimension_numbers=axes,
        precision=_precision(kernel.dtype),
        **options,
    )


@functools.partial(jax.jit, static_argnames="config")
def extract(params, config: HubertConfig, waveform, mean, variance):
    """Projected features [B, N, D] of waveform [B, 320 N + 80].

    Args:
      mean, variance: [B, C] of the first convolution's output over the whole recording,
        where the config has a group norm; else None.
    """
    x = waveform[..., None]
    for index, conv in enumerate(params["convolutions"]):
        stride = (config.conv_stride[index],)
        x = _convolve(x, conv["kernel"], window_strides=stride, padding="VALID")
        if "bias" in conv:
            x = x + conv["bias"]
        if config.feat_extract_norm == "layer":
            x = _norm(x, conv["norm"], CONV_EPSILON)
        elif index == 0:
            scale = lax.rsqrt(variance + CONV_EPSILON) * conv["norm"]["scale"]
            x = (x - mean[:, None]) * scale[:, None] + conv["norm"]["bias"]
        x = _gelu(x, conv["kernel"].dtype)
    if config.feat_proj_layer_norm:
        x = _norm(x, params["projection"]["norm"], config.layer_norm_eps)
    return _dense(x, params["projection"])


@functools.partial(jax.jit, static_argnames="config")
def embed(params, config: HubertConfig, parts, steps):
    """What enters the first layer [B, N, D], of what `extract` gave, end to end.

    Of each row `steps` [B] count; the others have no influence on them, here or later.
    """
    x = jnp.concatenate(parts, 1)
    x = jnp.where((jnp.arange(x.shape[1]) < steps[:, None])[..., None], x, 0.0)
    kernel, groups = params["position"]["kernel"], config.num_conv_pos_embedding_groups
    taps = len(kernel)
    # Of an even width the last output is dropped.
    padding = [(taps // 2, taps - 1 - taps // 2)]
    # Group by group: of a grouped convolution every device would get all rows.
    position = [
        _convolve(*pair, window_strides=(1,), padding=padding)
        for pair in zip(
            jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True
        )
    ]
    position = jnp.concatenate(position, -1)
    x = x + _gelu(position + params["position"]["bias"], jnp.float32)
    return x if config.do_stable_layer_norm else _final_norm(params, config, x)


@functools.partial(jax.jit, static_argnames="config")
def layer(p, config: HubertConfig, x, steps):
    """x [B, N, D] float32 after one layer, whose parameters are p."""
    epsilon = config.layer_norm_eps
    if config.do_stable_layer_norm:
        x = x + _attend(p, config, _norm(x, p["attention_norm"], epsilon), steps)
        return x + _feed_forward(p, _norm(x, p["feed_forward_norm"], epsilon))
    x = _norm(x + _attend(p, config, x, steps), p["attention_norm"], epsilon)
    return _norm(x + _feed_forward(p, x), p["feed_forward_norm"], epsilon)


@functools.partial(jax.jit, static_argnames="config")
def finish(params, config: HubertConfig, x):
    """The last hidden states [B, N, D], of what left the last layer."""
    return _final_norm(params, config, x) if config.do_stable_layer_norm else x


def _final_norm(params, config: HubertConfig, x):
    return _norm(x, params["norm"], config.layer_norm_eps)


def _feed_forward(p, x):
    return _dense(_gelu(_dense(x, p["up"]), p["up"]["kernel"].dtype), p["down"])


def _attend(p, config: HubertConfig, x, steps):
    """Self-attention [B, N, D] over the steps that count; queries come scaled."""
    heads = config.num_attention_heads
    shape = (*x.shape[:2], 3, heads, config.hidden_size // heads)
    dtype = p["qkv"]["kernel"].dtype
    projected = _dense(x, p["qkv"]).astype(dtype).reshape(shape)
    attend = _all_heads if on_accelerator() else _head_by_head
    return _dense(attend(*jnp.moveaxis(projected, 2, 0), steps), p["out"])


def _all_heads(queries, keys, values, steps):
    """Heads' mixtures [B, N, D] of [B, N, H, D / H] each."""
    precise = queries.dtype == jnp.float32
    with jax.default_matmul_precision("float32" if precise else None):
        mixed = jax.nn.dot_product_attention(
            queries, keys, values, scale=1.0, key_value_seq_lengths=steps
        )
    return mixed.reshape(*mixed.shape[:2], -1)


def _head_by_head(queries, keys, values, steps):
    """The same, one head after the other: a quarter of the time of a batched product on a
    CPU, and there are the weights of one head at a time to remember."""
    counts = (jnp.arange(queries.shape[1]) < steps[:, None])[:, None]
    heads = (jnp.moveaxis(part, 2, 0) for part in (queries, keys, values))
    mixed = []
    for query, key, value in zip(*heads, strict=True):
        logits = _product("bqd,bkd->bqk", query, key)
        # Not minus infinity: a row may have no step that counts.
        logits = jnp.where(counts, logits, -1e30)
        weights = jnp.exp(logits - logits.max(-1, keepdims=True))
        sums = _product("bqk,bkd->bqd", weights, value)
        mixed.append(sums / weights.sum(-1, keepdims=True))
    return jnp.concatenate(mixed, -1)
