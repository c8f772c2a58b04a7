"""How fast do the audio-to-motion VAE and the lip-sync expert run, beside PyTorch?

    python benchmarks/audio_to_motion.py [--tiny] [--official CHECKOUT]

Generation of 10 s, a training step of 8 clips of 5 s, and steps at the paper's size
(configs/; on a CPU with smaller batches), from which follow the minutes of 40,000 steps.
PyTorch's side is torch_twin.py, or a checkout of the official release's code. Both take
turns call by call, so that a busy machine slows both: `speedup` is the median of the
paired ratios, beside its quartiles. PyTorch is given frames in whole fours, since the
official model fails on others. Without PyTorch, or without its CUDA where JAX has a GPU,
ours is timed alone.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing
from emogene_jax.configs import audio_to_motion as vae_config
from emogene_jax.configs import lip_sync as expert_config

from emogene_jax import parallel
from emogene_jax.audio_to_motion.initial import initial_variables
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import audio_to_motion_stage, lip_sync_stage
from emogene_jax.audio_to_motion.vae import STRIDE, AudioToMotion, generate
from emogene_jax.train.state import Optimizer, init_state, make_optimizer, make_step

CONTENT = 1024  # channels of HuBERT-large
PAPER_STEPS = vae_config.get_config().train.steps


def main(tiny=False, official=None):
    """One line a question."""
    cpu = jax.default_backend() == "cpu"
    torch_side = None if tiny and not official else _torch_side(official)
    times = 2 if tiny else 30
    frames, clip = (10, 5) if tiny else (250, 125)
    config = vae_config.get_config("tiny" if tiny else "")
    # The official layout, and losses: the twin's.
    model = AudioToMotion(**config.model.to_dict() | {"downsample": "nearest"})
    calls = {"ours": _generation(model, frames)}
    if torch_side:
        calls["torch"] = torch_side.generation(_whole(frames))
    emit = _emitter(official)
    emit("generate", compared(calls, times), batch=1, frames=frames)

    calls = {"ours": _training(audio_to_motion_stage(model), 8, clip, config)}
    if torch_side:
        calls["torch"] = torch_side.training(8, _whole(clip))
    emit("train", compared(calls, times), batch=8, frames=clip)

    batch, (length,) = config.batch.batch_size, config.batch.frames
    batch = 8 if cpu else batch
    stage = audio_to_motion_stage(
        AudioToMotion(**config.model.to_dict()), **config.stage.to_dict()
    )
    calls = {"ours": _training(stage, batch, length, config, config.train.ema)}
    if torch_side:
        calls["torch"] = torch_side.training(batch, _whole(length))
    result = _with_rate(compared(calls, times))
    emit("train_paper_size", result, batch=batch, frames=length)

    config = expert_config.get_config("tiny" if tiny else "")
    batch, (length,) = config.batch.batch_size, config.batch.frames
    batch = min(batch, 32) if cpu else batch
    stage = lip_sync_stage(LipSync(**config.model.to_dict()), **config.stage.to_dict())
    result = compared(
        {"ours": _training(stage, batch, length, config, config.train.ema)}, times
    )
    emit("train_lip_sync", _with_rate(result), batch=batch, frames=length)


def compared(calls: dict, iterations: int) -> dict:
    """{name: timing.measure's figures}, of calls that take turns.

    Where there are two, `speedup` is the second's time over the first's: the median of
    the pairs, and their quartiles.
    """
    results = {name: timing.measure(call, 1, 1) for name, call in calls.items()}
    seconds = timing.take_turns(calls, iterations)
    for name, taken in seconds.items():
        results[name] |= {
            "median_ms": round(1e3 * float(np.median(taken)), 3),
            "p95_ms": round(1e3 * float(np.percentile(taken, 95)), 3),
            "iterations": iterations,
        }
    if len(calls) == 2:
        ours, theirs = seconds.values()
        ratios = np.percentile(theirs / ours, [25, 50, 75])
        low, middle, high = (round(float(ratio), 3) for ratio in ratios)
        results |= {"speedup": middle, "speedup_quartiles": [low, high]}
    return results


def _emitter(official):
    def emit(question, results, **sizes):
        ours = results.pop("ours")
        theirs = "official PyTorch" if official else "torch_twin.py"
        sizes["beside"] = theirs if "torch" in results else "nothing: no PyTorch here"
        timing.emit(f"audio_to_motion_{question}", ours | results, **sizes)

    return emit


def _with_rate(results: dict) -> dict:
    """With steps a second, and the minutes of the paper's 40,000."""
    for name in {"ours", "torch"} & results.keys():
        rate = 1e3 / results[name]["median_ms"]
        results[name]["steps_per_s"] = round(rate, 2)
        results[name]["minutes_of_40k"] = round(PAPER_STEPS / rate / 60, 1)
    return results


def _whole(frames: int) -> int:
    return -(-frames // STRIDE) * STRIDE


def _batch(size: int, frames: int) -> dict:
    """Random inputs, as a stage takes them."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
    return {
        "content": normal(size, 2 * frames, CONTENT),
        "f0": rng.uniform(80, 300, (size, 2 * frames)).astype(np.float32),
        "blink": np.zeros((size, frames), np.int32),
        "motion": 0.05 * normal(size, frames, 204),
        "mask": np.ones((size, frames), np.float32),
        "speaker": np.arange(size, dtype=np.int32),
    }


def _generation(model: AudioToMotion, frames: int):
    batch = jax.device_put(_batch(1, frames))
    content, f0 = batch["content"], batch["f0"]
    noise = jnp.zeros((1, _whole(frames) // STRIDE, model.latent))
    inputs = content, f0, batch["motion"], batch["mask"], noise
    init = jax.jit(lambda key: initial_variables(model, key, *inputs))
    params, aux = init(jax.random.key(0))
    jitted = jax.jit(generate, static_argnums=0)
    return lambda: jitted(model, params, aux, content, f0, jax.random.key(0), 1.0)


def _training(stage, size: int, frames: int, config, average: float | None = None):
    """One step of train/: gradients, clipping, Adam, and the average if there is one."""
    optimizer = Optimizer(**config.optimizer.to_dict())
    transform = make_optimizer(optimizer, PAPER_STEPS)
    batch = jax.device_put(_batch(size, frames))

    @jax.jit
    def init(key):
        return init_state(stage, transform, key, batch, average is not None)

    step = parallel.data_parallel(make_step(stage, transform, average))
    state = init(jax.random.key(0))

    def call():
        nonlocal state
        state, metrics = step(state, None, batch)
        return metrics

    return call


def _torch_side(official):
    """torch_twin's calls, or None where there is nothing to compare with."""
    try:
        import torch
        import torch_twin
    except ImportError:
        return None
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return None
    if official:
        sys.path.insert(0, str(official))
    return torch_twin.Side(_batch, jax.default_backend(), bool(official))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--official", type=Path, help="a checkout of wnqw/EmoGene")
    args = parser.parse_args()
    main(args.tiny, args.official)
