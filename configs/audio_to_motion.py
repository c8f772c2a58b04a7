"""The audio-to-motion VAE, at the paper's size (12.2 M parameters).

    emogene train --config audio_to_motion --workdir runs/audio_to_motion \\
        --config.data=RECORDS --config.frozen.lip_sync=runs/lip_sync
    emogene train --config audio_to_motion:person,frames=400 --workdir runs/voice \\
        --config.data=PORTRAIT
    emogene train --config audio_to_motion:tiny --workdir /tmp/audio_to_motion

`generic` is as the built-in model was trained (docs/generic_voice.md): small, of minutes
of many people. `adapted` goes on from it, or from `frozen.generic`, with one person's
prepared portrait, as `emogene create` does; `person` learns one person's mouth from
nothing: no more steps than `frames`, its training frames, are worth. `demo` is as `emogene
demo` trains it.
Hardware: one GPU, or several: the batch is split among all devices of all hosts. `person`:
    a laptop.
Hours: the authors' 40k steps took most of 14 h on an A6000 (both audio and emotion
    stages). Not measured on a GPU here yet: `python benchmarks/train_rates.py` measures
    the rate of a machine and computes them. A CPU does a step of 8 clips of 5 s in some
    .2 s: 40k of those are 2.2 h, computed. `person`: half a minute for 16 s of speech.
Expect: `val_spoken` (squared error of the motion made from speech alone, in the network's
    unit) well below what it is at the first validation, and `val_sync`, where there is an
    expert, below .6.
Weights and sizes are the official release's; the sync loss counts where
`frozen.lip_sync` names a trained expert.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    variants = ("", "generic", "person", "adapted", "demo", "tiny")
    variant, given = common.read_arg(arg, variants, frames=0)
    config = common.begin("audio_to_motion", "val_spoken", "lowest")
    # Data is "synthetic", a folder of clip records (input/records.py), or a prepared
    # portrait.
    config.world = common.world()
    config.frozen = ConfigDict(
        {
            # A work directory, or "built_in", which counts where the data is of what it
            # hears; "" = no sync loss.
            "lip_sync": "",
            # What it goes on from: a work directory, or "built_in"; its sizes count.
            "generic": "",
            # The expert's largest validation loss at which it is trusted. The official
            # release's is .75, which an expert that always says .5 keeps (.69).
            "largest_sync_loss": 0.6,
        }
    )
    # How much of `frozen.generic` is in what comes out, each weight between that one's and
    # the learned one's: it follows the person, and still the others (Wortsman et al. 2022).
    config.generic_share = 0.0
    # audio_to_motion.vae.AudioToMotion
    config.model = ConfigDict(
        {
            "hidden": 256,
            "latent": 16,
            "width": 5,  # of the WaveNets' kernels
            "encoder_layers": 8,
            "decoder_layers": 4,
            "condition": 128,
            "flow_hidden": 64,
            "flow_layers": 4,
            "flow_blocks": 4,
            "motion_scale": 20.0,  # eye distances are small: the KL would win
            "downsample": "stack",  # "nearest" for the official layout
        }
    )
    # audio_to_motion.stage.audio_to_motion_stage
    config.stage = ConfigDict(
        {
            "motion_weight": 1.0,
            "mouth_weight": 1.0,
            "continuity_weight": 3.0,
            "shape_weight": 0.0,  # .3 helps where there is little of one person
            "closing_weight": 0.0,
            "kl_weight": 0.005,
            "kl_warmup_steps": 1,
            "sync_weight": 0.01,
            "sync_windows": 4,
            "spoken_share": 0.5,
            "content_noise": 0.1,
            "content_dropout": 0.0,
            "pitch_dropout": 0.2,
            "reach_prior": 0,  # frames; > 0 = in each clip's own range
        }
    )
    # input.batches.clip_batches; of a portrait, the first of `frames` counts
    config.batch = ConfigDict({"batch_size": 64, "frames": (100,), "neutral": True})
    # train.state.Optimizer; the rate is for 64 clips over all devices and hosts
    config.optimizer = ConfigDict(
        {
            "learning_rate": 5e-4,
            "schedule": "cosine",
            "warmup_steps": 1000,
            "final_fraction": 0.01,
            "b2": 0.999,
        }
    )
    # train.loop.train
    config.train = ConfigDict(
        {
            "steps": 40_000,
            "ckpt_steps": 2000,
            "log_steps": 100,
            "val_steps": 2000,
            "scan_steps": 16,
            "ema": 0.999,
            "keep": 2,
            "deterministic": False,
            "precision": "auto",  # of networks: bfloat16 on a GPU
        }
    )
    changes = CHANGES[variant]
    if variant == "person":
        # More steps than that on 20 s of speech are learned by heart (5 folds).
        steps = min(3000, max(450, given["frames"]))
        changes = changes | {"train.steps": steps, "train.val_steps": steps}
    return common.finish(config, changes)


# A few minutes of one person don't fill the paper's width, and a laptop can't pay for it.
SMALL = {
    "model.hidden": 96,
    "model.encoder_layers": 4,
    "model.decoder_layers": 3,
    "model.condition": 64,
    "model.flow_hidden": 48,
    "model.flow_layers": 2,
}
PERSON = {
    "stage.mouth_weight": 3.0,
    "stage.kl_weight": 0.002,
    "stage.shape_weight": 0.3,
    "stage.content_noise": 0.3,
    "stage.pitch_dropout": 0.5,
    "batch.batch_size": 16,
    "batch.frames": (50,),
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 40,
    "optimizer.final_fraction": 0.02,
    "optimizer.b2": 0.99,
    "train.ckpt_steps": 500,
    "train.scan_steps": 25,
    "train.ema": 0.995,
}
CHANGES = {
    "": {},
    "generic": SMALL
    | PERSON
    | {
        "model.hidden": 64,
        "frozen.lip_sync": "built_in",
        "stage.sync_weight": 0.4,
        "stage.content_dropout": 0.3,
        "stage.shape_weight": 10.0,
        "stage.closing_weight": 50.0,
        "stage.spoken_share": 0.75,
        "stage.reach_prior": 100,
        "batch.batch_size": 32,
        "optimizer.learning_rate": 1e-3,
        "train.steps": 500,
        "train.val_steps": 250,
    },
    "person": SMALL | PERSON,
    "adapted": PERSON
    | {
        "frozen.generic": "built_in",
        "frozen.lip_sync": "built_in",
        "generic_share": 0.5,
        "stage.sync_weight": 0.4,
        "stage.content_dropout": 0.3,
        "stage.shape_weight": 10.0,
        "stage.closing_weight": 50.0,
        "stage.spoken_share": 0.75,
        "optimizer.learning_rate": 1e-3,
        "optimizer.warmup_steps": 10,
        "train.steps": 100,
        "train.val_steps": 100,
        "train.ema": 0.9,
    },
    "demo": SMALL
    | common.demo(700)
    | {
        "stage.mouth_weight": 3.0,
        "batch.batch_size": 16,
        "batch.frames": (60,),
    },
    "tiny": common.TINY
    | common.TINY_WORLD
    | {
        "model.hidden": 16,
        "model.encoder_layers": 1,
        "model.decoder_layers": 1,
        "model.condition": 16,
        "model.flow_hidden": 8,
        "model.flow_layers": 1,
        "model.flow_blocks": 1,
        "batch.batch_size": 8,
        "batch.frames": (20,),
    },
}


def sweep_lr():
    for rate in (2e-4, 5e-4, 1e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_kl():
    for weight in (0.002, 0.005, 0.02):
        yield {"stage.kl_weight": weight}


def sweep_width():
    for hidden in (64, 128, 256):
        yield {"model.hidden": hidden}
