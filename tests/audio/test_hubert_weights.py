"""HuBERT checkpoints: files of every spelling, one clear line for bad ones, and which
one it is."""

import hashlib
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from emogene_jax.audio import hubert_weights
from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.audio.hubert import load_hubert, locate
from emogene_jax.signals import UserError

sys.path.insert(0, str(Path(__file__).parent))
from test_hubert import SMALL, G, V, random_tensors, write  # noqa: E402


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "checkpoint", SMALL)


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
    shards = sorted(base.glob("*.safetensors"))
    whole = hashlib.sha256(b"".join(shard.read_bytes() for shard in shards))
    assert hubert_weights.checksum(base) == whole.hexdigest()[:16]
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
    assert line.startswith(
        "the speech embedding in place of HuBERT: facebook/hubert-large-ls960-ft: "
    )
    assert ("$HF_HUB_OFFLINE" if offline else "cannot be had") in line


def test_a_hub_that_never_answers_is_given_up(hub, monkeypatch, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub, "ENDPOINT", url)
        monkeypatch.setattr(hubert_weights, "ATTEMPT", 0.2)
        assert hubert_weights.find_hubert() is None
    assert "cannot be had" in capsys.readouterr().err


def test_the_cache_is_looked_at_first(hub, base, tmp_path, capsys, monkeypatch):
    repository = tmp_path / "hub" / "models--facebook--hubert-large-ls960-ft"
    snapshot = repository / "snapshots" / hubert_weights.REVISION
    snapshot.parent.mkdir(parents=True)
    base.rename(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)  # which does not matter
    assert hubert_weights.find_hubert() == str(snapshot)
    assert not capsys.readouterr().err
    content = choose_content("auto")
    assert content == {
        "type": "hubert",
        "channels": 32,
        "model": "facebook/hubert-large-ls960-ft",
        "revision": hubert_weights.REVISION,
        "sha256": hubert_weights.checksum(snapshot),
    }
    # It is read, and its checksum made, once.
    with monkeypatch.context() as patch:
        patch.setattr(hubert_weights, "read_tensors", None)
        patch.setattr(hubert_weights, "checksum", None)
        audio_features(np.zeros(640, np.float32), content)
        assert choose_content("facebook/hubert-large-ls960-ft") == content


@pytest.mark.parametrize(
    "name, asked, commit",
    [
        ("facebook/hubert-large-ls960-ft", hubert_weights.REVISION, None),
        ("facebook/hubert-large-ls960-ft@refs/pr/1", "refs/pr/1", "1" * 40),
        ("someone/hubert", None, "2" * 40),
        ("someone/hubert@v1", "v1", "3" * 40),
    ],
)
def test_a_download_is_of_a_revision(
    hub, base, tmp_path, monkeypatch, name, asked, commit
):
    """The pinned one, or the one that is named, or the hub's main; its commit is kept."""
    calls = []

    def urlopen(url, timeout):
        calls.append(url)
        files = [{"rfilename": path.name} for path in base.iterdir()]
        return io.BytesIO(json.dumps({"siblings": files}).encode())

    def download(repository, revision, allow_patterns):
        calls.append((repository, revision))
        folder = tmp_path / "snapshots" / (commit or revision)
        folder.parent.mkdir()
        return str(base.rename(folder))

    monkeypatch.setattr(hubert_weights.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    repository, found = name.partition("@")[0], commit or asked
    _, named = locate(name)
    assert named == {"model": repository, "revision": found}
    end = f"/revision/{asked.replace('/', '%2F')}" if asked else ""
    url = f"{hub.ENDPOINT}/api/models/{repository}{end}"
    assert calls == [url, (repository, asked)]
