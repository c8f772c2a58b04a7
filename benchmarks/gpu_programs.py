"""The programs of gpu_check.py: what a GPU is asked to do in each stage, lowered for
devices that are not there.

Sizes are the configs'; what depends on a person is the synthetic character's, or as large
as a portrait of 20 s. Nothing here runs but what makes such a character.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import render_fps

from emogene_jax import parallel
from emogene_jax.audio import hubert_model
from emogene_jax.audio.hubert import STEPS_AT_ONCE
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import audio_to_motion_stage, lip_sync_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.emotion_to_video import render
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.pose.code import CODES
from emogene_jax.pose.torso import MOTION
from emogene_jax.precision import learning_in
from emogene_jax.recipes.run import stage_config
from emogene_jax.train.feed import Resident, Streamed, whole
from emogene_jax.train.packed import packed_stage, packed_state
from emogene_jax.train.state import Optimizer, init_state, make_optimizer, make_step

FRAMES = 500  # of a portrait of 20 s


def rendering(devices, tiny: bool, batch: int):
    """Rendering `batch` frames on each device."""
    size, count = 64 if tiny else 512, batch * len(devices)
    fields, motion, pose = _person(size)

    class Told(render.Renderer):
        """Hands out the arguments of its program."""

        def _render(self, side):
            return lambda *arguments: (side, arguments)

    (side, arguments), _ = next(Told(fields, count).dispatch(motion, pose))
    with parallel.compiling_for(devices):
        program = render.program(fields, side)
        whole, split = arguments[:3], arguments[3:]
        return program.lower(*parallel.replicate(whole), *parallel.shard_batch(split))


@functools.cache
def _person(size: int):
    return render_fps.untrained(size, 32, "gpu")


def head(devices, tiny: bool):
    """A step of a head."""
    config = _config("head", tiny)
    size = config.synthetic.size if tiny else 512
    fields, _, _ = _person(64 if tiny else size)
    made = head_stage(fields.camera, HeadSize(**config.model), **config.stage.to_dict())
    frozen = {"rig": jax.tree.map(np.asarray, fields.rig)}
    return _resident(devices, config, made, _frames(size, fields.rig), frozen)


def torso(devices, tiny: bool):
    """A step of a torso."""
    config = _config("torso", tiny)
    size = config.synthetic.size if tiny else 512
    fields, _, _ = _person(64 if tiny else size)
    made = torso_stage(
        fields.camera, TorsoSize(**config.model), **config.stage.to_dict()
    )
    heads = {"heads": np.broadcast_to(np.uint8(0), (FRAMES, size, size, 4))}
    return _resident(devices, config, made, _frames(size, fields.rig) | heads, None)


def vae(devices, tiny: bool):
    """A step of the VAE, under a lip-sync expert."""
    config = _config("audio_to_motion", tiny)
    expert_config = _config("lip_sync", tiny)
    model, expert = AudioToMotion(**config.model), LipSync(**expert_config.model)
    batch = _clips(config)
    init, key = lip_sync_stage(expert).init, jax.random.key(0)
    params, aux = jax.eval_shape(init, key, whole(batch))
    made = audio_to_motion_stage(model, expert, **config.stage.to_dict())
    return _streamed(devices, config, made, batch, {"params": params, "aux": aux})


def expert(devices, tiny: bool):
    """A step of the lip-sync expert."""
    config = _config("lip_sync", tiny)
    made = lip_sync_stage(LipSync(**config.model), **config.stage.to_dict())
    return _streamed(devices, config, made, _clips(config), None)


def hubert(devices, tiny: bool):
    """A layer of HuBERT-large, as many seconds at once as it takes."""
    config = hubert_model.HubertConfig(
        hidden_size=64 if tiny else 1024,
        num_attention_heads=2 if tiny else 16,
        intermediate_size=64 if tiny else 4096,
        do_stable_layer_norm=True,
    )
    width, steps = config.hidden_size, 64 if tiny else 512
    rows = (2 if tiny else STEPS_AT_ONCE // steps) * len(devices)

    def dense(put, out):
        kernel = jax.ShapeDtypeStruct((put, out), jnp.bfloat16)
        return {"kernel": kernel, "bias": jax.ShapeDtypeStruct((out,), jnp.float32)}

    norm = {
        name: jax.ShapeDtypeStruct((width,), jnp.float32) for name in ("scale", "bias")
    }
    params = {
        "attention_norm": norm,
        "feed_forward_norm": norm,
        "qkv": dense(width, 3 * width),
        "out": dense(width, width),
        "up": dense(width, config.intermediate_size),
        "down": dense(config.intermediate_size, width),
    }
    with parallel.compiling_for(devices):
        split = jnp.zeros((rows, steps, width)), jnp.zeros(rows, jnp.int32)
        split = parallel.shard_batch(split)
        return hubert_model.layer.lower(parallel.replicate(params), config, *split)


PROGRAMS: dict[str, Callable] = {
    "rendering 8": functools.partial(rendering, batch=8),
    "rendering 1": functools.partial(rendering, batch=1),
    "head": head,
    "torso": torso,
    "vae": vae,
    "expert": expert,
    "hubert": hubert,
}


def _config(name: str, tiny: bool):
    variant = "gpu,size=512" if name in ("head", "torso") else ""
    return stage_config(name, "tiny" if tiny else variant)


def _frames(size: int, rig) -> dict:
    """What emotion_to_video.draw.drawable gives of a portrait: its shapes, no memory."""
    conditions = rig.project.shape[1]
    shapes = {
        "frames": ((size, size, 3), np.uint8),
        "head_matte": ((size, size), np.uint8),
        "torso_matte": ((size, size), np.uint8),
        "condition": ((conditions,), np.float32),
        "code": ((CODES,), np.float32),
        "torso_code": ((CODES,), np.float32),
        "torso": ((MOTION,), np.float32),
        "rotation": ((3, 3), np.float32),
        "translation": ((3,), np.float32),
        "neck": ((size,), np.int32),
        "boxes": ((3, 4), np.float32),
    }
    rows = {
        name: np.broadcast_to(dtype(0), (FRAMES, *shape))
        for name, (shape, dtype) in shapes.items()
    }
    return rows | {
        "background": np.zeros((size, size, 3), np.uint8),
        "upper": np.zeros(conditions, bool),
        "turns": np.zeros(2 * FRAMES, np.int32),
    }


def _clips(config) -> dict:
    """A batch of clips of HuBERT-large's size."""
    clips, frames = config.batch.batch_size, config.batch.frames[0]
    shapes = {
        "content": ((2 * frames, 1024), np.float16),
        "f0": ((2 * frames,), np.float32),
        "blink": ((frames,), np.int32),
        "motion": ((frames, 204), np.float32),
        "mask": ((frames,), np.float32),
        "speaker": ((), np.int32),
    }
    return {
        name: np.broadcast_to(dtype(0), (clips, *shape))
        for name, (shape, dtype) in shapes.items()
    }


