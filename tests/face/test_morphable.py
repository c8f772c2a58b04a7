"""The morphable-model fit, on made-up models in the BFM's layout whose truth is known."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.io import savemat
from scipy.optimize import least_squares

from emogene_jax.face import morphable
from emogene_jax.face.morphable import (
    MorphableModel,
    fit_morphable,
    in_head_space,
    load_morphable,
    morphable_landmarks,
)
from emogene_jax.rigid import project, rotation_exp
from emogene_jax.signals import Camera, Pose, UserError
from emogene_jax.synthetic.motion import identity as rest_face

CAMERA = Camera(870.0, 259.0, 251.0, 512)
PX_PER_CM = 870 / 70


def make_model(identities=80, expressions=64) -> MorphableModel:
    """Smooth random deformations of a face, the first ones the largest."""
    rng = np.random.default_rng(0)
    mean = rest_face(0).astype(np.float64)
    apart = np.linalg.norm(mean[:, None] - mean, axis=-1)

    def basis(count, size, width):
        smooth = np.linalg.cholesky(
            np.exp(-((apart / width) ** 2) / 2) + 1e-6 * np.eye(68)
        )
        waves = np.einsum("pq,qik->pik", smooth, rng.normal(size=(68, 3, count)))
        return waves * size / np.arange(1, count + 1) ** 0.8

    shared, moving = basis(identities, 0.35, 2.5), basis(expressions, 0.3, 1.7)
    return MorphableModel(mean - mean.mean(0), shared, moving)


class Clip(NamedTuple):
    identity: np.ndarray
    expression: np.ndarray
    pose: Pose
    landmarks: np.ndarray
    points: np.ndarray


def film(model, frames, seed=1) -> Clip:
    """A clip of a random person who turns by up to 20 degrees."""
    rng = np.random.default_rng(seed)
    identity = rng.normal(size=model.identity.shape[-1])
    expression = rng.normal(size=(frames, model.expression.shape[-1]))
    t = np.arange(frames) / 25
    turn = np.stack([0.12 * np.sin(t), 0.35 * np.sin(2 * t), 0.06 * np.sin(3 * t)], -1)
    place = np.stack([2 * np.sin(t), np.cos(2 * t), 3 * np.sin(t) - 70], -1)
    pose = Pose(rotation_exp(turn), place)
    landmarks = morphable_landmarks(model, identity, expression)
    points = project(landmarks, *pose, CAMERA)
    return Clip(identity, expression, pose, landmarks, points)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def clip(model):
    return film(model, 150)


@pytest.fixture(scope="module")
def fit(model, clip):
    return fit_morphable(model, clip.points, CAMERA)


def rms(difference) -> float:
    """Root mean square distance of [..., D]."""
    return float(np.sqrt((difference**2).sum(-1).mean()))


def file_content(model, vertices=120) -> dict:
    """What BFM_model_front.mat holds, with `model` at its keypoints: decimetres."""
    rng = np.random.default_rng(5)
    at = rng.permutation(vertices)[:68]
    arrays = []
    for part in model:
        whole = rng.normal(size=(vertices, *part.shape[1:]))
        whole[at] = part / 10
        arrays.append(whole)
    mean, shared, moving = arrays
    return {
        "meanshape": mean.reshape(1, -1),
        "idBase": shared.reshape(3 * vertices, -1).astype(np.float32),
        "exBase": moving.reshape(3 * vertices, -1).astype(np.float32),
        "keypoints": at[None] + 1,
        "tri": np.ones((9, 3)),
    }


def test_the_file_is_read_at_its_keypoints_in_cm(tmp_path, model):
    content = file_content(model)
    savemat(tmp_path / "BFM_model_front.mat", content)
    loaded = load_morphable(tmp_path / "BFM_model_front.mat")
    centre = 10 * content["meanshape"].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(loaded.mean, model.mean - centre, atol=1e-9)
    np.testing.assert_allclose(loaded.identity, model.identity, atol=1e-6)
    np.testing.assert_allclose(loaded.expression, model.expression, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exBase": None, "keypoints": None}, "has no exBase, keypoints"),
        ({"idBase": np.ones((300, 80))}, r"idBase \[300, 80\].*\[3N, I\]"),
        ({"keypoints": np.arange(1, 60)}, "68 keypoints"),
        ({"keypoints": np.arange(68)}, "from 0 to 67, expected vertices 1 to 120"),
        ({"exBase": np.full((360, 64), np.nan)}, "not finite"),
    ],
)
def test_a_wrong_model_is_one_line(tmp_path, model, change, message):
    content = file_content(model) | change
    path = tmp_path / "model.mat"
    savemat(path, {name: value for name, value in content.items() if value is not None})
    with pytest.raises(UserError, match=message) as error:
        load_morphable(path)
    assert "model.mat" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no model", b"MATLAB 7.3\n" * 50, None])
def test_a_file_that_is_no_model_is_one_line(tmp_path, content):
    path = tmp_path / "model.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="model.mat: cannot be read.*BFM_model_front"):
        load_morphable(path)


def test_truth_is_recovered(model, clip, fit):
    again = project(fit.landmarks, *fit.pose, CAMERA)
    assert rms(again - clip.points) < 0.25  # px: the priors shrink a little
    np.testing.assert_allclose(
        fit.error, np.sqrt(((again - clip.points) ** 2).sum(-1).mean(1))
    )
    placed = in_head_space(fit, clip.landmarks)
    missed = (placed.landmarks - clip.landmarks) * PX_PER_CM
    # One camera sees depth by the turning of the head only.
    assert rms(missed[..., :2]) < 0.5 and rms(missed[..., 2:]) < 1.0
    # With priors that hardly count, depth and coefficients come back too.
    fit = fit_morphable(model, clip.points, CAMERA, noise=0.004)
    placed = in_head_space(fit, clip.landmarks)
    assert rms(placed.landmarks - clip.landmarks) * PX_PER_CM < 0.25
    assert np.sqrt(((fit.expression - clip.expression) ** 2).mean()) < 0.1
    assert np.sqrt(((fit.identity - clip.identity) ** 2).mean()) < 0.2


def test_noise_of_half_a_pixel_is_smoothed_not_followed(model, clip):
    rng = np.random.default_rng(2)
    noisy = clip.points + rng.normal(0, 0.5, clip.points.shape)
    fit = fit_morphable(model, noisy, CAMERA)
    again = project(fit.landmarks, *fit.pose, CAMERA)
    assert rms(again - clip.points) < 0.5 < 0.65 < rms(noisy - clip.points)
    assert np.abs(fit.expression).max() < 6 and np.abs(fit.identity).max() < 6
    placed = in_head_space(fit, clip.landmarks)
    assert rms((placed.landmarks - clip.landmarks)[..., :2]) * PX_PER_CM < 1


def test_points_beside_the_models_do_not_make_a_monster(model, clip):
    """A tracker's idea of a point is not the model's: off by the same in all frames."""
    beside = np.random.default_rng(3).normal(0, 0.2, (68, 3))
    points = project(clip.landmarks + beside, *clip.pose, CAMERA)
    fit = fit_morphable(model, points, CAMERA)
    assert np.sqrt((fit.identity**2).mean()) < 3


def test_it_is_the_optimum_of_the_posterior():
    """The eliminated arrow against SciPy on the whole problem."""
    model = make_model(4, 3)
    clip, noise = film(model, 3), 0.1
    points = clip.points + np.random.default_rng(0).normal(0, 2.0, clip.points.shape)
    fit = fit_morphable(model, points, CAMERA, noise=noise)
    depth = -np.median(fit.pose.translation[:, 2])

    def residuals(x):
        shared, rest = x[:4], x[4:].reshape(3, 9)
        pose = Pose(rotation_exp(rest[:, 3:6]) @ fit.pose.rotation, rest[:, 6:])
        landmarks = morphable_landmarks(model, shared, rest[:, :3])
        missed = (project(landmarks, *pose, CAMERA) - points) / CAMERA.focal
        hold = np.sqrt(1 + 3 / morphable._ALIKE)
        return np.concatenate(
            [(missed * depth / noise).ravel(), hold * shared, rest[:, :3].ravel()]
        )

    frames = [fit.expression, np.zeros((3, 3)), fit.pose.translation]
    start = np.concatenate([fit.identity, np.concatenate(frames, 1).ravel()])
    best = least_squares(residuals, start * 0.9, x_scale="jac")
    ours, theirs = (residuals(start) ** 2).sum(), (best.fun**2).sum()
    # The depth that the noise is measured at is a first guess's: hence not exact.
    assert ours < 1.001 * theirs
    np.testing.assert_allclose(best.x[:4], fit.identity, atol=0.05)


def test_frames_without_a_face_and_hidden_points(model, clip):
    points = clip.points.copy()
    points[40:44] = np.nan
    points[:3] = np.nan
    points[90, 48:58] = np.nan
    fit = fit_morphable(model, points, CAMERA)
    gone = np.r_[0:3, 40:44]
    assert (
        np.isnan(fit.error[gone]).all()
        and np.isfinite(np.delete(fit.error, gone)).all()
    )
    assert all(np.isfinite(part).all() for part in (*fit.pose, fit.landmarks))
    again = project(fit.landmarks, *fit.pose, CAMERA)
    assert rms(np.delete(again - clip.points, gone, 0)) < 0.5
    assert rms(again[gone] - points[[3] * 3 + [39] * 2 + [44] * 2]) < 40  # near them
    with pytest.raises(UserError, match="a face in 0 of 150 frames"):
        fit_morphable(model, np.full_like(points, np.nan), CAMERA)


def test_weights(model, clip):
    points, weight = clip.points.copy(), np.ones(68)
    points[:, 5] += 30
    weight[5] = 0
    fit = fit_morphable(model, points, CAMERA, weight)
    again = project(fit.landmarks, *fit.pose, CAMERA)
    assert rms(np.delete(again - clip.points, 5, 1)) < 0.3
    assert rms(again[:, 5] - points[:, 5]) > 20


def test_clips_of_any_length_compile_once(model, clip):
    fit_morphable(model, clip.points[:5], CAMERA)
    compiled = (
        morphable._fit_frames._cache_size(),
        morphable._fit_identity._cache_size(),
    )
    for frames in (1, 129):
        fit = fit_morphable(model, clip.points[:frames], CAMERA)
        assert fit.expression.shape == (frames, 64)
        again = project(fit.landmarks, *fit.pose, CAMERA)
        assert rms(again - clip.points[:frames]) < 0.5
    now = morphable._fit_frames._cache_size(), morphable._fit_identity._cache_size()
    assert now == compiled


def test_head_space_is_reached_by_one_similarity(clip, fit):
    turn = rotation_exp(np.array([0.1, -0.2, 0.05]))
    wanted = 1.3 * clip.landmarks @ turn.T + [1.0, 2.0, -3.0]
    placed = in_head_space(fit, wanted)
    np.testing.assert_allclose(
        project(placed.landmarks, *placed.pose, CAMERA),
        project(fit.landmarks, *fit.pose, CAMERA),
        atol=1e-6,
    )
    assert rms((placed.landmarks - wanted)[..., :2]) * PX_PER_CM < 1.3
    product = placed.pose.rotation @ placed.pose.rotation.swapaxes(1, 2)
    np.testing.assert_allclose(
        product, np.broadcast_to(np.eye(3), product.shape), atol=1e-5
    )
