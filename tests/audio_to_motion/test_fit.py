import jax
import numpy as np
import pytest

from emogene_jax.audio_to_motion import fit
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate

SMALL = {
    "hidden": 16,
    "latent": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "condition": 16,
    "flow_hidden": 4,
    "flow_layers": 1,
    "flow_blocks": 1,
    "motion_scale": 20.0,
    "downsample": "stack",
}
FRAMES = 120


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A mouth that follows its sound, brows that do not, and what was learned of them."""
    rng = np.random.default_rng(0)
    smooth = [
        np.convolve(row, np.ones(5) / 5**0.5, "valid")
        for row in rng.normal(size=(3, FRAMES + 4))
    ]
    motion = np.zeros((FRAMES, 68, 3), np.float32)
    motion[:, 48:68, 1] = 0.05 * smooth[0][:, None]
    motion[:, 17:27, 1] = 0.05 * smooth[2][:, None]
    content = np.stack([smooth[0], smooth[1]], 1).repeat(2, axis=0).astype(np.float32)
    f0 = np.full(2 * FRAMES, 120.0, np.float32)
    clip = np.repeat([0, 1], [80, 40])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "PERSON_SIZE", SMALL)
        folder = tmp_path_factory.mktemp("person")
        sizes, result = fit.fit_person(
            content, f0, motion, clip, folder, 300, frames=40
        )
    model, trained = AudioToMotion(**sizes), (result.ema_params, result.aux)
    made = jax.jit(
        lambda key, temperature: generate(
            model, *trained, content[None], f0[None], key, temperature
        )[0].reshape(-1, 68, 3)
    )
    return motion, made


@pytest.mark.slow
def test_the_mouth_follows_the_sound(person):
    motion, made = person
    mean = np.asarray(made(jax.random.key(0), 0.0))
    assert np.corrcoef(mean[:, 60, 1], motion[:, 60, 1])[0, 1] > 0.9
    for seed in range(3):
        lively = np.asarray(made(jax.random.key(seed), 0.5))
        assert np.corrcoef(lively[:, 60, 1], motion[:, 60, 1])[0, 1] > 0.8


def test_seeds_differ(person):
    motion, made = person
    seeds = np.stack([made(jax.random.key(seed), 1.0) for seed in range(6)])
    spread = seeds.std(0)[:, :, 1].mean(0) / motion[:, :, 1].std(0).clip(1e-6)
    assert spread[17:27].mean() > 0.1
