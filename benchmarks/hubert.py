"""How long does HuBERT take for ten seconds of speech, here and in PyTorch?

The same random weights, the same samples, waveform in and features out, one recording at
a time. The two take turns, so that a machine that others use too slows both down: the
speed-up is the median of the turns' own ratios. Without PyTorch only ours is timed.
"""

from importlib.util import find_spec

import jax
import numpy as np
import timing

from emogene_jax import parallel
from emogene_jax.audio import hubert_weights
from emogene_jax.audio.hubert import Hubert, hubert_features
from emogene_jax.audio.hubert_model import HubertConfig
from emogene_jax.signals import SAMPLE_RATE

LARGE = {
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
TINY = {
    "conv_dim": (16,) * 7,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def main(tiny=False):
    """One line a size."""
    seconds = 1 if tiny else 10
    for name, sizes in {"base": {}, "large": LARGE}.items():
        _compare(name, HubertConfig(**(sizes | TINY if tiny else sizes)), seconds, tiny)


def _compare(name, config, seconds, tiny):
    tensors = random_tensors(config)
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.1, seconds * SAMPLE_RATE).astype(np.float32)
    ours, theirs = _ours(config, tensors, waveform), _theirs(config, tensors, waveform)
    result = timing.measure(ours, 1, 0)
    calls = {"ours": ours} | ({"theirs": theirs} if theirs else {})
    turns = timing.take_turns(calls, 2 if tiny else 6)
    turns = {name: taken[1:] for name, taken in turns.items()}  # the first one warms up
    mine = turns["ours"]
    result |= {
        "median_ms": round(1e3 * float(np.median(mine)), 3),
        "p95_ms": round(1e3 * float(np.percentile(mine, 95)), 3),
        "iterations": len(mine),
        "audio_hours_per_s": round(seconds / 3600 / float(np.median(mine)), 5),
    }
    if theirs:
        import torch

        difference = np.abs(ours()[0] - theirs()).max()
        result |= {
            "pytorch_ms": round(1e3 * float(np.median(turns["theirs"])), 3),
            "speed_up": round(float(np.median(turns["theirs"] / mine)), 3),
            "largest_difference": float(difference),
            "pytorch": torch.__version__,
        }
    timing.emit("hubert", result, model=name, seconds=seconds)


def random_tensors(config: HubertConfig) -> dict[str, np.ndarray]:
    """A checkpoint's tensors {name: array}, untrained."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in hubert_weights.tensor_shapes(config).items():
        values = rng.standard_normal(shape, np.float32)
        values *= np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
        tensors[name] = values + np.float32(name.endswith(("norm.weight", "weight_g")))
    return tensors


def _extractor():
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(do_normalize=True)


def _ours(config, tensors, waveform):
    params = hubert_weights.to_params(tensors, config, "random weights")
    params = parallel.replicate(
        jax.tree.map(lambda array: np.asarray(array, np.float32), params)
    )
    hubert = Hubert(config, params, _extractor())
    return lambda: hubert_features(hubert, [waveform])


def _theirs(config, tensors, waveform):
    """A call of transformers' model on the GPU, if there is one; None without PyTorch."""
    if find_spec("torch") is None:
        return None
    import torch
    from transformers import HubertConfig as TheirConfig
    from transformers import HubertModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = HubertModel(TheirConfig(**config._asdict())).eval()
    names = {
        "weight_g": "parametrizations.weight.original0",
        "weight_v": "parametrizations.weight.original1",
    }
    state = {}
    for name, array in tensors.items():
        head, _, last = name.rpartition(".")
        state[f"{head}.{names.get(last, last)}"] = torch.from_numpy(array)
    told = model.load_state_dict(state, strict=False)
    assert set(told.missing_keys) <= {"masked_spec_embed"} and not told.unexpected_keys
    model, extractor = model.to(device), _extractor()

    def call():
        values = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")
        # Two features for each video frame, like ours.
        padded = torch.from_numpy(np.pad(values.input_values, ((0, 0), (40, 40))))
        with torch.inference_mode():
            return model(padded.to(device)).last_hidden_state[0].cpu().numpy()

    return call


if __name__ == "__main__":
    main()
