"""What is built in of speech: an audio-to-motion model of what many people's mouths do
when they speak (docs/generic_voice.md says whose), and how one person's differ from it;
and a lip-sync expert of the same people.

Both are what launch/generic_voice.py has trained, in half precision, beside this file.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from emogene_jax.audio_to_motion.lip_sync import (
    WINDOW,
    LipSync,
    Sync,
    clip_sync,
    window_embeddings,
)
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate

BUILT_IN = "built_in"  # the name of either in configs
FILE = Path(__file__).with_name("generic.safetensors")
EXPERT_FILE = Path(__file__).with_name("lip_sync.safetensors")
PIECE = 250  # frames
NARROWEST, WIDEST = 0.25, 4.0  # of a person's reach: beyond, tracking has gone wrong


class Voice(NamedTuple):
    """An audio-to-motion model that has been trained."""

    sizes: dict[str, Any]  # AudioToMotion's
    trained: dict[str, Any]  # {"params", "aux"}
    content: dict[str, Any]  # what it hears (audio.features)


class Expert(NamedTuple):
    """A lip-sync expert that has been trained."""

    sizes: dict[str, Any]  # LipSync's
    trained: dict[str, Any]
    content: dict[str, Any]


@functools.cache
def built_in() -> Voice:
    """The voice that comes with the package."""
    return Voice(*_read(FILE))


@functools.cache
def built_in_expert() -> Expert:
    """The expert that comes with the package."""
    return Expert(*_read(EXPERT_FILE))


def write_built_in(model: Voice | Expert, file: Path) -> None:
    """Makes `model` the built-in one; file: FILE or EXPERT_FILE."""
    from safetensors.numpy import save_file

    flat = traverse_util.flatten_dict(model.trained, sep="/")
    half = {name: np.ascontiguousarray(x, np.float16) for name, x in flat.items()}
    told = {"sizes": model.sizes, "content": model.content}
    save_file(half, str(file), metadata={"model": json.dumps(told)})
    file.chmod(0o644)


def _read(file: Path) -> tuple[dict, dict, dict]:
    """(sizes, trained in full precision, content) of a file of write_built_in."""
    from safetensors import safe_open

    with safe_open(str(file), "numpy") as opened:
        told = json.loads(opened.metadata()["model"])
        names = opened.keys()
        flat = {name: opened.get_tensor(name) for name in names}
    tree = traverse_util.unflatten_dict(flat, sep="/")
    trained = jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)
    return told["sizes"], trained, told["content"]


def sync_of(expert: Expert, content, motion) -> Sync | None:
    """How well motion [T, 204] in eye distances says a sound, content [2T, F]; None where
    it is too short to tell."""
    model, trained = LipSync(**expert.sizes), expert.trained
    frames = len(motion)
    missing = -frames % PIECE  # few lengths: each is compiled
    content = np.pad(np.asarray(content, np.float32), ((0, 2 * missing), (0, 0)))
    motion = np.pad(np.asarray(motion, np.float32), ((0, missing), (0, 0)))
    found = window_embeddings(model, trained["params"], trained["aux"], content, motion)
    count = max(frames - WINDOW + 1, 0)
    return clip_sync(*(np.asarray(part)[:count] for part in found))


def spoken_motion(voice: Voice, content, f0) -> np.ndarray:
    """Motion [T, 204] in eye distances that a voice makes of speech, content [2T, F] and
    f0 [2T], without chance."""
    frames = len(f0) // 2
    # Padded to few lengths: clips are many, and each length is compiled.
    missing = 2 * (-frames % PIECE)
    content = np.pad(content.astype(np.float32), ((0, missing), (0, 0)), "edge")
    f0 = np.pad(f0.astype(np.float32), (0, missing), "edge")
    model, trained = AudioToMotion(**voice.sizes), voice.trained
    told = trained["params"], trained["aux"], content[None], f0[None]
    made = generate(model, *told, jax.random.key(0), 0.0)
    return np.asarray(made)[0, :frames]


def between(start: dict, learned: dict, share: float) -> dict:
    """The weights between those that a training started from and those that it ended
    with: `share` of the former. A model that has learned one person's speech has forgotten
    some of the others'; half-way it is as good on theirs as before, and better on others'
    than at the end (Wortsman et al. 2022, weight-space ensembles)."""
    return jax.tree.map(
        lambda a, b: share * np.asarray(a) + (1 - share) * np.asarray(b), start, learned
    )


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
