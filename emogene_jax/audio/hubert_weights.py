"""HuBERT checkpoints of Hugging Face -> ours: which one, its config, its tensors."""

import functools
import http.client
import importlib
import importlib.util
import json
import os
import re
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emogene_jax.audio.hubert_model import FIELD, HOP, HubertConfig
from emogene_jax.folders import digest
from emogene_jax.signals import SAMPLE_RATE, UserError, listed

DEFAULT = "facebook/hubert-large-ls960-ft"
# Its publisher's last commit, of 2022, whose only weights are pytorch_model.bin.
REVISION = "ece5fabbf034c1073acae96d5401b25be96709d8"
SETTINGS = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
# Of a checkpoint's other uses: masking while it was trained, and recognising letters.
UNUSED = re.compile(r"masked_spec_embed|lm_head\.")
ATTEMPT = 4  # s without an answer, and the hub counts as out of reach


def find_hubert() -> str | None:
    """The folder of the checkpoint to use; None, and a line on stderr, if there is none.

    $EMOGENE_HUBERT, else DEFAULT at REVISION in Hugging Face's cache, else a download
    of it. A hub that is out of reach is noticed within seconds, once.

    Raises:
      UserError: $EMOGENE_HUBERT is no checkpoint folder.
    """
    given = os.environ.get("EMOGENE_HUBERT")
    if given:
        _weights_file(Path(given), "$EMOGENE_HUBERT: ")
        return given
    return _find_default()


@functools.cache
def _find_default() -> str | None:
    try:
        return str(from_hub(DEFAULT))
    except UserError as error:
        print(f"the speech embedding in place of HuBERT: {error}", file=sys.stderr)
        return None


def from_hub(name: str) -> Path:
    """The folder of a checkpoint in Hugging Face's cache, downloaded if need be; its
    name is the commit that it is of.

    Args:
      name: OWNER/NAME, or OWNER/NAME@REVISION (a commit, branch or tag). Without one it
        is REVISION of DEFAULT; of others main, as the cache or else the hub has it.

    Raises:
      UserError: it is not in the cache, and the hub can't be reached or has no weights
        that can be read here.
    """
    from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, revision = name.partition("@")
    revision = revision or (REVISION if repository == DEFAULT else None)
    for weights in readable_weights():
        paths = [
            try_to_load_from_cache(repository, file, revision=revision)
            for file in (weights, *SETTINGS)
        ]
        if all(isinstance(path, str) for path in paths):
            folder = Path(paths[0]).parent
            if weights != WEIGHTS[1] or not missing_shards(folder):
                return folder
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"{name}: not in {constants.HF_HUB_CACHE}, and $HF_HUB_OFFLINE is set"
        )
    files = _files_on_hub(repository, revision, constants.ENDPOINT)
    weights = next((file for file in readable_weights() if file in files), None)
    if weights is None:
        advice = "; pytorch_model.bin needs PyTorch" if WEIGHTS[2] in files else ""
        raise UserError(f"{name}: has no weights that can be read here{advice}")
    wanted = ["model-*.safetensors"] if weights == WEIGHTS[1] else []
    print(f"downloading {name} to {constants.HF_HUB_CACHE}", file=sys.stderr)
    try:
        patterns = [*SETTINGS, weights, *wanted]
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=patterns)
        )
    except (OSError, HfHubHTTPError) as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"{name}: cannot be downloaded ({line})") from None


def _files_on_hub(name: str, revision: str | None, endpoint: str) -> set[str]:
    """The names of a repository's files, asked for in seconds or not at all."""
    url = f"{endpoint}/api/models/{name}"
    if revision:
        url += f"/revision/{urllib.parse.quote(revision, safe='')}"
    answer = {}

    def ask():
        try:
            with urllib.request.urlopen(url, timeout=ATTEMPT) as reply:
                answer["files"] = {s["rfilename"] for s in json.load(reply)["siblings"]}
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            answer["error"] = getattr(error, "reason", error)

    # Looking up the host's name knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * ATTEMPT)
    if "files" not in answer:
        reason = answer.get("error", f"no answer in {2 * ATTEMPT} s")
        raise UserError(f"{name}: cannot be had from {endpoint} ({reason})")
    return answer["files"]


def readable_weights() -> tuple[str, ...]:
    """Names of weight files that can be read here, the preferred one first."""
    return WEIGHTS if importlib.util.find_spec("torch") else WEIGHTS[:2]


def missing_shards(folder: Path) -> list[str]:
    """Files that the index in folder names and that are not there."""
    return [name for name in _shards(folder) if not (folder / name).is_file()]


