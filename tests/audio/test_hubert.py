"""HuBERT: the numbers of PyTorch, whatever the length and the company."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from emogene_jax.audio import hubert, hubert_model, hubert_weights
from emogene_jax.audio.hubert import hubert_features, load_hubert

SMALL = {
    "model_type": "hubert",
    "conv_dim": [16] * 7,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
LAYOUTS = {"base": SMALL, "large": SMALL | LARGE}
G, V = (f"encoder.pos_conv_embed.conv.weight_{part}" for part in "gv")


def random_tensors(config):
    """A checkpoint's tensors, so large that every part of the network matters."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in hubert_weights.tensor_shapes(config).items():
        spread = 1.5 * np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.2
        centre = 1.0 if "norm.weight" in name or name == G else 0.0
        values = centre + rng.normal(0, spread if name != G else 0.1, shape)
        tensors[name] = values.astype(np.float32)
    return tensors


def write(folder, config, change=lambda tensors: None, **extractor):
    """A checkpoint folder as save_pretrained makes it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = random_tensors(hubert_weights.read_config(folder))
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    settings = {"do_normalize": True, "sampling_rate": 16000, "feature_size": 1}
    kind = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "padding_value": 0.0}
    text = json.dumps(kind | settings | extractor)
    (folder / "preprocessor_config.json").write_text(text)
    return folder


@pytest.fixture(scope="module", params=LAYOUTS)
def folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp(request.param), LAYOUTS[request.param])


@pytest.fixture(scope="module")
def loaded(folder):
    return load_hubert(folder)


def speech(seconds, seed=0):
    """Something that rises and falls, and is not centred."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(int(seconds * 16000)) / 16000
    loudness = 0.2 + 0.15 * np.sin(2 * np.pi * time_ / 3)
    return (0.01 + loudness * rng.normal(size=len(time_))).astype(np.float32)


