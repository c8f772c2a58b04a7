"""The smallest stage that has all that a stage may have: noise, aux, pictures, and an
evaluation without the noise."""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.signals import Stage
from emogene_jax.train.state import Optimizer

TRUTH = np.arange(8, dtype=np.float32)
FAST = Optimizer(learning_rate=0.1)
# What train() wants to be told, beside the steps.
TOLD = {"ckpt_steps": 1000, "log_steps": 100, "val_steps": 1000}
TOLD |= {"optimizer": FAST, "ema": 0.999}


def resident(count=64) -> dict:
    x = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    return {"x": x, "y": x @ TRUTH}


def batches(start_step, size=16):
    data, step = resident(), start_step
    while True:
        rows = np.random.default_rng([7, step]).integers(0, 64, size)
        yield {name: array[rows] for name, array in data.items()}
        step += 1


def tiny_stage(width=8, bad_step=None) -> Stage:
    def init(key, batch):
        return {"w": jax.random.normal(key, (width,))}, {"seen": jnp.zeros((), int)}

    def judged(params, frozen, batch, noise):
        error = batch["x"][:, :width] @ params["w"] - batch["y"] + noise
        value = jnp.mean(error**2)
        rms = jnp.sqrt(value)
        return value if frozen is None else value + frozen["offset"], rms

    def loss(params, aux, frozen, batch, key, step):
        noise = 0.01 * jax.random.normal(key, batch["y"].shape)
        value, rms = judged(params, frozen, batch, noise)
        if bad_step is not None:
            value = jnp.where(step == bad_step, jnp.nan, value)
        aux = {"seen": aux["seen"] + len(batch["y"])}
        return value, (aux, {"rms": rms})

    def evaluate(params, aux, frozen, batch):
        value, rms = judged(params, frozen, batch, 0.0)
        return {"loss": value, "rms": rms, "seen": aux["seen"]}

    def sample(resident, key, step):
        rows = jax.random.randint(key, (16,), 0, len(resident["y"]))
        return {name: array[rows] for name, array in resident.items()}

    def images(params, aux, frozen, batch):
        return {"weights": np.zeros((4, 6, 3), np.uint8)}

    return Stage(init, loss, sample, images, evaluate)
