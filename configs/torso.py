"""The torso field of one person, behind a finished head.

    emogene train --config torso --workdir runs/torso --config.data=PORTRAIT \\
        --config.frozen.head=runs/head
    emogene train --config torso:tiny --workdir /tmp/torso \\
        --config.frozen.head=/tmp/head

PORTRAIT and the sizes are those of config `head`.
Hardware: as for `head`.
Hours: not measured on a GPU yet (`python benchmarks/train_rates.py`); less than half of
    the head's: half of its steps, and nothing is marched through.
Expect: `psnr`, of whole frames that it is trained on, of 30 dB and more.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict

from emogene_jax.emotion_to_video.fit import TORSO_OPTIMIZER
from emogene_jax.emotion_to_video.stream import RESIDENT_BYTES


def get_config(arg=""):
    config = ConfigDict()
    config.name = "torso"
    config.seed = 0
    config.data = "synthetic"  # or a prepared portrait
    config.resident_bytes = RESIDENT_BYTES  # of frames; more are streamed from the host
    config.frozen = ConfigDict({"head": ""})  # the head's work directory
    # emotion_to_video.torso.TorsoSize
    config.model = ConfigDict(
        {"coarse": 32, "fine": 256, "features": 8, "warp": 6, "hidden": 32}
    )
    # emotion_to_video.stage.torso_stage
    config.stage = ConfigDict(
        {
            "frames": 16,  # looked at per step: a multiple of the devices
            "rays": 1024,  # of each
            "matte_weight": 0.03,
        }
    )
    # train.state.Optimizer; the rates are for 16 frames over all devices and hosts
    config.optimizer = ConfigDict(TORSO_OPTIMIZER._asdict())
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 10_000,
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
            "model.fine": 16,
            "model.warp": 4,
            "model.hidden": 16,
            "stage.frames": 8,
            "stage.rays": 16,
        },
    )


def sweep_lr():
    for rate in (1e-3, 2e-3, 4e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (16, 32, 64):
        yield {"model.hidden": hidden}
