"""What a prepared portrait is, in memory: arrays of one person, frame by frame."""

from typing import NamedTuple

import numpy as np

from emogene_jax.signals import Camera, Pose


class Portrait(NamedTuple):
    """One person's video, ready to train on. Clips are joined along T (and S = 2T)."""

    frames: np.ndarray  # [T, H, W, 3] uint8, sRGB
    head_matte: np.ndarray  # [T, H, W] uint8, 255 = head (face, hair, ears)
    torso_matte: np.ndarray  # [T, H, W] uint8, 255 = neck, clothes
    background: np.ndarray  # [H, W, 3] uint8, filled in behind the person
    mesh: np.ndarray  # [T, M, 3] float32 cm, canonical head space
    landmarks: np.ndarray  # [T, 68, 3] float32 cm, the iBUG points of the mesh
    rest_mesh: np.ndarray  # [M, 3] float32 cm: neutral, lips closed
    rest: np.ndarray  # [68, 3] float32 cm
    pose: Pose  # T poses
    torso: np.ndarray  # [T, 6] float32, motions of the torso (pose.torso)
    camera: Camera
    content: np.ndarray  # [S, F] float32
    f0: np.ndarray  # [S] float32 Hz
    speech: np.ndarray  # [T] bool
    waveform: np.ndarray  # [samples] int16, 16 kHz; empty without a sound track
    clip: np.ndarray  # [T] int32: which source file
    source_frame: (
        np.ndarray
    )  # [T] int32: its frame number there, after resampling to 25 fps
    emotion: np.ndarray  # [T] int32, an index into EMOTIONS
    info: dict  # JSON: sources, feature type and layout, crop, first look, units
