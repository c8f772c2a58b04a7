"""The head field of one person.

    emogene train --config head --workdir runs/head --config.data=PORTRAIT
    emogene train --config head:tiny --workdir /tmp/head

PORTRAIT is what `emogene prepare` writes.
Hardware: one GPU, or several: a step's frames are split among all devices of all hosts.
    Sized for pictures of 512 px; on a CPU `emogene create` chooses smaller sizes by itself.
Hours: not measured on a GPU yet; `python benchmarks/train_rates.py` measures the rate of
    a machine and computes them.
Expect: `psnr`, of the head on the frames that it is trained on, of 30 dB and more.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict

from emogene_jax.emotion_to_video.fit import HEAD_OPTIMIZER
from emogene_jax.emotion_to_video.stream import RESIDENT_BYTES


def get_config(arg=""):
    config = ConfigDict()
    config.name = "head"
    config.seed = 0
    config.data = "synthetic"  # or a prepared portrait
    config.resident_bytes = RESIDENT_BYTES  # of frames; more are streamed from the host
    # emotion_to_video.head.HeadSize
    config.model = ConfigDict(
        {
            "coarse": 86,
            "coarse_features": 8,
            "refine": 3,
            "fine_features": 8,
            "basis": 16,
            "features": 32,
            "hidden": 64,
        }
    )
    # emotion_to_video.stage.head_stage
    config.stage = ConfigDict(
        {
            "frames": 16,  # looked at per step: a multiple of the devices
            "rays": 1024,  # of each
            "samples": 24,  # on each
            "matte_weight": 0.1,
        }
    )
    # train.state.Optimizer; the rates are for 16 frames over all devices and hosts
    config.optimizer = ConfigDict(HEAD_OPTIMIZER._asdict())
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 20_000,
            "ckpt_steps": 1000,
            "log_steps": 100,
            "val_steps": 2000,
            "scan_steps": 16,
            "ema": 0.99,
            "keep": 2,
            "deterministic": False,
        }
    )
    return common.finish(
        config,
        arg,
        {
            "model.coarse": 8,
            "model.refine": 2,
            "model.basis": 2,
            "model.features": 8,
            "model.hidden": 16,
            "stage.frames": 8,
            "stage.rays": 16,
            "stage.samples": 8,
        },
    )


def sweep_lr():
    for rate in (1e-3, 2e-3, 4e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (32, 64, 128):
        yield {"model.hidden": hidden}


def sweep_planes():
    for refine in (2, 3, 6):
        yield {"model.refine": refine}
