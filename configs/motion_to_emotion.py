"""The landmark deformation model, at the paper's size (0.175 M parameters).

    emogene train --config motion_to_emotion --workdir runs/motion_to_emotion \\
        --config.data=RECORDS
    emogene train --config motion_to_emotion:tiny --workdir /tmp/motion_to_emotion

Hardware: anything.
Hours: minutes; a step of 32 pairs takes a CPU about a millisecond, so 40k of them take
    40 s (computed), and as much again goes by between them.
Expect: `val_landmark_error` well below `val_moved`, which is the error of changing nothing.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    config = ConfigDict()
    config.name = "motion_to_emotion"
    config.seed = 0
    config.data = "synthetic"  # or a folder of clip records (data/records.py)
    # Validated on identities that nothing was learned from.
    config.world = ConfigDict(common.WORLD | {"validation_speakers": 4})
    # motion_to_emotion.deformation.Deformer
    config.model = ConfigDict({"hidden": 256})
    # motion_to_emotion.stage.motion_to_emotion_stage
    config.stage = ConfigDict({"neutral_weight": 1.0})
    # data.batches.pair_batches
    config.batch = ConfigDict({"batch_size": 32})
    # train.state.Optimizer; the rate is for 32 pairs over all devices and hosts;
    # x 0.1 in 250k steps, as the official release has it
    config.optimizer = ConfigDict(
        {
            "learning_rate": 5e-4,
            "schedule": "exponential",
            "warmup_steps": 1000,
            "decay_steps": 250_000,
            "decay_rate": 0.1,
            "clip": 1.0,
        }
    )
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 40_000,
            "ckpt_steps": 5000,
            "log_steps": 500,
            "val_steps": 5000,
            "scan_steps": 64,  # a step is short beside its dispatch
            "ema": 0.999,
            "keep": 2,
            "deterministic": False,
        }
    )
    tiny = {"model.hidden": 16, "world.validation_speakers": 1}
    return common.finish(config, arg, common.TINY_WORLD | tiny)


def sweep_lr():
    for rate in (2e-4, 5e-4, 1e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (64, 256, 1024):
        yield {"model.hidden": hidden}


def sweep_batch():
    for batch_size in (32, 256, 2048):
        yield {"batch.batch_size": batch_size}
