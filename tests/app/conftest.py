"""A folder with one avatar that has learned nothing, and a sound to be said."""

import io
import wave

import numpy as np
import pytest

from emogene_jax.app.people import People
from emogene_jax.avatar.file import save_avatar


@pytest.fixture(scope="session")
def folder(person, tmp_path_factory):
    place = tmp_path_factory.mktemp("people")
    save_avatar(person, place / "ann")
    return place


@pytest.fixture(scope="session")
def people(folder):
    return People(folder)


def wav(seconds, rate=16_000) -> bytes:
    """A sound file of babble."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    loud = 3000 * np.sin(np.arange(int(seconds * rate)) / rate * 20)
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, rate, 0, "NONE", ""))
        target.writeframes((loud * rng.normal(size=len(loud))).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="session")
def speech() -> bytes:
    return wav(1.0)


@pytest.fixture(scope="session")
def make_wav():
    return wav
