"""HuBERT: the numbers of PyTorch, whatever the length, the company and the files."""

import json
import time

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from emogene_jax.audio import hubert, hubert_model, hubert_weights
from emogene_jax.audio.hubert import hubert_features, load_hubert
from emogene_jax.signals import UserError

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


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "checkpoint", SMALL)


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


def test_the_checkpoint_says_whether_to_normalise(tmp_path):
    waveform = speech(1)
    for normalise in (True, False):
        folder = write(tmp_path / str(normalise), SMALL | LARGE, do_normalize=normalise)
        loaded = load_hubert(folder)
        quiet, loud = hubert_features(loaded, [waveform, 2 * waveform])
        assert (np.abs(quiet - loud).max() < 1e-3) == normalise


# Files.


def rename(tensors, style):
    names = {
        "old": {},
        "new": {
            G: "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            V: "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        },
    }[style.removesuffix("-ctc")]
    renamed = {names.get(name, name): array for name, array in tensors.items()}
    if style.endswith("-ctc"):
        renamed = {f"hubert.{name}": array for name, array in renamed.items()}
        renamed["hubert.masked_spec_embed"] = np.zeros(32, np.float32)
        renamed["lm_head.weight"] = np.zeros((3, 32), np.float32)
        renamed["lm_head.bias"] = np.zeros(3, np.float32)
    return renamed


def params_of(folder):
    config = hubert_weights.read_config(folder)
    tensors = hubert_weights.read_tensors(folder)
    return hubert_weights.to_params(tensors, config, "it")


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def leaves(tree):
    import jax

    return jax.tree.leaves(tree)


@pytest.mark.parametrize("style", ["old", "new", "old-ctc", "new-ctc"])
@pytest.mark.parametrize("sharded", [False, True])
def test_both_spellings_and_shards(base, style, sharded):
    expected = params_of(base)
    tensors = rename(random_tensors(hubert_weights.read_config(base)), style)
    if sharded:
        (base / "model.safetensors").unlink()
        names, index = sorted(tensors), {}
        for shard in range(2):
            file = f"model-0000{shard + 1}-of-00002.safetensors"
            index |= dict.fromkeys(names[shard::2], file)
            save_file({name: tensors[name] for name in names[shard::2]}, base / file)
        text = json.dumps({"metadata": {}, "weight_map": index})
        (base / "model.safetensors.index.json").write_text(text)
    else:
        save_file(tensors, base / "model.safetensors")
    assert same(params_of(base), expected)
    if sharded:
        (base / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(UserError, match="model-00002-of-00002.safetensors is miss"):
            load_hubert(base)


def test_pytorch_files(base, monkeypatch):
    torch = pytest.importorskip("torch")
    expected = params_of(base)
    tensors = random_tensors(hubert_weights.read_config(base))
    (base / "model.safetensors").unlink()
    path = base / "pytorch_model.bin"
    torch.save({n: torch.from_numpy(array) for n, array in tensors.items()}, path)
    assert same(params_of(base), expected)
    torch.save({"code": print}, path)  # what only an unsafe load would run
    with pytest.raises(UserError, match="pytorch_model.bin: cannot be read"):
        load_hubert(base)


def test_pytorch_files_without_pytorch(base, monkeypatch):
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    monkeypatch.setattr(hubert_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs PyTorch, which is not installed"):
        load_hubert(base)


def edit(name, **values):
    def change(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def retensor(change):
    def spoil(folder):
        tensors = random_tensors(hubert_weights.read_config(folder))
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return spoil


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "expected a JSON object"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "preproc.*no such file"),
        (edit("config.json", model_type="wavlm"), "model_type is 'wavlm'"),
        (edit("config.json", hidden_act="relu"), "hidden_act is relu"),
        (edit("config.json", conv_stride=[5, 2, 2, 2, 2, 2, 3]), "conv_kernel"),
        (edit("preprocessor_config.json", sampling_rate=8000), "8000, expected 16000"),
        (truncate, "expected a whole safetensors file"),
        (retensor(lambda t: t.pop(V)), "missing: encoder.pos_conv_embed"),
        (retensor(lambda t: t.update(odd=np.zeros(1, "f4"))), "unexpected: odd"),
        (
            retensor(lambda t: t.update({G: np.zeros((1, 1, 7), "f4")})),
            r"another shape: .*\(1, 1, 7\) \(expected \(1, 1, 128\)\)",
        ),
    ],
)
def test_a_bad_checkpoint_is_one_clear_line(base, spoil, message):
    spoil(base)
    with pytest.raises(UserError, match=message) as error:
        load_hubert(base)
    assert str(base) in str(error.value) and "\n" not in str(error.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_hubert(tmp_path / "absent")


# Which checkpoint.


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache, a hub that nobody answers for, and no memory of an attempt."""
    from huggingface_hub import constants

    monkeypatch.delenv("EMOGENE_HUBERT", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hubert_weights._find_default.cache_clear()
    yield constants
    hubert_weights._find_default.cache_clear()


def test_the_variable_names_a_folder(hub, base, monkeypatch):
    monkeypatch.setenv("EMOGENE_HUBERT", str(base))
    assert hubert_weights.find_hubert() == str(base)
    monkeypatch.setenv("EMOGENE_HUBERT", str(base / "absent"))
    with pytest.raises(UserError, match="EMOGENE_HUBERT.*absent: no such folder"):
        hubert_weights.find_hubert()


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_said_once(hub, offline, monkeypatch, capsys):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", offline)
    start = time.monotonic()
    assert hubert_weights.find_hubert() is None
    assert hubert_weights.find_hubert() is None
    assert time.monotonic() - start < 2 * hubert_weights.ATTEMPT + 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no HuBERT features: facebook/hubert-large-ls960-ft: ")
    assert ("$HF_HUB_OFFLINE" if offline else "cannot be had") in line


def test_a_hub_that_never_answers_is_given_up(hub, monkeypatch, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub, "ENDPOINT", url)
        monkeypatch.setattr(hubert_weights, "ATTEMPT", 0.2)
        assert hubert_weights.find_hubert() is None
    assert "cannot be had" in capsys.readouterr().err


def test_the_cache_is_looked_at_first(hub, base, tmp_path, capsys):
    repository = tmp_path / "hub" / "models--facebook--hubert-large-ls960-ft"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    base.rename(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert hubert_weights.find_hubert() == str(snapshot)
    assert not capsys.readouterr().err
    assert load_hubert("facebook/hubert-large-ls960-ft").config.hidden_size == 32


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