def _shards(folder: Path) -> list[str]:
    names = set(_read_json(folder / WEIGHTS[1]).get("weight_map", {}).values())
    # Only files beside the index.
    return sorted(Path(name).name for name in map(str, names))


def checksum(folder: Path) -> str:
    """SHA-256 of the weights that are read in folder, 16 hexadecimal digits: of one
    file as `sha256sum` gives it, of shards one after the other by their names."""
    path = _weights_file(folder)
    names = _shards(folder) if path.name == WEIGHTS[1] else [path.name]
    return digest(*(folder / name for name in names))


def read_config(folder: Path) -> HubertConfig:
    """The sizes of the network in folder.

    Raises:
      UserError: no config.json, of another model, or of a variant that is not known.
    """
    path = folder / "config.json"
    given = _read_json(path)
    if given.get("model_type") != "hubert":
        raise UserError(
            f"{path}: model_type is {given.get('model_type')!r}, expected 'hubert'"
        )
    known = {name: given[name] for name in HubertConfig._fields if name in given}
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    config = HubertConfig(**known)
    field, hop = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=False):
        field, hop = field + (kernel - 1) * hop, hop * stride
    checks = {
        "feat_extract_norm": config.feat_extract_norm in ("group", "layer"),
        "feat_extract_activation": config.feat_extract_activation == "gelu",
        "hidden_act": config.hidden_act == "gelu",
        "conv_pos_batch_norm": not given.get("conv_pos_batch_norm"),
        "adapter_attn_dim": given.get("adapter_attn_dim") is None,
        "conv_kernel": (field, hop) == (FIELD, HOP),
        "conv_stride": len(config.conv_dim)
        == len(config.conv_stride)
        == len(config.conv_kernel),
        "num_attention_heads": config.hidden_size % config.num_attention_heads == 0,
    }
    for name, well in checks.items():
        if not well:
            raise UserError(
                f"{path}: {name} is {given.get(name)}, expected a layout like that of "
                "hubert-base-ls960 or hubert-large-ls960-ft"
            )
    return config


def read_extractor(folder: Path):
    """The checkpoint's own feature extractor: transformers.Wav2Vec2FeatureExtractor."""
    # Without PyTorch it would say so, which is of no concern here.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import Wav2Vec2FeatureExtractor  # slow to import

    path = folder / "preprocessor_config.json"
    _read_json(path)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{path}: sampling_rate is {extractor.sampling_rate}, expected {SAMPLE_RATE}"
        )
    return extractor


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file, expected one of a HuBERT checkpoint"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a {type(content).__name__}, expected a JSON object")
    return content


def _weights_file(folder: Path, said_by: str = "") -> Path:
    if not folder.is_dir():
        raise UserError(
            f"{said_by}{folder}: no such folder, expected a HuBERT checkpoint"
        )
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{said_by}{folder}: no weights, expected model.safetensors there")


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """{name: array} float32 of the weights in folder, under the names of HubertModel.

    Both spellings of weight norm, and a `hubert.` before each name, are understood.

    Raises:
      UserError: no weights, some that can't be read, or a name that occurs twice.
    """
    path = _weights_file(folder)
    if path.name == WEIGHTS[2]:
        raw = read_torch(path)
    elif path.name == WEIGHTS[1]:
        if missing := missing_shards(folder):
            raise UserError(f"{folder}: {missing[0]} is missing, expected it by {path}")
        parts = [_read_safetensors(folder / name) for name in _shards(folder)]
        raw = {name: array for part in parts for name, array in part.items()}
    else:
        raw = _read_safetensors(path)
    return {_plain_name(name): np.asarray(raw[name], np.float32) for name in raw}


def _plain_name(name: str) -> str:
    name = name.removeprefix("hubert.")
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def _read_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}), expected a whole safetensors file"
        ) from None


