"""Speech by flite, a free synthesiser, which says when each phone is.

It is a program of its own (`apt install flite`), and only who asks whether lips close
(benchmarks/closing.py) needs it.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emogene_jax.audio.load import load_audio
from emogene_jax.signals import UserError

LIPS = ("p", "b", "m")  # phones of closed lips


class Phone(NamedTuple):
    """A phone of a sentence, of the CMU dictionary's set."""

    name: str
    start: float  # s
    end: float


def say(text: str, speaker: str) -> tuple[np.ndarray, list[Phone]]:
    """(waveform [samples] at 16 kHz, its phones) of a text that a voice of flite speaks.

    Raises:
      UserError: there is no flite.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "said.wav")
        command = ["flite", "-voice", speaker, "-t", text, "-o", file, "-psdur"]
        try:
            told = subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise UserError("flite: not found, expected it on PATH") from None
        return load_audio(file), phones(told.stdout)


def phones(told: str) -> list[Phone]:
    """Of "pau:0.193 b:0.224 …", what flite tells: names, and when each ends."""
    pairs = [part.split(":") for part in told.split()]
    ends = [float(end) for _, end in pairs]
    names = [name for name, _ in pairs]
    return [Phone(*each) for each in zip(names, [0.0, *ends[:-1]], ends, strict=True)]
