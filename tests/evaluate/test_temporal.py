"""Flicker is what changes where nothing moves, and nothing else."""

import numpy as np
import pytest

from emogene_jax.evaluate.temporal import flicker


class Filmed:
    """Five frames of 16 px in two clips: background above row 8, a person below, who
    moves right of column 8."""

    clip = np.array([0, 0, 0, 1, 1])
    source_frame = np.array([0, 1, 2, 3, 4])

    def __init__(self):
        self.frames = np.full((5, 16, 16, 3), 100, np.uint8)
        self.frames[:, 8:, 8:] += (40 * np.arange(5, dtype=np.uint8))[
            :, None, None, None
        ]
        self.head_matte = np.zeros((5, 16, 16), np.uint8)
        self.head_matte[:, 8:] = 255
        self.torso_matte = np.zeros_like(self.head_matte)


def test_the_source_itself_is_calm():
    filmed = Filmed()
    found = flicker(filmed, filmed.frames)
    assert found["background"] == {"rendered": 0, "source": 0, "share": 0.5}
    assert found["steady"]["rendered"] == found["steady"]["source"] == 0
    # Half of the person moves, and what is beside it is not asked.
    assert found["steady"]["share"] == pytest.approx(8 * 6 / 256, abs=1e-4)


def test_noise_counts_where_nothing_moves():
    filmed = Filmed()
    rendered = filmed.frames.copy()
    rendered[1::2, 12, :4] += 3  # of 48 steady pixels
    rendered[1::2, 12:, 12:] = 255  # where he moves
    found = flicker(filmed, rendered)
    assert found["steady"]["rendered"] == pytest.approx(3 * 4 / 48, abs=1e-3)
    assert found["steady"]["source"] == found["background"]["rendered"] == 0


def test_noise_of_the_source_is_its_own():
    filmed = Filmed()
    noise = np.random.default_rng(0).integers(-3, 4, filmed.frames.shape)
    clean = filmed.frames.copy()
    filmed.frames = (filmed.frames + noise).astype(np.uint8)
    found = flicker(filmed, clean)
    # Two of -3 ... 3 are 16/7 apart on average.
    assert found["background"]["source"] == pytest.approx(16 / 7, rel=0.1)
    assert found["steady"]["source"] == pytest.approx(16 / 7, rel=0.15)
    assert found["background"]["rendered"] == 0


def test_nothing_is_compared_across_a_cut():
    filmed = Filmed()
    rendered = filmed.frames.copy()
    rendered[3:, :8] = 0
    assert flicker(filmed, rendered)["background"]["rendered"] == 0
    filmed.source_frame = np.array([0, 2, 4, 6, 8])
    assert flicker(filmed, rendered) == {}
    with pytest.raises(ValueError, match="against"):
        flicker(filmed, rendered[:3])