def reference(folder, waveforms):
    """What transformers' PyTorch model says of the same normalised, padded samples."""
    torch = pytest.importorskip("torch")
    from transformers import AutoFeatureExtractor, HubertModel

    model, told = HubertModel.from_pretrained(folder, output_loading_info=True)
    assert set(told["missing_keys"]) <= {"masked_spec_embed"}
    assert not told["unexpected_keys"] and not told["mismatched_keys"]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    for waveform in waveforms:
        values = extractor(waveform, sampling_rate=16000, return_tensors="np")
        frames = -(-len(waveform) // 640)
        padded = np.zeros((1, 640 * frames + 80), np.float32)
        padded[0, 40 : 40 + len(waveform)] = values["input_values"][0]
        with torch.no_grad():
            hidden = model.eval()(torch.from_numpy(padded)).last_hidden_state
        yield hidden[0].numpy()


def test_the_numbers_are_those_of_pytorch(folder, loaded):
    waveforms = [speech(seconds) for seconds in (0.1, 1, 7.31, 30)]
    expected = list(reference(folder, waveforms))
    features = hubert_features(loaded, waveforms)
    assert [len(f) for f in features] == [6, 50, 366, 1500]
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.dtype == np.float32 and ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-4
        assert theirs.std() > 0.1


@pytest.mark.usefixtures("eight_devices")
def test_neither_company_nor_padding_has_influence(folder):
    loaded = load_hubert(folder)
    waveforms = [speech(seconds, seed=1) for seconds in (0.5, 1.3, 1.6, 2.0)]
    together = hubert_features(loaded, waveforms)
    for waveform, features in zip(waveforms, together, strict=True):
        (alone,) = hubert_features(loaded, [waveform])
        assert np.abs(alone - features).max() < 1e-4


@pytest.mark.parametrize("samples", [0, 1, 639, 640, 641, 1600])
def test_two_steps_for_every_frame(loaded, samples):
    (features,) = hubert_features(loaded, [speech(1)[:samples]])
    assert features.shape == (2 * max(1, -(-samples // 640)), 32)
    assert np.isfinite(features).all()


def test_silence_is_an_input_like_any_other(loaded):
    (features,) = hubert_features(loaded, [np.zeros(16000, np.float32)])
    assert features.shape == (50, 32) and np.isfinite(features).all()


def test_nothing_is_compiled_for_a_new_length(loaded):
    hubert_features(loaded, [speech(1.0)])
    parts = (hubert_model.extract, hubert_model.embed, hubert_model.layer)
    before = [part._cache_size() for part in parts]
    hubert_features(loaded, [speech(0.8), speech(1.2)])
    assert [part._cache_size() for part in parts] == before


def test_a_minute_is_seen_whole():
    assert hubert.window_starts(60 * 50) == [0]


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(1, 200_000))
def test_windows_cover_a_recording_and_fade(steps):
    rows = [
        hubert._Row(0, start, min(steps, hubert.WINDOW))
        for start in hubert.window_starts(steps)
    ]
    total = np.zeros((steps, 1))
    for row in rows:
        share = hubert._share(row, steps)
        total[row.start : row.start + row.steps] += share
        assert np.abs(np.diff(share[:, 0])).max(initial=0) <= 1 / hubert.FADE + 1e-6
        if row.start:
            assert not share[: hubert.CONTEXT].any()
        if row.start + row.steps < steps:
            assert not share[row.steps - hubert.CONTEXT :].any()
    assert total.min() > 0.9


def windowed(loaded, waveform, monkeypatch, window):
    with monkeypatch.context() as patch:
        patch.setattr(hubert, "WINDOW", window)
        patch.setattr(hubert, "CONTEXT", 70)
        patch.setattr(hubert, "FADE", 20)
        assert len(hubert.window_starts(400)) > 1
        return hubert_features(loaded, [waveform])[0]


def test_windows_change_nothing_but_attention(tmp_path, monkeypatch):
    """Positions and whole-recording statistics: without attention, windows are exact."""

    def deaf(tensors):
        for name in tensors:
            if "out_proj" in name:
                tensors[name][:] = 0

    for layout, config in LAYOUTS.items():
        loaded = load_hubert(write(tmp_path / layout, config, deaf))
        waveform = speech(8)
        (whole,) = hubert_features(loaded, [waveform])
        parts = windowed(loaded, waveform, monkeypatch, 256)
        assert np.abs(parts - whole).max() < 1e-4, layout


def test_joints_are_small_with_attention(loaded, monkeypatch):
    waveform = speech(8)
    (whole,) = hubert_features(loaded, [waveform])
    parts = windowed(loaded, waveform, monkeypatch, 320)
    error = (parts - whole) / whole.std(0)
    assert 1e-4 < np.sqrt(np.mean(error**2)) < 0.3
    # From one step to the next nothing jumps that did not before.
    jumps = [np.abs(np.diff(each, axis=0)).mean(1) for each in (parts, whole)]
    assert jumps[0].max() < 1.2 * jumps[1].max()


def test_bfloat16_is_close(folder, loaded):
    rough = load_hubert(folder, jnp.bfloat16)
    assert rough.params["layers"][0]["up"]["kernel"].dtype == jnp.bfloat16
    (a,), (b,) = (hubert_features(each, [speech(1)]) for each in (loaded, rough))
    assert b.dtype == np.float32
    assert 0 < np.sqrt(np.mean((a - b) ** 2)) < 0.05 * a.std()


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_an_accelerator_attends_with_all_heads_at_once(
    folder, on_an_accelerator, dtype, most
):
    loaded = load_hubert(folder, dtype)
    x = jax.random.normal(jax.random.key(0), (3, 9, SMALL["hidden_size"]))
    told = loaded.params["layers"][0], loaded.config, x, jnp.array([9, 5, 0])
    layer = hubert_model.layer.__wrapped__  # else what was traced before is run again
    alone = layer(*told)
    on_an_accelerator()
    together = layer(*told)
    for row, steps in enumerate(told[-1][:2]):
        scale = np.abs(alone[row]).max()
        np.testing.assert_allclose(
            together[row, :steps], alone[row, :steps], atol=most * scale
        )
    assert np.isfinite(together).all()


def test_the_checkpoint_says_whether_to_normalise(tmp_path):
    waveform = speech(1)
    for normalise in (True, False):
        folder = write(tmp_path / str(normalise), SMALL | LARGE, do_normalize=normalise)
        loaded = load_hubert(folder)
        quiet, loud = hubert_features(loaded, [waveform, 2 * waveform])
        assert (np.abs(quiet - loud).max() < 1e-3) == normalise


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_are_the_whole(tmp_path, monkeypatch, layout):
    loaded = load_hubert(write(tmp_path / layout, LAYOUTS[layout]))
    for name, value in {"WINDOW": 256, "CONTEXT": 70, "FADE": 20}.items():
        monkeypatch.setattr(hubert, name, value)
    for seconds in (0.1, 4, 13.3):
        waveform = speech(seconds)
        (whole,) = hubert_features(loaded, [waveform])
        pieces = list(hubert.hubert_pieces(loaded, waveform))
        assert len(pieces) == len(hubert.window_starts(len(whole)))
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
