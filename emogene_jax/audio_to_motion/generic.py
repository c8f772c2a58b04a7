"""The built-in audio-to-motion model: what many people's mouths do when they speak
(docs/generic_voice.md says whose), and how one person's differ from it.

It is what launch/generic_voice.py has trained, in half precision, beside this file.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate

BUILT_IN = "built_in"  # its name in configs
FILE = Path(__file__).with_name("generic.safetensors")
PIECE = 250  # frames
NARROWEST, WIDEST = 0.25, 4.0  # of a person's reach: beyond, tracking has gone wrong


class Voice(NamedTuple):
    """An audio-to-motion model that has been trained."""

    sizes: dict[str, Any]  # AudioToMotion's
    trained: dict[str, Any]  # {"params", "aux"}
    content: dict[str, Any]  # what it hears (audio.features)


@functools.cache
def built_in() -> Voice:
    """The one that comes with the package."""
    from safetensors import safe_open

    with safe_open(str(FILE), "numpy") as file:
        told = json.loads(file.metadata()["voice"])
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tree = traverse_util.unflatten_dict(flat, sep="/")
    trained = jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)
    return Voice(told["sizes"], trained, told["content"])


def write_built_in(voice: Voice, file: Path = FILE) -> None:
    """Makes `voice` the built-in one."""
    from safetensors.numpy import save_file

    flat = traverse_util.flatten_dict(voice.trained, sep="/")
    half = {name: np.asarray(leaf, np.float16) for name, leaf in flat.items()}
    told = {"sizes": voice.sizes, "content": voice.content}
    save_file(half, str(file), metadata={"voice": json.dumps(told)})


def spoken_motion(voice: Voice, content, f0) -> np.ndarray:
    """Motion [T, 204] in eye distances that a voice makes of speech, content [2T, F] and
    f0 [2T], without chance."""
    frames = len(f0) // 2
    # Padded to few lengths: clips are many, and each length is compiled.
    missing = 2 * (-frames % PIECE)
    content = np.pad(content.astype(np.float32), ((0, missing), (0, 0)), "edge")
    f0 = np.pad(f0.astype(np.float32), (0, missing), "edge")
    model, trained = AudioToMotion(**voice.sizes), voice.trained
    made = _spoken(model, trained["params"], trained["aux"], content[None], f0[None])
    return np.asarray(made)[0, :frames]


@jax.jit(static_argnums=0)
def _spoken(model, params, aux, content, f0):
    return generate(model, params, aux, content, f0, jax.random.key(0), 0.0)


def as_far(voice: Voice, content, f0, motion) -> Voice:
    """The voice, as far as a person moves: whose motion [T, 204] is that of the same
    speech. What is learned by squared errors moves less than what it was learned from.

    Sidewards it is their corners of the mouth that count, up and down their inner lips."""
    made = spoken_motion(voice, content, f0)
    far = [np.asarray(mouth_shape(part)).std(0) for part in (made, motion)]
    ratio = np.clip(far[1] / np.maximum(far[0], 1e-6), NARROWEST, WIDEST)
    sizes = dict(voice.sizes)
    for name, factor in zip(("reach_high", "reach_wide"), ratio, strict=True):
        sizes[name] = float(factor) * sizes.get(name, 1.0)
    return voice._replace(sizes=sizes)
