"""The audio-to-motion VAE, at the paper's size (12.2 M parameters).

    emogene train --config audio_to_motion --workdir runs/audio_to_motion \\
        --config.data=RECORDS --config.frozen.lip_sync=runs/lip_sync
    emogene train --config audio_to_motion:tiny --workdir /tmp/audio_to_motion

Hardware: one GPU, or several: the batch is split among all devices of all hosts.
Hours: the authors' 40k steps took most of 14 h on an A6000 (both audio and emotion
    stages). Not measured on a GPU here yet: `python benchmarks/train_rates.py` measures
    the rate of a machine and computes them. A CPU does a step of 8 clips of 5 s in some
    .2 s: 40k of those are 2.2 h, computed.
Expect: `val_motion` (squared error, in the network's unit) well below what it is at the
    first validation, and `val_sync`, where there is an expert, below .6.
Weights and sizes are the official release's; the sync loss counts where
`frozen.lip_sync` names a trained expert.
"""

from emogene_jax.configs import common
from ml_collections import ConfigDict


def get_config(arg=""):
    config = ConfigDict()
    config.name = "audio_to_motion"
    config.seed = 0
    config.data = "synthetic"  # or a folder of clip records (data/records.py)
    config.world = ConfigDict(common.WORLD)
    config.frozen = ConfigDict(
        {
            "lip_sync": "",  # a work directory; "" = no sync loss
            # The expert's largest validation loss at which it is trusted. The official
            # release's is .75, which an expert that always says .5 keeps (.69).
            "largest_sync_loss": 0.6,
        }
    )
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
            "kl_weight": 0.005,
            "kl_warmup_steps": 1,
            "sync_weight": 0.01,
            "sync_windows": 4,
            "spoken_share": 0.5,
            "content_noise": 0.1,
            "pitch_dropout": 0.2,
        }
    )
    # data.batches.clip_batches
    config.batch = ConfigDict({"batch_size": 64, "frames": (100,), "neutral": True})
    # train.state.Optimizer; the rate is for 64 clips over all devices and hosts
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
            "scan_steps": 16,
            "ema": 0.999,
            "keep": 2,
            "deterministic": False,
        }
    )
    return common.finish(
        config,
        arg,
        common.TINY_WORLD
        | {
            "model.hidden": 16,
            "model.encoder_layers": 2,
            "model.decoder_layers": 1,
            "model.condition": 16,
            "model.flow_hidden": 8,
            "model.flow_layers": 1,
            "model.flow_blocks": 2,
            "batch.batch_size": 8,
            "batch.frames": (20,),
        },
    )


def sweep_lr():
    for rate in (2e-4, 5e-4, 1e-3):
        yield {"optimizer.learning_rate": rate}


def sweep_kl():
    for weight in (0.002, 0.005, 0.02):
        yield {"stage.kl_weight": weight}


def sweep_width():
    for hidden in (64, 128, 256):
        yield {"model.hidden": hidden}
