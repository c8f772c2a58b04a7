"""Waveform -> signals.AudioFeatures, the border between sound and everything else.

Which content features something was learned from is decided once, when it is learned,
and stored with it as a dict: {"type": "log_mel", "channels": 80}, or {"type": "hubert",
"channels": 1024, "model": a checkpoint's folder or its name on the hub}.
"""

import functools
import os
from collections.abc import Iterator

import numpy as np

from emogene_jax.audio.frames import Forward
from emogene_jax.audio.load import StoredSound
from emogene_jax.audio.mel import BANDS, log_mel_pieces
from emogene_jax.audio.pitch import pitch
from emogene_jax.audio.silence import speech_frames
from emogene_jax.signals import FPS, SAMPLE_RATE, AudioFeatures, UserError

FRAME = SAMPLE_RATE // FPS  # samples of a video frame
LOG_MEL = {"type": "log_mel", "channels": BANDS}


def audio_features(waveform, content: dict | None = None) -> AudioFeatures:
    """Content [2T, F], f0 [2T] and speech [T] of a waveform at 16 kHz.

    T = ceil(samples / 640), at least 1; the end is padded with zeros.

    Args:
      waveform: [samples]; or a StoredSound of any length, and then the content is a
        frames.Forward, made while it is read: memory does not grow with it (f0 and
        speech are 1 MB an hour).
      content: which content features (see the module); None = LOG_MEL.

    Raises:
      UserError: `content` is of HuBERT, which can't be had here.
    """
    steps = 2 * max(1, -(-len(waveform) // FRAME))
    content = content or LOG_MEL
    pieces = _content(waveform, content, steps)
    if isinstance(waveform, StoredSound):
        heard = Forward(pieces, (steps, content["channels"]))
    else:
        heard = np.concatenate(list(pieces))
    return AudioFeatures(heard, pitch(waveform, steps), speech_frames(waveform))


def choose_content(choice: str) -> dict:
    """The content features that a choice names: "log_mel", a HuBERT checkpoint's folder
    or name, or "auto": HuBERT where its weights are on disk or can be had, else log-mel.
    """
    if choice == "log_mel":
        return LOG_MEL
    if not choice:
        raise UserError(
            "content: found '', expected auto, log_mel or a HuBERT checkpoint"
        )
    if choice == "auto":
        from emogene_jax.audio.hubert_weights import DEFAULT, find_hubert

        if find_hubert() is None:
            return LOG_MEL
        choice = os.environ.get("EMOGENE_HUBERT") or DEFAULT
    return {
        "type": "hubert",
        "channels": _hubert(choice).config.hidden_size,
        "model": choice,
    }


def content_of(channels: int) -> dict:
    """The content features that have so many channels, where nothing else tells."""
    return LOG_MEL if channels == BANDS else {"type": "hubert", "channels": channels}


def _content(waveform, content: dict, steps: int) -> Iterator[np.ndarray]:
    """The content features in pieces [n, F]."""
    if content["type"] == "log_mel":
        return log_mel_pieces(waveform, steps)
    from emogene_jax.audio.hubert import hubert_pieces
    from emogene_jax.audio.hubert_weights import DEFAULT

    # A folder that was there when an avatar was made need not be where it is used.
    model = os.environ.get("EMOGENE_HUBERT") or content.get("model", DEFAULT)
    hubert = _hubert(model)
    if hubert.config.hidden_size != content["channels"]:
        raise UserError(
            f"{model}: a HuBERT of {hubert.config.hidden_size} channels, expected "
            f"{content['channels']}"
        )
    return hubert_pieces(hubert, waveform)


@functools.lru_cache(maxsize=1)
def _hubert(model: str):
    from emogene_jax.audio.hubert import load_hubert

    return load_hubert(model)
