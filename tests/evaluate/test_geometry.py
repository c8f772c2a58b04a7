"""Measures of the face: blind to rigid motion, awake to each expression."""

import numpy as np
import pytest

from emogene_jax.evaluate import geometry
from emogene_jax.motion_to_emotion.expressions import canonical_rest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _face():
    """A plain face [68, 3]: cm, x right, y up, z towards the viewer."""
    face = np.zeros((68, 3))
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    face[:17] = np.stack([7 * np.cos(angle), 1 + 8 * np.sin(angle), 0 * angle], -1)
    face[17:22, 0], face[22:27, 0] = np.linspace(-5, -1, 5), np.linspace(1, 5, 5)
    face[17:27, 1] = 2.5
    face[27:31] = [[0, 0.5 - i, 3 + i] for i in range(4)]
    face[31:36] = [[i - 2, -3.5, 4.5] for i in range(5)]
    for start, centre in ((36, -3), (42, 3)):
        offsets = [(-1.5, 0), (-0.6, 0.5), (0.6, 0.5), (1.5, 0), (0.6, -0.5)]
        offsets.append((-0.6, -0.5))
        face[start : start + 6, :2] = [[centre + x, y] for x, y in offsets]
    turn = np.pi - np.arange(12) * np.pi / 6
    face[48:60, :2] = np.stack([2.5 * np.cos(turn), -5 + np.sin(turn)], -1)
    turn = np.pi - np.arange(8) * np.pi / 4
    face[60:, :2] = np.stack([2 * np.cos(turn), -5 + 0.4 * np.sin(turn)], -1)
    face[48:, 2] = 4
    return face


def _rotation(rng, degrees):
    x, y, z = np.radians(rng.uniform(-degrees, degrees, 3))
    rx = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    ry = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    rz = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(rx) @ ry @ rz


