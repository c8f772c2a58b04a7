"""The landmark deformation model, at the paper's size (0.175 M parameters).

    emogene train --config motion_to_emotion --workdir runs/motion_to_emotion \\
        --config.data=RECORDS
    emogene train --config motion_to_emotion:person --workdir runs/own_emotions \\
        --config.data=PORTRAIT
    emogene train --config motion_to_emotion:tiny --workdir /tmp/motion_to_emotion

`generic` is the built-in model: it learns what a table of facial actions does to
synthetic talkers. `person` goes on from it, or from `frozen.generic`, with the emotions
that a portrait's person was filmed in. `demo` is as `emogene demo` trains it.
Hardware: anything.
Hours: minutes; a step of 32 pairs takes a CPU about a millisecond, so 40k of them take
    40 s (computed), and as much again goes by between them.
Expect: `val_landmark_error` well below `val_moved`, which is the error of changing nothing.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    variant, _ = common.read_arg(arg, ("", "generic", "person", "demo", "tiny"))
    config = common.begin("motion_to_emotion", "val_landmark_error", "lowest")
    # Data is "synthetic", "facial_actions", a folder of clip records (input/records.py),
    # or a prepared portrait. Validated on identities that nothing was learned from.
    config.world = common.world(validation_speakers=4)
    config.frozen = ConfigDict({"generic": ""})  # what a person's begins with
    config.talkers = 40  # synthetic ones, whom the facial actions are shown on
    # motion_to_emotion.deformation.Deformer
    config.model = ConfigDict({"hidden": 256})
    # motion_to_emotion.stage.motion_to_emotion_stage
    config.stage = ConfigDict({"neutral_weight": 1.0})
    # input.batches.pair_batches
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
            "final_fraction": 0.01,
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
            "scan_steps": 100,  # a step is as short as a dispatch
            "ema": 0.999,
            "keep": 2,
            "deterministic": False,
            "precision": "auto",  # of networks: bfloat16 on a GPU
        }
    )
    return common.finish(config, CHANGES[variant])


def _in_one_go(steps: int, rate: float, ema: float) -> dict:
    return {
        "batch.batch_size": 256,
        "optimizer.learning_rate": rate,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 50,
        "optimizer.final_fraction": 0.02,
        "train.steps": steps,
        "train.ckpt_steps": steps,
        "train.val_steps": steps,
        "train.ema": ema,
    }


CHANGES = {
    "": {},
    "generic": _in_one_go(2500, 2e-3, 0.995) | {"data": "facial_actions"},
    "person": _in_one_go(1000, 1e-3, 0.99),
    "demo": common.demo(3000) | {"batch.batch_size": 256},
    "tiny": common.TINY
    | common.TINY_WORLD
    | {
        "model.hidden": 16,
        "world.validation_speakers": 1,
        "talkers": 2,
        "batch.batch_size": 16,
    },
}


def sweep_lr():
    for rate in (2e-4, 5e-4, 1e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (64, 256, 1024):
        yield {"model.hidden": hidden}


def sweep_batch():
    for batch_size in (32, 256, 2048):
        yield {"batch.batch_size": batch_size}
