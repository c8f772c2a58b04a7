"""PSNR, SSIM and landmark distance against closed forms and slow loops."""

import numpy as np
import pytest

from emogene_jax.evaluate import metrics
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