EYES = 9.0  # cm between the outer corners of _face()
# measure: (points, their shift in cm, by how much it must move: None = clearly)
EXPRESSIONS = {
    "brow_height": (range(17, 27), (0, 0.9, 0), 0.9),
    "brow_inner_height": ((21, 22), (0, 0.9, 0), 0.9),
    "brow_inner_over_outer": ((17, 26), (0, -0.45, 0), 0.45),
    "brow_distance": ((22,), (-0.9, 0, 0), -0.9),
    "mouth_corners": ((48, 54), (0, 0.45, 0), 0.45),
    "mouth_curve": ((48, 54), (0, 0.45, 0), 0.45),
    "mouth_asymmetry": ((54,), (0, 0.9, 0), 0.9),
    "mouth_width": ((54,), (0.9, 0, 0), 0.9),
    "mouth_opening": ((66,), (0, -0.9, 0), 0.9),
    "lid_aperture": ((37, 38, 43, 44), (0, -0.45, 0), -0.45),
    "nose_to_lip": ((51,), (0, -0.9, 0), None),
    "jaw": ((8,), (0, -0.9, 0), None),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_each_measure_sees_its_expression(name, dimensions):
    points, shift, expected = EXPRESSIONS[name]
    neutral = np.repeat(_face()[None], 8, axis=0)
    moved = neutral.copy()
    moved[:, list(points)] += shift
    if dimensions == 2:  # into a picture: y down
        neutral, moved = (x[..., :2] * [10, -10] + [120, 90] for x in (neutral, moved))
    mean, half = geometry.paired_difference(moved, neutral)[name]
    assert half == pytest.approx(0, abs=1e-9)
    if expected is None:
        assert abs(mean) > 0.02
    else:
        assert mean == pytest.approx(expected / EYES, abs=1e-6)


def test_every_measure_is_tested():
    assert set(EXPRESSIONS) == set(geometry.measures(_face()[None]))


def test_rigid_motion_and_scale_are_removed(rng):
    face = _face()
    still = geometry.measures(np.repeat(face[None], 6, axis=0))
    moving = np.stack(
        [3 * face @ _rotation(rng, 20).T + rng.normal(size=3) * 50 for _ in range(6)]
    )
    moving[0] = face  # the sequence's mean pose stays frontal
    aligned = geometry.align(moving)
    np.testing.assert_allclose(aligned - aligned[:1], 0, atol=1e-9)
    for name, value in geometry.measures(moving).items():
        np.testing.assert_allclose(value, still[name], atol=1e-9, err_msg=name)


def test_roll_in_the_picture_is_removed(rng):
    flat = _face()[:, :2] * [10, -10]
    cos, sin = np.cos(0.4), np.sin(0.4)
    rolled = flat @ np.array([[cos, sin], [-sin, cos]]) + 300
    for name, value in geometry.measures(rolled[None]).items():
        expected = geometry.measures(flat[None])[name]
        np.testing.assert_allclose(value, expected, atol=1e-9, err_msg=name)


def test_lost_frames_do_not_count():
    neutral = np.repeat(_face()[None], 10, axis=0)
    moved = neutral.copy()
    moved[:, [48, 54], 1] += 0.9
    moved[3] = np.nan
    neutral[7] = np.nan
    mean, _ = geometry.paired_difference(moved, neutral)["mouth_corners"]
    assert mean == pytest.approx(0.1)
    mean, half = geometry.paired_difference(moved * np.nan, neutral)["jaw"]
    assert np.isnan(mean) and np.isnan(half)


def test_the_interval_knows_that_neighbours_are_alike(rng):
    """It holds the truth in about 95 % of trials though noise lasts a third second."""
    hits = 0
    kernel = np.ones(8) / 8
    for _ in range(400):
        noise = np.convolve(rng.normal(size=257), kernel, mode="valid")
        mean, half = geometry.mean_and_interval(0.3 + noise)
        hits += abs(mean - 0.3) <= half
    assert 0.9 <= hits / 400 <= 0.99


def test_lengths_must_agree():
    face = _face()[None]
    with pytest.raises(ValueError, match="against"):
        geometry.paired_difference(face, np.repeat(face, 2, axis=0))


def _seen_face(rng, frames=3):
    """[T, 68, 2] px: a face of 100 px between the eye corners, that moves a little."""
    rest = canonical_rest()[:, :2] * (100 / 9, -100 / 9) + (200, 150)
    return rest + rng.normal(0, 1, (frames, 68, 2))


def test_crops_do_not_know_where_and_how_large_a_face_was():
    rng = np.random.default_rng(0)
    face = _seen_face(rng)
    turned = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    moved = 0.6 * face @ turned + (7, -3)
    np.testing.assert_allclose(
        geometry.in_crop(moved), geometry.in_crop(face), atol=1e-9
    )
    # All frames by the first one's similarity: movement stays.
    drift = face[:1] + np.arange(3)[:, None, None] * 2.0
    steps = np.diff(geometry.in_crop(drift), axis=0)
    scale = geometry.CROP_EYES / 100
    assert np.linalg.norm(steps, axis=-1) == pytest.approx(np.sqrt(8) * scale, rel=0.03)


def test_crops_are_of_their_size_and_lost_frames_stay_lost():
    face = _seen_face(np.random.default_rng(1))
    face[0] = np.nan
    cropped = geometry.in_crop(face)
    eyes = np.linalg.norm(cropped[1, 36] - cropped[1, 45])
    assert eyes == pytest.approx(geometry.CROP_EYES, rel=0.03)
    assert np.isnan(cropped[0]).all() and not np.isnan(cropped[1:]).any()
    assert np.isnan(geometry.in_crop(face * np.nan)).all()


def test_the_similarity_is_scikit_images():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(2)
    source, target, points = rng.normal(size=(3, 8, 2)) * 30
    found = transform.SimilarityTransform.from_estimate(source, target)
    ours = geometry.fit_similarity(points, source, target)
    np.testing.assert_allclose(ours, found(points), atol=1e-4)
