"""PSNR, SSIM, sharpness and landmark distance against closed forms, slow loops and
scikit-image; and that what is worse is told to be worse."""

import sys
from itertools import islice

import numpy as np
import pytest
from scipy import ndimage

from emogene_jax.evaluate import metrics
from emogene_jax.evaluate.temporal import unlike_changes
from emogene_jax.landmarks import FACE


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _frames(rng, frames=2, height=17, width=19):
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_psnr_of_a_constant_difference():
    black = np.zeros((3, 8, 9, 3), np.uint8)
    assert metrics.psnr(black, black + 5) == pytest.approx(20 * np.log10(255 / 5))


def test_psnr_is_the_mean_over_frames_not_of_the_mean_error():
    black = np.zeros((2, 8, 8, 3), np.uint8)
    image = black.copy()
    image[0] += 1
    image[1] += 100
    expected = np.mean([20 * np.log10(255), 20 * np.log10(2.55)])
    assert metrics.psnr(black, image) == pytest.approx(expected)


def test_psnr_does_not_wrap_around():
    """uint8 differences below zero must not become 255."""
    black = np.zeros((1, 4, 4, 3), np.uint8)
    assert metrics.psnr(black, black + 200) == metrics.psnr(black + 200, black)


def test_psnr_of_equal_frames_is_finite():
    black = np.zeros((1, 4, 4, 3), np.uint8)
    assert metrics.psnr(black, black) == metrics.MAX_PSNR


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_masks_look_only_inside(dtype):
    reference = np.zeros((2, 20, 20, 3), np.uint8)
    image = reference.copy()
    image[:, :10] += 50
    image[:, 10:] += 2
    mask = np.zeros((2, 20, 20), dtype)
    mask[0, 10:] = 255 if dtype == np.uint8 else 1  # empty in the second frame
    assert metrics.psnr(reference, image, mask) == pytest.approx(20 * np.log10(127.5))
    assert np.isnan(metrics.psnr(reference, image, mask * 0))


def test_a_matte_weighs():
    reference = np.zeros((1, 1, 2, 3), np.uint8)
    image = np.array([[[[10] * 3, [20] * 3]]], np.uint8)
    mask = np.array([[[0.25, 0.75]]])
    mse = 0.25 * 100 + 0.75 * 400
    expected = 10 * np.log10(255**2 / mse)
    assert metrics.psnr(reference, image, mask) == pytest.approx(expected, abs=1e-5)


def _slow_ssim_map(a, b, weights, unbiased):
    """SSIM window by window, as Wang et al. 2004 write it. a, b [H, W]."""
    side = len(weights)
    height, width = a.shape
    out = np.zeros((height - side + 1, width - side + 1))
    c1, c2 = 2.55**2, 7.65**2
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            x = a[i : i + side, j : j + side]
            y = b[i : i + side, j : j + side]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx = unbiased * (weights * (x - mx) ** 2).sum()
            vy = unbiased * (weights * (y - my) ** 2).sum()
            vxy = unbiased * (weights * (x - mx) * (y - my)).sum()
            luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            out[i, j] = luminance * (2 * vxy + c2) / (vx + vy + c2)
    return out


def _window(name):
    if name == "uniform":
        return np.full((7, 7), 1 / 49), 49 / 48
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line)
    return weights / weights.sum(), 1.0


@pytest.mark.parametrize("name", ["gaussian", "uniform"])
def test_ssim_equals_the_definition(rng, name):
    a = _frames(rng)
    b = np.clip(a.astype(int) + rng.integers(-40, 41, a.shape), 0, 255)
    b = b.astype(np.uint8)
    weights, unbiased = _window(name)
    maps = np.array(
        [
            [
                _slow_ssim_map(
                    a[t, ..., c].astype(float),
                    b[t, ..., c].astype(float),
                    weights,
                    unbiased,
                )
                for c in range(3)
            ]
            for t in range(2)
        ]
    )
    assert metrics.ssim(a, b, window=name) == pytest.approx(maps.mean())
    border = len(weights) // 2
    mask = rng.random(a.shape[:3]) < 0.3
    inside = mask[:, border:-border, border:-border]
    per_frame = [maps[t].mean(axis=0)[inside[t]].mean() for t in range(2)]
    masked = metrics.ssim(a, b, mask, window=name)
    assert masked == pytest.approx(np.mean(per_frame))


