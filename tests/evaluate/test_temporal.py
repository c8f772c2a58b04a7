"""Flicker is what changes where nothing moves, and nothing else."""

import numpy as np
import pytest

from emogene_jax.evaluate.geometry import STABLE
from emogene_jax.evaluate.temporal import flicker, jitter, unlike_changes


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


def test_unlike_changes_against_slow_loops():
    rng = np.random.default_rng(1)
    true, image = (rng.integers(0, 256, (2, 5, 6, 3), dtype=np.uint8) for _ in range(2))
    total = 0
    for place in np.ndindex(5, 6, 3):
        old, new = (int(image[t][place]) for t in (0, 1))
        true_old, true_new = (int(true[t][place]) for t in (0, 1))
        total += abs((new - old) - (true_new - true_old))
    assert unlike_changes(true, image) == pytest.approx(total / 90)


def test_jitter_sees_trembling_alone():
    rng = np.random.default_rng(2)
    true = np.cumsum(rng.normal(size=(9, 68, 2)), axis=0)
    assert jitter(true, true) == pytest.approx(0)
    drifting = (
        true + np.arange(9)[:, None, None] * 0.7 + 3
    )  # off, and further every frame
    assert jitter(drifting, true) == pytest.approx(0, abs=1e-12)
    trembling = true.copy()
    trembling[::2, list(STABLE), 0] += 0.5
    # The second difference of 0.5, 0, 0.5, ... is 1 in size.
    assert jitter(trembling, true) == pytest.approx(1)
    lost = trembling.copy()
    lost[4] = np.nan
    assert np.isnan(jitter(lost, true)).sum() == 3


def test_jitter_against_slow_loops():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 5, 68, 2))
    for t, found in enumerate(jitter(a, b)):
        lengths = []
        for p in STABLE:
            e = [a[t + k, p] - b[t + k, p] for k in range(3)]
            lengths.append(np.hypot(*(e[2] - 2 * e[1] + e[0])))
        assert found == pytest.approx(np.mean(lengths))
