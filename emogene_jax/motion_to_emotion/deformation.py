"""The landmark deformation model: neutral landmarks to emotional ones.

Paper: Sec. III-B, Eqs. 2-4 (arXiv:2410.17262). Eq. 3 writes the emotion's embedding and
the landmarks as concatenated, Eq. 4 compares the outcome with landmarks of the same
size; like the official release, the model reads both and adds what it predicts:
`emotional = l + intensity * delta(l, emotion)`.

Emotions come as weights over signals.EMOTIONS (alphabetical, the official row order):
one-hot for one emotion, a mixture to blend or to cross-fade between two.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from emogene_jax.precision import Dense
from emogene_jax.signals import EMOTIONS, NUM_LANDMARKS

LANDMARK_SIZE = NUM_LANDMARKS * 3
EMBEDDING_SIZE = 16


class Deformer(nn.Module):
    """FC-ReLU-FC-ReLU-FC over landmarks (204) and embedding (16)."""

    hidden: int = 256

    @nn.compact
    def __call__(
        self, landmarks: jax.Array, emotion_weights: jax.Array, intensity: jax.Array
    ) -> jax.Array:
        """Emotional landmarks [..., 204].

        Args:
            landmarks: [..., 204] neutral motion, flattened [68, 3], eye distances.
            emotion_weights: [..., 8], summing to 1.
            intensity: [...]; 0 gives the landmarks back, 1 the emotion as learned.
        """
        embedding = self.param(
            "embedding",
            # Of the size of motion: larger ones drown it, and whole emotions die in
            # the first ReLU.
            nn.initializers.normal(0.25),
            (len(EMOTIONS), EMBEDDING_SIZE),
        )
        x = jnp.concatenate([landmarks, emotion_weights @ embedding], axis=-1)
        x = nn.relu(Dense(self.hidden, name="layer_0")(x))
        x = nn.relu(Dense(self.hidden, name="layer_1")(x))
        delta = Dense(LANDMARK_SIZE, name="layer_2")(x)
        return landmarks + intensity[..., None] * delta


def layout(params: dict) -> dict:
    """The shapes that parameters have of a Deformer as wide as these say they are."""
    model = Deformer(hidden=params["layer_0"]["kernel"].shape[1])
    inputs = (jnp.zeros(LANDMARK_SIZE), jnp.zeros(len(EMOTIONS)), jnp.ones(()))
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    if "resting" in params:
        size = (len(EMOTIONS), LANDMARK_SIZE)
        shapes["resting"] = jax.ShapeDtypeStruct(size, jnp.float32)
    return shapes


def deform(
    params: dict, motion: jax.Array, emotion_weights: jax.Array, intensity: jax.Array
) -> jax.Array:
    """Emotional motion [T, 68, 3] of neutral motion [T, 68, 3], in eye distances.

    Args:
        params: of a Deformer of any width; beside them, where it is one person's,
            "resting" [8, 204], what an emotion takes from the face at rest.
        motion: [T, 68, 3].
        emotion_weights: [T, 8], summing to 1.
        intensity: [T].
    """
    model = Deformer(hidden=params["layer_0"]["kernel"].shape[1])
    flat = jnp.asarray(motion).reshape(*motion.shape[:-2], LANDMARK_SIZE)
    out = model.apply({"params": params}, flat, emotion_weights, intensity)
    if "resting" in params:
        out += jnp.asarray(intensity)[..., None] * (emotion_weights @ params["resting"])
    return out.reshape(motion.shape)
