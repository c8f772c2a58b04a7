"""The torso field of one person, behind a finished head.

    emogene train --config torso:gpu,size=512 --workdir runs/torso \\
        --config.data=PORTRAIT --config.frozen.head=runs/head
    emogene train --config torso:tiny --workdir /tmp/torso \\
        --config.frozen.head=/tmp/head

PORTRAIT and the argument are those of config `head`.
Hardware: as for `head`.
Hours: not measured on a GPU yet (`python benchmarks/train_rates.py`); less than half of
    the head's: half of its steps, and nothing is marched through. `cpu` at 128 px: half a
    minute on two cores.
Expect: `val_psnr_full`, of whole frames that nothing was learned from, of some 32.5 dB at
    128 px.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    variants = ("gpu", "cpu", "demo", "tiny")
    variant, given = common.read_arg(arg, variants, size=512, frames=0)
    size = given["size"]
    config = common.begin("torso", "val_psnr_full", "highest")
    # Data is "synthetic", or a prepared portrait: that of the head.
    config.synthetic = ConfigDict({"size": 64, "sentences": 4, "sentence_seconds": 3.2})
    config.resident_bytes = common.RESIDENT_BYTES
    config.frozen = ConfigDict({"head": ""})  # the head's work directory
    # A torso shows less than a face, and moves less: so many frames, evenly spread, are
    # enough, and the rendered heads that it stands behind are always resident.
    config.most_frames = 500
    # emotion_to_video.torso.TorsoSize
    config.model = ConfigDict(
        {
            "coarse": max(16, size // 4),
            "fine": min(512, size),
            "features": 8,
            "warp": 6,
            "hidden": 32,
        }
    )
    # emotion_to_video.torso_stage.torso_stage
    config.stage = ConfigDict(
        {
            "frames": 8,  # looked at per step
            "rays": 1024,  # of each
            "matte_weight": 0.03,
            "neck_weight": 0.1,
            "noise": 0.2,
        }
    )
    config.val_frames = 100  # of the held-out end, at most
    # train.state.Optimizer; the rates are for 8 frames over all devices and hosts
    config.optimizer = ConfigDict(
        {
            "learning_rate": 4e-3,
            "warmup_steps": 50,
            "final_fraction": 0.01,
            "clip": 0.1,
            # A short memory, as of the head's.
            "b2": 0.95,
            "eps": 1e-12,
            "multipliers": {"planes|warp": 5.0},
        }
    )
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 4000,
            "ckpt_steps": 1000,
            "log_steps": 100,
            "val_steps": 2000,
            "scan_steps": 25,
            "ema": 0.99,
            "keep": 2,
            "deterministic": False,
            # Of networks: "auto", bfloat16 on a GPU, would save nothing (NOTES).
            "precision": "float32",
        }
    )
    return common.finish(config, CHANGES[variant])


CHANGES = {
    "gpu": {},
    # More steps learn a torso by heart.
    "cpu": {"train.steps": 3000, "train.val_steps": 3000},
    "demo": {
        "synthetic.sentences": 6,
        "model.coarse": 16,
        "model.fine": 64,
        "train.steps": 1500,
        "train.val_steps": 1500,
    },
    "tiny": common.TINY
    | {
        "synthetic.size": 32,
        "synthetic.sentences": 1,
        "synthetic.sentence_seconds": 1.4,
        "model.coarse": 8,
        "model.fine": 16,
        "model.features": 4,
        "model.warp": 4,
        "model.hidden": 8,
        "stage.rays": 16,
        "val_frames": 4,
    },
}


def sweep_lr():
    for rate in (1e-3, 2e-3, 4e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (16, 32, 64):
        yield {"model.hidden": hidden}
