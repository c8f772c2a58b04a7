"""The torso's motion is found in pictures of which it is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from emogene_jax.pose.torso import MOTION, undone
from emogene_jax.pose.torso_tracker import TorsoTracker

SIDE = 96


def motions(count, seed=0):
    rng = np.random.default_rng(seed)
    steps = gaussian_filter(rng.normal(size=(count, MOTION)), (6, 0))
    return steps / steps.std(0) * [0.01, 0.01, 0.01, 0.01, 0.015, 0.01]


def filmed(motion, seed=1):
    """(frames, head mattes, torso mattes) of a patterned torso under a head that goes its
    own way, before a background that stands still."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:SIDE, :SIDE]
    pattern = 60 + gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3) * 900
    matte = 1 / (1 + np.exp((SIDE * 0.55 + abs(column - SIDE / 2) * 0.5 - row) / 1.5))
    behind = 150 + gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3) * 900
    place = (np.stack([column, row], -1).reshape(1, -1, 2) + 0.5) / SIDE
    layers = []
    for t, one in enumerate(motion):
        at = undone(one[None], place)[0].reshape(SIDE, SIDE, 2) * SIDE - 0.5
        seen, torso = (
            map_coordinates(
                picture, at[..., ::-1].transpose(2, 0, 1), order=3, mode="nearest"
            )
            for picture in (pattern, matte)
        )
        middle = SIDE * (0.5 + 0.08 * np.sin(t))
        head = np.hypot(column - middle, row - SIDE * 0.35) < SIDE * 0.22
        torso = np.where(head, 0, torso.clip(0, 1))
        frame = np.where(head, 220, torso * seen + (1 - torso) * behind)
        layers.append((frame[..., None].repeat(3, -1), 255 * head, 255 * torso))
    return tuple(
        np.stack(part).round().clip(0, 255).astype(np.uint8) for part in zip(*layers)
    )


def track(layers, starts=(), known=None):
    tracker = TorsoTracker()
    halves = [[part[s] for part in layers] for s in (slice(0, 7), slice(7, None))]
    passed = list(tracker.followed(halves))
    np.testing.assert_array_equal(passed[1][0], layers[0][7:])
    return tracker.track(list(starts), known or len(layers[0]))


def shifts(motion):
    """Where corners of the torso are seen, less their mean over time, in px."""
    corners = np.array([[0.3, 0.8], [0.7, 0.8], [0.5, 0.95]])[None].repeat(
        len(motion), 0
    )
    moved = undone(motion, corners) * SIDE
    return moved - moved.mean(0)


def test_motion_is_found_to_a_fraction_of_a_pixel():
    true = motions(40)
    found = track(filmed(true))
    assert found.shape == (40, MOTION) and found.dtype == np.float32
    error = shifts(found) - shifts(true)
    assert shifts(true).std() > 0.8
    assert np.sqrt((error**2).mean()) < 0.2


def test_what_is_held_out_does_not_change_what_is_known():
    layers = filmed(motions(40))
    other = tuple(part.copy() for part in layers)
    for part in other:
        part[30:] = part[30:][::-1]
    one, two = (track(x, starts=[30], known=30) for x in (layers, other))
    np.testing.assert_array_equal(one[:30], two[:30])
    assert np.abs(one[30:] - two[30:]).max() > 1e-3


@pytest.mark.parametrize("matte", [0, 255])
def test_no_torso_and_no_texture_are_no_motion(matte):
    blank = np.full((12, SIDE, SIDE), 100, np.uint8)
    layers = blank[..., None].repeat(3, -1), 0 * blank, np.full_like(blank, matte)
    np.testing.assert_allclose(track(layers), 0, atol=1e-6)


def test_a_place_is_undone_by_hand():
    motion = np.array([[0.1, 0.2, -0.3, 0.4, 0.05, -0.06]])
    place = np.array([[[0.7, 0.1]]])
    x, y = 0.2, -0.4
    by_hand = [0.7 + 0.1 * x + 0.2 * y + 0.05, 0.1 - 0.3 * x + 0.4 * y - 0.06]
    np.testing.assert_allclose(undone(motion, place)[0, 0], by_hand)
