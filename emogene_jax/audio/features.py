"""Waveform -> signals.AudioFeatures, the border between sound and everything else."""

import numpy as np

from emogene_jax.audio.mel import log_mel
from emogene_jax.audio.pitch import pitch
from emogene_jax.audio.silence import speech_frames
from emogene_jax.signals import FPS, SAMPLE_RATE, AudioFeatures

FRAME = SAMPLE_RATE // FPS  # samples of a video frame


def audio_features(waveform: np.ndarray) -> AudioFeatures:
    """Log-mel content [2T, 80], f0 [2T] and speech [T] of waveform at 16 kHz.

    T = ceil(samples / 640), at least 1; the end is padded with zeros.
    """
    frames = max(1, -(-len(waveform) // FRAME))
    padded = np.zeros(frames * FRAME, np.float32)
    padded[: len(waveform)] = waveform
    return AudioFeatures(log_mel(padded), pitch(padded), speech_frames(padded))
