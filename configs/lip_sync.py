"""The lip-sync expert, at the official release's size (9.3 M parameters).

    emogene train --config lip_sync --workdir runs/lip_sync --config.data=RECORDS
    emogene train --config lip_sync:tiny --workdir /tmp/lip_sync

`generic` is as the built-in one was trained (docs/generic_voice.md), `demo` as `emogene
demo` trains it.
Hardware: one GPU of 80 GB, or several: the batch is split among all devices of all hosts.
    1024 clips do not fit a laptop: there, set --config.batch.batch_size=32.
Hours: not measured on a GPU yet; `python benchmarks/train_rates.py` measures the rate of
    a machine and computes them.
Expect: `val_accuracy` (true pairs told from pairs of the same clip that are at least three
    frames off) above .9.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    variant, _ = common.read_arg(arg, ("", "generic", "demo", "tiny"))
    config = common.begin("lip_sync", "val_accuracy", "highest")
    # Data is "synthetic", or a folder of clip records (input/records.py).
    config.world = common.world()
    # audio_to_motion.lip_sync.LipSync
    config.model = ConfigDict({"channels": 512, "motion_scale": 20.0})
    # audio_to_motion.stage.lip_sync_stage
    config.stage = ConfigDict(
        {"windows_per_clip": 4, "content_noise": 0.0, "content_dropout": 0.0}
    )
    # input.batches.clip_batches
    config.batch = ConfigDict({"batch_size": 1024, "frames": (50,), "neutral": False})
    # train.state.Optimizer; the rate is for 1024 clips over all devices and hosts
    config.optimizer = ConfigDict(
        {"learning_rate": 5e-4, "schedule": "cosine", "warmup_steps": 1000}
    )
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 40_000,
            "ckpt_steps": 2000,
            "log_steps": 100,
            "val_steps": 2000,
            "scan_steps": 4,  # a batch is .2 GB: as many wait on the device
            "ema": 0.999,
            "keep": 2,
            "deterministic": False,
        }
    )
    return common.finish(config, CHANGES[variant])


CHANGES = {
    "": {},
    "generic": {
        "model.channels": 96,
        "stage.windows_per_clip": 8,
        "stage.content_noise": 0.3,
        "stage.content_dropout": 0.3,
        "batch.batch_size": 64,
        "optimizer.learning_rate": 1e-3,
        "optimizer.warmup_steps": 40,
        "train.steps": 600,
        "train.ckpt_steps": 300,
        "train.val_steps": 100,
        "train.ema": 0.99,
    },
    "demo": common.demo(400) | {"model.channels": 128, "batch.batch_size": 32},
    "tiny": common.TINY
    | common.TINY_WORLD
    | {"model.channels": 32, "batch.batch_size": 8, "batch.frames": (20,)},
}


def sweep_lr():
    for rate in (2e-4, 5e-4, 1e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for channels in (128, 256, 512):
        yield {"model.channels": channels}
