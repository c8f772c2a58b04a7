"""The smile of a face at rest, which other emotions than happiness take away.

What an emotion adds is added to the face as it rests. A mouth that rests with a smile
would smile under sadness and surprise, too. Where corners of a mouth are does not tell:
people's mouths differ by more than a slight smile does. A network that has seen many
people does (MediaPipe's blendshape mouthSmile).
"""

import numpy as np

from emogene_jax.motion_to_emotion.deformation import LANDMARK_SIZE
from emogene_jax.motion_to_emotion.expressions import displacement
from emogene_jax.signals import EMOTIONS

_PULL = 12  # the action unit of a smile
_SMILES = ("contempt", "happy", "neutral")
# What the network says of that much of the action unit: of ten photographs of one man,
# warped by -1.2 to 1.5 of it (the score is 0 up to -.6).
_SCORES = (0.0, 0.02, 0.145, 0.464, 0.641, 0.822)
_AMOUNTS = (0.0, 0.3, 0.6, 0.9, 1.2, 1.6)


def resting_smile(score: float) -> float:
    """How much of the action unit of a smile a face shows, of which the network says
    `score`, 0 to 1."""
    return float(np.interp(score, _SCORES, _AMOUNTS))


def from_rest(params: dict, score: float, filmed=()) -> dict:
    """Parameters of a deformation model that reaches emotions from where a person's face
    rests; as they are, where it does not smile.

    Args:
        params: of a Deformer.
        score: what the network says of the person's smile at rest, 0 to 1.
        filmed: emotions that it learned from the person, which begin there already.
    """
    amount = resting_smile(score)
    if not amount:
        return params
    smile = displacement(((_PULL, amount, 0),)).reshape(LANDMARK_SIZE)
    kept = {*_SMILES, *filmed}
    taken = np.array([[-float(name not in kept)] for name in EMOTIONS], np.float32)
    return params | {"resting": taken * smile}
