"""Official PyTorch weights of the landmark deformation model -> ours, by name."""

import numpy as np

from emogene_jax.motion_to_emotion.deformation import EMBEDDING_SIZE, LANDMARK_SIZE
from emogene_jax.signals import EMOTIONS, UserError

_DENSE = {"regressor.0": "layer_0", "regressor.2": "layer_1", "regressor.4": "layer_2"}


def import_deformation(state: dict[str, np.ndarray], motion_scale: float = 1.0) -> dict:
    """Parameters of a Deformer, of an official state dict {name: array}.

    PyTorch's linear layers are [out, in], ours [in, out].

    Args:
        motion_scale: the checkpoint's unit of motion per eye distance. The first layer
            is made to read eye distances, and the last to add them: l + delta(s l) / s.
    """
    expected = {"emotion_embedding.weight"} | {
        f"{layer}.{kind}" for layer in _DENSE for kind in ("weight", "bias")
    }
    if wrong := expected ^ set(state):
        missing = ", ".join(sorted(expected & wrong)) or "none"
        unexpected = ", ".join(sorted(wrong - expected)[:5]) or "none"
        raise UserError(
            "weights of the landmark deformation model: "
            f"missing {missing}; unexpected {unexpected}"
        )
    params = {"embedding": np.asarray(state["emotion_embedding.weight"], np.float32)}
    for theirs, ours in _DENSE.items():
        params[ours] = {
            "kernel": np.asarray(state[f"{theirs}.weight"], np.float32).T,
            "bias": np.asarray(state[f"{theirs}.bias"], np.float32),
        }
    hidden = params["layer_0"]["kernel"].shape[-1]
    shapes = {
        "embedding": (len(EMOTIONS), EMBEDDING_SIZE),
        "layer_0": (EMBEDDING_SIZE + LANDMARK_SIZE, hidden),
        "layer_1": (hidden, hidden),
        "layer_2": (hidden, LANDMARK_SIZE),
    }
    for name, shape in shapes.items():
        found = params[name]["kernel"] if name != "embedding" else params[name]
        if found.shape != shape:
            raise UserError(
                f"weights of the landmark deformation model: {name} is {found.shape}, "
                f"expected {shape}"
            )
    params["layer_0"]["kernel"] = params["layer_0"]["kernel"].copy()
    params["layer_0"]["kernel"][:LANDMARK_SIZE] *= np.float32(motion_scale)
    for part in ("kernel", "bias"):
        params["layer_2"][part] = params["layer_2"][part] / np.float32(motion_scale)
    return params
