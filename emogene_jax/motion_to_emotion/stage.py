"""Training of the landmark deformation model (paper Eq. 4: squared error).

Batches pair a neutral frame with the emotional frame of the same moment:
`neutral` [B, 204], `emotional` [B, 204] (eye distances), `emotion` [B] int32 (an index
into EMOTIONS), `intensity` [B]. Unlike the official release, neutral is an emotion like
the others: its pairs are frames with themselves, and it is learned as the identity.
"""

import jax
import jax.numpy as jnp

from emogene_jax.motion_to_emotion.deformation import Deformer
from emogene_jax.signals import EMOTIONS, Stage
from emogene_jax.train.board import heatmap

NEUTRAL = EMOTIONS.index("neutral")


def motion_to_emotion_stage(
    hidden: int = 256, neutral_weight: float = 1.0, batch_size: int | None = None
) -> Stage:
    """The stage to train a Deformer.

    Args:
        hidden: width of the two hidden layers.
        neutral_weight: of the identity that is taught beside the batch: every neutral
            frame, called neutral, shall come back as it is. 0 = only what is labelled.
        batch_size: pairs per step where the data lives on the device (`sample`); None
            = batches come from outside.
    """
    model = Deformer(hidden=hidden)

    def init(key, batch):
        weights = jax.nn.one_hot(batch["emotion"], len(EMOTIONS))
        variables = model.init(key, batch["neutral"], weights, batch["intensity"])
        return variables["params"], {}

    def loss(params, aux, frozen, batch, key, step):
        del frozen, key, step
        weights = jax.nn.one_hot(batch["emotion"], len(EMOTIONS))
        predicted = model.apply(
            {"params": params}, batch["neutral"], weights, batch["intensity"]
        )
        error = _squared_error(predicted, batch["emotional"])
        neutral = jnp.zeros_like(weights).at[:, NEUTRAL].set(1.0)
        same = model.apply(
            {"params": params}, batch["neutral"], neutral, jnp.ones(len(neutral))
        )
        identity = _squared_error(same, batch["neutral"])
        metrics = {
            "landmark_error": jnp.sqrt(3 * error),  # rms length, eye distances
            "moved": jnp.sqrt(3 * _squared_error(batch["neutral"], batch["emotional"])),
            "neutral_error": jnp.sqrt(3 * identity),
        }
        return error + neutral_weight * identity, (aux, metrics)

    def evaluate(params, aux, frozen, batch):
        total, (_, metrics) = loss(params, aux, frozen, batch, None, None)
        return metrics | {"loss": total}

    def sample(resident, key, step):
        pairs = len(resident["emotion"])
        chosen = jax.random.randint(
            jax.random.fold_in(key, step), (batch_size,), 0, pairs
        )
        return {name: array[chosen] for name, array in resident.items()}

    def images(params, aux, frozen, batch):
        # What the emotion adds, true above learned; a row a pair.
        weights = jax.nn.one_hot(batch["emotion"][:16], len(EMOTIONS))
        neutral = batch["neutral"][:16]
        made = model.apply(
            {"params": params}, neutral, weights, batch["intensity"][:16]
        )
        added = jnp.concatenate([batch["emotional"][:16], made]) - jnp.tile(
            neutral, (2, 1)
        )
        return {"added_true_over_learned": heatmap(added)}

    drawn = sample if batch_size else None
    return Stage(init, loss, drawn, images, evaluate)


def _squared_error(predicted: jax.Array, true: jax.Array) -> jax.Array:
    return jnp.mean((predicted - true) ** 2)