def read_torch(path: Path) -> Mapping[str, np.ndarray]:
    """{name: float32 array} of a state dict that PyTorch saved; or UserError."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{path}: needs PyTorch, which is not installed; expected it, or "
            "model.safetensors beside it"
        )
    torch = importlib.import_module("torch")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except Exception as error:  # PyTorch raises what it likes
        line = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: cannot be read ({line})") from None


def to_params(tensors: Mapping[str, np.ndarray], config: HubertConfig, what: str):
    """Parameters of hubert_model, of tensors {name: array}.

    Raises:
      UserError: a tensor is missing, unexpected or of another shape.
    """
    take = _Taker(tensors)
    params = _build(take, config)
    take.check(what)
    return params


def tensor_shapes(config: HubertConfig) -> dict[str, tuple[int, ...]]:
    """{name: shape} of what a checkpoint must hold, as HubertModel has it."""
    take = _Taker({})
    _build(take, config)
    return take.shapes


def _build(take, config: HubertConfig) -> dict:
    convolutions = []
    for index in range(len(config.conv_dim)):
        name = f"feature_extractor.conv_layers.{index}"
        inputs = config.conv_dim[index - 1] if index else 1
        shape = (config.conv_dim[index], inputs, config.conv_kernel[index])
        conv = {"kernel": take(f"{name}.conv.weight", *shape).T}
        if config.conv_bias:
            conv["bias"] = take(f"{name}.conv.bias", shape[0])
        if config.feat_extract_norm == "layer" or index == 0:
            conv["norm"] = take.norm(f"{name}.layer_norm", shape[0])
        convolutions.append(conv)
    hidden, last = config.hidden_size, config.conv_dim[-1]
    projection = take.dense("feature_projection.projection", last, hidden)
    if config.feat_proj_layer_norm:
        projection["norm"] = take.norm("feature_projection.layer_norm", last)
    return {
        "convolutions": convolutions,
        "projection": projection,
        "position": _position(take, config),
        "norm": take.norm("encoder.layer_norm", hidden),
        "layers": [_layer(take, config, i) for i in range(config.num_hidden_layers)],
    }


def _position(take, config: HubertConfig) -> dict:
    """The positional convolution, its weight norm folded: one length for each tap."""
    name = "encoder.pos_conv_embed.conv"
    hidden, taps = config.hidden_size, config.num_conv_pos_embeddings
    inputs = hidden // config.num_conv_pos_embedding_groups
    length = take(f"{name}.weight_g", 1, 1, taps)
    direction = take(f"{name}.weight_v", hidden, inputs, taps)
    norm = np.sqrt(np.square(direction).sum((0, 1), keepdims=True))
    kernel = length * direction / np.maximum(norm, 1e-30)
    return {"kernel": kernel.T, "bias": take(f"{name}.bias", hidden)}


def _layer(take, config: HubertConfig, index: int) -> dict:
    name, hidden = f"encoder.layers.{index}", config.hidden_size
    scale = (hidden // config.num_attention_heads) ** -0.5
    parts = [
        take.dense(f"{name}.attention.{part}_proj", hidden, hidden) for part in "qkv"
    ]
    parts[0] = {key: scale * array for key, array in parts[0].items()}
    qkv = {key: np.concatenate([p[key] for p in parts], -1) for key in parts[0]}
    inner = config.intermediate_size
    forward = f"{name}.feed_forward"
    return {
        "qkv": qkv,
        "out": take.dense(f"{name}.attention.out_proj", hidden, hidden),
        "attention_norm": take.norm(f"{name}.layer_norm", hidden),
        "up": take.dense(f"{forward}.intermediate_dense", hidden, inner),
        "down": take.dense(f"{forward}.output_dense", inner, hidden),
        "feed_forward_norm": take.norm(f"{name}.final_layer_norm", hidden),
    }


class _Taker:
    """Takes tensors by name and shape, and remembers what was asked for."""

    def __init__(self, tensors):
        self._tensors = tensors
        self.shapes = {}

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        self.shapes[name] = shape
        array = self._tensors.get(name)
        return np.zeros(shape) if array is None or array.shape != shape else array

    def dense(self, name: str, inputs: int, outputs: int) -> dict:
        """PyTorch's linear layers are [out, in], ours [in, out]."""
        kernel = self(f"{name}.weight", outputs, inputs).T
        return {"kernel": kernel, "bias": self(f"{name}.bias", outputs)}

    def norm(self, name: str, size: int) -> dict:
        return {
            "scale": self(f"{name}.weight", size),
            "bias": self(f"{name}.bias", size),
        }

    def check(self, what: str) -> None:
        given = {name for name in self._tensors if not UNUSED.match(name)}
        wrong = {
            "missing": [name for name in self.shapes if name not in given],
            "unexpected": sorted(given - self.shapes.keys()),
            "of another shape": [
                f"{name} {self._tensors[name].shape} (expected {shape})"
                for name, shape in self.shapes.items()
                if name in given and self._tensors[name].shape != shape
            ],
        }
        told = [f"{kind}: {listed(names, 5)}" for kind, names in wrong.items() if names]
        if told:
            raise UserError(f"{what}: tensors {'; '.join(told)}")
