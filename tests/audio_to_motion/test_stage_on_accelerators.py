"""The VAE's step as a GPU gets it: a CPU's gradients, on eight devices, which send each
other nothing but gradients and statistics."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emogene_jax import parallel
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import audio_to_motion_stage, lip_sync_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion

CLIPS, FRAMES = 8, 18
MODEL = AudioToMotion(
    **{"hidden": 8, "latent": 4, "encoder_layers": 1, "decoder_layers": 1},
    **{"condition": 6, "flow_hidden": 4, "flow_layers": 1, "flow_blocks": 2},
    **{"motion_scale": 10.0, "downsample": "stack"},
)
EXPERT = LipSync(channels=16, motion_scale=10.0)
SAME = 1e-4  # of the gradient's norm


def batch():
    rng = np.random.default_rng(0)
    singles = {
        "content": rng.normal(size=(CLIPS, 2 * FRAMES, 5)),
        "f0": rng.uniform(80, 300, (CLIPS, 2 * FRAMES)),
        "motion": 0.1 * rng.normal(size=(CLIPS, FRAMES, 204)),
        "mask": np.arange(FRAMES) < rng.integers(12, FRAMES + 1, (CLIPS, 1)),
    }
    return {name: jnp.asarray(x, jnp.float32) for name, x in singles.items()} | {
        "blink": jnp.asarray(rng.integers(0, 2, (CLIPS, FRAMES)), jnp.int32),
        "speaker": jnp.arange(CLIPS, dtype=jnp.int32) % 3,
    }


def test_eight_accelerators_learn_what_a_cpu_does(on_an_accelerator, use_devices):
    expert = lip_sync_stage(EXPERT, windows_per_clip=2)
    heard = jax.jit(expert.init)(jax.random.key(0), batch())
    stage = audio_to_motion_stage(MODEL, EXPERT, spoken_share=0.5)
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch())
    # A prior that does nothing would hide what it gets wrong.
    params = jax.tree.map(lambda x: x + 0.05, params)
    frozen = dict(zip(("params", "aux"), heard, strict=True))

    def learn(params, aux, frozen, batch):
        def loss(params):
            told = parallel.spread(batch), jax.random.key(2), 3
            return stage.loss(params, aux, frozen, *told)[0]

        return jax.grad(loss)(params)

    before = jax.jit(learn)(params, aux, frozen, batch())
    on_an_accelerator()
    use_devices(8)
    whole = parallel.replicate((params, aux, frozen))
    placed = (*whole, parallel.shard_batch(batch()))
    program = parallel.data_parallel(learn, donate=()).lower(*placed).compile()
    before, after = jax.device_get((before, program(*placed)))
    apart = optax.tree.norm(optax.tree.sub(before, after))
    assert apart < SAME * optax.tree.norm(before)
    sent = r" (all-gather|all-to-all|collective-permute)\("
    assert not re.search(sent, program.as_text())
