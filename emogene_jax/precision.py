"""How precisely networks multiply while they learn.

Parameters, planes of features, coordinates and sums are float32 always. In "bfloat16"
only the factors of a network's own products are rounded to 8 bits, and those of their
gradients: accelerators multiply such numbers twice as fast, and keep half as much of what
a gradient needs. What a network has learned is used in full precision.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn

from emogene_jax.parallel import on_accelerator
from emogene_jax.signals import UserError

PRECISIONS = ("auto", "float32", "bfloat16")  # auto: bfloat16, but on a CPU float32

_rounding = False


def learning_in(precision: str, loss: Callable) -> Callable:
    """`loss`, whose networks' products are as precise as one of PRECISIONS says.

    Raises:
      UserError: it is none of them.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision: found {precision!r}, expected one of {PRECISIONS}")
    if precision == "float32" or (precision == "auto" and not on_accelerator()):
        return loss

    @functools.wraps(loss)
    def rounded(*told):
        with _products_round():
            return loss(*told)

    return rounded


@contextlib.contextmanager
def _products_round() -> Iterator[None]:
    global _rounding
    before, _rounding = _rounding, True
    try:
        yield
    finally:
        _rounding = before


def rounding() -> bool:
    """Whether products round now."""
    return _rounding


def product(x: jax.Array, kernel: jax.Array, *_, **__) -> jax.Array:
    """x [..., C] by a network's kernel [C, features]: [..., features]. More arguments are
    those that nn.Dense has for a function like it."""
    return _rounded(x, kernel) if _rounding else x @ kernel


# Linen's, multiplied as above.
Dense = functools.partial(nn.Dense, dot_general=product)


@jax.custom_vjp
def _rounded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, kernel)[0]


def _forward(x, kernel):
    factors = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return jnp.matmul(*factors, preferred_element_type=jnp.float32), factors


def _backward(factors, gradient):
    x, kernel = factors
    gradient = gradient.astype(jnp.bfloat16)
    told = {"preferred_element_type": jnp.float32}
    rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    of_kernel = jnp.matmul(rows[0].T, rows[1], **told)
    return jnp.matmul(gradient, kernel.T, **told), of_kernel


_rounded.defvjp(_forward, _backward)
