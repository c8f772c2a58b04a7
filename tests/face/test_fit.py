"""All clips of a person are fitted together, and by nothing that is held out."""

import numpy as np
import pytest

from emogene_jax.face import fit, morphable
from emogene_jax.face import mesh as lm
from emogene_jax.rigid import project, rotation_exp
from emogene_jax.signals import Camera, Pose

LENGTHS, KNOWN = (20, 25, 15), 35


@pytest.fixture(scope="module")
def points():
    """[60, 478, 3] px of a half ellipsoid that turns, and whose lower half moves."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-5, 5, (2, lm.MESH_POINTS))
    shape = np.stack([x, y, 6 * np.sqrt(1 - (x**2 + y**2) / 60)], -1)
    t = np.arange(60)[:, None]
    pose = Pose(rotation_exp(np.sin(t / [9, 13, 7]) * [0.1, 0.25, 0.05]), 0.0 * t)
    pose = pose._replace(translation=np.sin(t / [11, 17, 5]) * [1, 1, 0] - [0, 0, 70])
    moving = shape + (np.sin(t / 3) * (y < -2))[..., None] * [0.0, 0.5, 0.0]
    depth = (moving @ np.swapaxes(pose.rotation, 1, 2))[..., 2:] * -10
    at = project(moving, *pose, Camera(700.0, 256.0, 256.0, 512))
    tracked = np.concatenate([at, depth], -1) + rng.normal(size=(60, 478, 3)) * 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "canonical_mesh", lambda model: (shape[:468], None))
        yield tracked


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(68, 3)) * [3, 3, 1]
    bases = rng.normal(0, 0.2, (2, 68, 3, 5))
    return morphable.MorphableModel(mean, *bases)


def fitted(points, model, known):
    return fit.fit_clips(points, LENGTHS, None, 512, (256.0, 256.0), model, known=known)


@pytest.mark.parametrize("with_model", [False, True])
def test_held_out_points_change_nothing(points, model, with_model):
    model = model if with_model else None
    head, pose, mesh, landmarks = fitted(points, model, KNOWN)
    other = points.copy()
    other[KNOWN:] = 1.2 * other[KNOWN:] + np.sin(np.arange(478))[:, None]
    again, moved, *rest = fitted(other, model, KNOWN)
    assert again.camera == head.camera
    for one, two in zip((*moved, *rest), (*pose, mesh, landmarks)):
        assert len(one) == sum(LENGTHS) and np.isfinite(one).all()
        np.testing.assert_array_equal(one[:KNOWN], two[:KNOWN])
        assert not np.allclose(one[KNOWN:], two[KNOWN:])


@pytest.mark.parametrize("with_model", [False, True])
def test_held_out_frames_are_fitted_like_others(points, model, with_model):
    model = model if with_model else None
    *_, mesh, landmarks = fitted(points, model, KNOWN)
    *_, whole, all_seen = fitted(points, model, None)
    for one, two in ((mesh, whole), (landmarks, all_seen)):
        off = np.abs(one - two).mean((1, 2))
        assert off[KNOWN + 2 :].mean() < 2 * off[:KNOWN].mean() + 0.02


def test_borders_are_cuts_and_where_holding_out_begins():
    assert fit.borders(LENGTHS, KNOWN) == [20, 35, 45]
    assert fit.borders(LENGTHS, 45) == fit.borders(LENGTHS, 60) == [20, 45]
    assert fit.borders([7], 7) == []
