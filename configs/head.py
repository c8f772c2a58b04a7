"""The head field of one person.

    emogene train --config head:gpu,size=512 --workdir runs/head --config.data=PORTRAIT
    emogene train --config head:cpu,size=128,frames=400 --workdir runs/head \\
        --config.data=PORTRAIT
    emogene train --config head:tiny --workdir /tmp/head

PORTRAIT is what `emogene prepare` writes; `size` is that of its pictures, `frames` how
many of them there are to learn from. `emogene create` trains `cpu` or `gpu`, as the
machine is; `demo` is as `emogene demo` trains it.
Hardware: one GPU, or several: a step's frames are split among all devices of all hosts;
    `cpu`: a laptop's processor.
Hours: not measured on a GPU yet; `python benchmarks/train_rates.py` measures the rate of
    a machine and computes them. `cpu` at 128 px: 4 minutes on two cores.
Expect: `val_psnr_head_matte`, of the head in frames that nothing was learned from, of
    some 34 dB at 128 px.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    variants = ("gpu", "cpu", "demo", "tiny")
    variant, given = common.read_arg(arg, variants, size=512, frames=0)
    size, frames = given["size"], given["frames"]
    config = common.begin("head", "val_psnr_head_matte", "highest")
    # Data is "synthetic", or a prepared portrait; of the synthetic one, px and sentences.
    config.synthetic = ConfigDict({"size": 64, "sentences": 4, "sentence_seconds": 3.2})
    config.resident_bytes = common.RESIDENT_BYTES
    # A deformation model's work directory, by which augmented frames are expressed; "" =
    # the built-in one.
    config.frozen = ConfigDict({"deformation": ""})
    # Augmented frames, with expressions that were never filmed; 0 = none.
    config.augment = ConfigDict({"frames": 160, "seed": 0})
    # emotion_to_video.head.HeadSize: a fine node every .8 px or so, up to 511
    config.model = ConfigDict(
        {
            "coarse": int(min(171, max(33, 1.25 * size / 3 + 1))),
            "coarse_features": 8,
            "refine": 3,
            "fine_features": 8,
            "basis": 12,
            "features": 32,
            "hidden": 64,
        }
    )
    # emotion_to_video.head_stage.head_stage
    config.stage = ConfigDict(
        {
            "frames": 8,  # looked at per step
            "rays": 1024,  # of each
            "samples": 16,  # on each
            "matte_weight": 0.1,
            "fog_weight": 3e-4,
            "noise": 0.15,
            "region_share": (0.625, 0.25, 0.125),
        }
    )
    config.shown_samples = 16  # of a ray that the head is shown by, from then on
    config.val_frames = 100  # of the held-out end, at most
    # train.state.Optimizer; the rates are for 8 frames over all devices and hosts.
    # Without the clip a rate that is fast enough now and then empties the field.
    config.optimizer = ConfigDict(
        {
            "learning_rate": 2e-3,
            "warmup_steps": 50,
            "final_fraction": 0.01,
            "clip": 0.1,
            # Most nodes of a plane are met now and then: a short memory of how large their
            # gradients were learns them faster.
            "b2": 0.95,
            "eps": 1e-12,
            "multipliers": {"planes": 5.0},
        }
    )
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 8000,
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
    changes = CHANGES[variant]
    if variant == "cpu":
        changes = changes | _on_a_cpu(size, frames)
    return common.finish(config, changes)


def _on_a_cpu(size: int, frames: int) -> dict:
    # The finer a picture, the longer until hair is sharp; but few frames are learned by
    # heart.
    steps = int(6000 * min(2, max(1, size / 128)))
    steps = min(steps, max(3000, 30 * frames)) if frames else steps
    return {
        "train.steps": steps,
        "train.val_steps": steps,
        # 10 samples a ray show 256 px in real time, for .3 dB of the head; small pictures
        # are fast enough. Learned in 10, ears get holes.
        "shown_samples": 16 if size < 192 else 10,
    }


CHANGES = {
    "gpu": {},
    "cpu": {"stage.rays": 256, "train.ckpt_steps": 250},
    "demo": {
        "synthetic.sentences": 6,
        "model.coarse": 48,
        "model.refine": 2,
        "stage.rays": 256,
        "train.steps": 1000,
        "train.val_steps": 1000,
        "train.ckpt_steps": 250,
    },
    "tiny": common.TINY
    | {
        "synthetic.size": 32,
        "synthetic.sentences": 1,
        "synthetic.sentence_seconds": 1.4,
        "model.coarse": 8,
        "model.coarse_features": 4,
        "model.refine": 2,
        "model.fine_features": 4,
        "model.basis": 2,
        "model.features": 8,
        "model.hidden": 16,
        "stage.rays": 16,
        "stage.samples": 8,
        "shown_samples": 8,
        "val_frames": 4,
    },
}


def sweep_lr():
    for rate in (1e-3, 2e-3, 4e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_width():
    for hidden in (32, 64, 128):
        yield {"model.hidden": hidden}


def sweep_planes():
    for refine in (2, 3, 6):
        yield {"model.refine": refine}
