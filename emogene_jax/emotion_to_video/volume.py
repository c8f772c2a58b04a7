"""The rendering equation. Paper: Eqs. 6-7 (arXiv:2410.17262), the usual quadrature."""

import jax.numpy as jnp


def composite(density, features, width):
    """What rays see of their own samples, front to back.

    Args:
        density: [..., N] per cm, >= 0.
        features: [..., N, F] of the samples, such as their colour.
        width: [..., N] cm, the length of ray that each sample stands for.

    Returns:
        features [..., F] premultiplied by alpha, alpha [...], weights [..., N]. Of
        colours, the pixel is that + (1 - alpha) * what is behind.
    """
    depth = density * width
    # Transmittance in front of a sample: the integral of density up to it.
    through = jnp.exp(-(jnp.cumsum(depth, -1) - depth))
    weights = through * -jnp.expm1(-depth)
    return (
        jnp.einsum("...n,...nc->...c", weights, features),
        weights.sum(-1),
        weights,
    )
