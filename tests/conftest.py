"""Eight simulated devices for every test, and where the shared data is."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs and golden numbers; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("EMOGENE_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set $EMOGENE_SHARED")
    return folder