def _steps(config, stage):
    transform = make_optimizer(Optimizer(**config.optimizer), config.train.steps)
    # The expert has none: it keeps to single precision.
    loss = learning_in(config.train.get("precision", "float32"), stage.loss)
    packed = packed_stage(stage._replace(loss=loss))
    return transform, make_step(packed, transform, config.train.ema)


def _state(config, stage, transform, batch):
    key = jax.random.key(0)
    shapes = jax.eval_shape(
        lambda b: packed_state(
            init_state(stage, transform, key, b, config.train.ema is not None)
        ),
        batch,
    )
    return parallel.replicate(shapes)


def _resident(devices, config, stage, data, frozen):
    """Steps on frames that live on the devices, as train.loop makes them."""
    with parallel.compiling_for(devices):
        transform, step = _steps(config, stage)
        feed = Resident(step, stage, data, parallel.replicate(frozen), False)
        batch = jax.eval_shape(stage.sample, feed.data, jax.random.key(0), 0)
        state = _state(config, stage, transform, batch)
        return feed.program.lower(state, feed.frozen, feed.data, jnp.int32(0))


def _streamed(devices, config, stage, batch, frozen):
    """Steps on batches that come from the host, as train.loop makes them."""
    with parallel.compiling_for(devices):
        transform, step = _steps(config, stage)
        # As few as are a loop: what is done once a dispatch would count as a step's.
        many = 2
        feed = Streamed(step, None, parallel.replicate(frozen), False, many)
        state = _state(config, stage, transform, whole(batch))
        batches = (parallel.shard_batch(batch),) * many
        return feed.program.lower(state, feed.frozen, batches, jnp.int32(many))