@pytest.mark.parametrize("name", ["gaussian", "uniform"])
def test_ssim_without_opencv_is_the_same(rng, name, monkeypatch):
    a, b = _frames(rng), _frames(rng)
    expected = metrics.ssim(a, b, window=name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert metrics.ssim(a, b, window=name) == pytest.approx(expected, abs=1e-6)


def _as_scikit_image_does(a, b):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = list(zip(a, b))
    return {
        "psnr": np.mean([peak_signal_noise_ratio(*pair) for pair in pairs]),
        "gaussian": np.mean(
            [structural_similarity(*pair, channel_axis=-1, **how) for pair in pairs]
        ),
        "uniform": np.mean(
            [structural_similarity(*pair, channel_axis=-1) for pair in pairs]
        ),
    }


def _equals_scikit_image(a, b):
    pytest.importorskip("skimage")
    expected = _as_scikit_image_does(a, b)
    assert metrics.psnr(a, b) == pytest.approx(expected["psnr"], abs=1e-4)
    for window in ("gaussian", "uniform"):
        found = metrics.ssim(a, b, window=window)
        assert found == pytest.approx(expected[window], abs=1e-4)


def test_psnr_and_ssim_are_scikit_images(rng):
    _equals_scikit_image(_frames(rng, 2, 40, 50), _frames(rng, 2, 40, 50))


def test_psnr_and_ssim_are_scikit_images_on_filmed_frames(shared):
    from emogene_jax.media.video import iter_frames

    video = shared / "data" / "mead" / "happy_256.mp4"
    frames = np.stack([*islice(iter_frames(video), 8)])
    _equals_scikit_image(frames[:2], frames[6:])
    # Flat and dark or bright frames are where rounding would show.
    dark = (frames[:1] // 32, frames[6:7] // 32)
    _equals_scikit_image(*dark)
    _equals_scikit_image(*(255 - x for x in dark))


def test_sharpness_is_the_ratio_of_laplacian_energies(rng):
    a, b = _frames(rng, 1)[0], _frames(rng, 1)[0]
    weights = np.array([0.299, 0.587, 0.114])
    energy = []
    for frame in (b, a):
        y, total = frame @ weights, 0.0
        for i in range(1, y.shape[0] - 1):
            for j in range(1, y.shape[1] - 1):
                around = y[i - 1, j] + y[i + 1, j] + y[i, j - 1] + y[i, j + 1]
                total += (around - 4 * y[i, j]) ** 2
        energy.append(total)
    scores = metrics.frame_scores(metrics.frame_maps(a, b), {"full": None})
    assert scores["full"]["sharpness"] == pytest.approx(energy[0] / energy[1], rel=1e-4)


@pytest.fixture(scope="module")
def filmed_frames():
    """Six frames of 64 px: smooth shapes that move by a pixel a frame, and a hard edge."""
    rng = np.random.default_rng(3)
    picture = ndimage.gaussian_filter(rng.normal(size=(64, 80, 3)), (2, 2, 0))
    picture = 128 + 60 * picture / picture.std()
    picture[30:, 20:50] += 40
    frames = [picture[:, t : t + 64] for t in range(6)]
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


def _scored(reference, image):
    """{metric: mean over frames} of the whole frame."""
    scores = [
        metrics.frame_scores(metrics.frame_maps(*pair), {"full": None})["full"]
        for pair in zip(reference, image)
    ]
    found = {name: np.mean([s[name] for s in scores]) for name in scores[0]}
    steps = range(1, len(image))
    changes = [
        unlike_changes(reference[t - 1 : t + 1], image[t - 1 : t + 1]) for t in steps
    ]
    return found | {"flicker": np.mean(changes)}


def test_equal_videos_are_perfect(filmed_frames):
    found = _scored(filmed_frames, filmed_frames)
    assert found == pytest.approx(
        {"psnr": metrics.MAX_PSNR, "ssim": 1, "sharpness": 1, "flicker": 0}
    )


def test_what_is_worse_is_told_to_be_worse(filmed_frames):
    noise = np.random.default_rng(0).normal(size=filmed_frames.shape)

    def blurred(sigma):
        return ndimage.gaussian_filter(filmed_frames, (0, sigma, sigma, 0))

    def shifted(by):
        return ndimage.shift(filmed_frames, (0, 0, by, 0), order=0, mode="nearest")

    def noisy(size):
        return np.clip(filmed_frames + size * noise, 0, 255).astype(np.uint8)

    for worsen in (blurred, shifted, noisy):
        little, much = (_scored(filmed_frames, worsen(by)) for by in (1, 3))
        for metric in ("psnr", "ssim"):
            assert much[metric] < little[metric], worsen
    assert _scored(filmed_frames, blurred(3))["sharpness"] < 0.5
    assert _scored(filmed_frames, noisy(6))["sharpness"] > 1.5
    assert _scored(filmed_frames, shifted(1))["sharpness"] == pytest.approx(1, abs=0.2)
    # Frames that each are right, but stand still or shake, are seen by their changes.
    frozen = np.repeat(filmed_frames[:1], 6, 0)
    calm, shaky = _scored(filmed_frames, blurred(0.5)), _scored(filmed_frames, noisy(6))
    assert calm["flicker"] < shaky["flicker"]
    true_change = np.abs(np.diff(filmed_frames.astype(int), axis=0)).mean()
    still = _scored(filmed_frames, frozen)["flicker"]
    assert still == pytest.approx(true_change, rel=1e-6) and still > calm["flicker"]


def test_ssim_is_one_only_for_equal_frames(rng):
    a = _frames(rng)
    assert metrics.ssim(a, a) == pytest.approx(1)
    assert metrics.ssim(a, 255 - a) < 0


def test_by_region_is_psnr_and_ssim_of_each_region(rng):
    a, b = _frames(rng), _frames(rng)
    masks = {"full": None, "part": rng.random(a.shape[:3]) < 0.5}
    masks["nowhere"] = np.zeros(a.shape[:3], bool)
    both = metrics.by_region(a, b, masks)
    for region, mask in masks.items():
        for name in ("psnr", "ssim"):
            expected = getattr(metrics, name)(a, b, mask)
            assert both[name][region] == pytest.approx(expected, nan_ok=True)


def test_lmd_removes_translation_but_not_scale(rng):
    a = rng.normal(size=(4, 68, 2)) * 30
    assert metrics.lmd(a, a + [7, -3]) == pytest.approx(0, abs=1e-12)
    mouth = a[:, 48:]
    centred = mouth - mouth.mean(axis=1, keepdims=True)
    expected = np.linalg.norm(centred, axis=-1).mean()
    assert metrics.lmd(a, 2 * a) == pytest.approx(expected)


def test_lmd_looks_at_its_points_and_skips_lost_frames(rng):
    a = rng.normal(size=(3, 68, 2))
    b = a.copy()
    b[:, 0] += 68.0  # a jaw point: no part of the mouth
    b[1] = np.nan
    assert metrics.lmd(a, b) == 0
    # The mean moves by 1 in x and y: 67 points by sqrt(2), one by 67 sqrt(2).
    expected = np.sqrt(2) * (67 * 1 + 67) / 68
    assert metrics.lmd(a, b, FACE) == pytest.approx(expected)


def test_shapes_must_agree(rng):
    a = _frames(rng)
    with pytest.raises(ValueError, match="against"):
        metrics.psnr(a, a[:1])
    with pytest.raises(ValueError, match="mask"):
        metrics.ssim(a, a, np.ones((2, 3, 3)))


def test_regions_lie_where_the_points_are(rng):
    landmarks = rng.uniform(10, 50, (3, 68, 2))
    landmarks[:, 0], landmarks[:, 1] = (10, 10), (50, 10)
    landmarks[:, 2], landmarks[:, 3] = (10, 50), (50, 50)
    landmarks[:, 48:] = rng.uniform(28, 32, (3, 20, 2))
    landmarks[:, 48:52] = [(28, 28), (32, 28), (28, 32), (32, 32)]
    landmarks[2] = np.nan
    masks = metrics.region_masks(landmarks, height=60, width=70)
    assert masks["face"].shape == (3, 60, 70)
    assert masks["face"][0].sum() == pytest.approx(40**2, rel=0.06)
    assert masks["mouth"][0].sum() == pytest.approx((1.5 * 4) ** 2, rel=0.4)
    assert masks["face"][0, 30, 45] and not masks["face"][0, 45, 60]
    assert masks["mouth"][0, 30, 30] and not masks["mouth"][0, 30, 45]
    assert not masks["face"][2].any()
