import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from emogene_jax.audio_to_motion.import_weights import (
    import_audio_to_motion,
    import_lip_sync,
)
from emogene_jax.audio_to_motion.vae import latent_steps
from emogene_jax.signals import UserError

TOLERANCE = 1e-4


def golden(shared, name):
    """(state dict, inputs and outputs) of one module."""
    if not (shared / "golden" / f"{name}.safetensors").exists():
        pytest.skip(f"no golden/{name}.safetensors in {shared}")
    with np.load(shared / "golden" / f"{name}_io.npz", allow_pickle=False) as arrays:
        values = dict(arrays)
    for key in ("noise", "prior_noise"):
        if key in values:
            values[key] = values[key].transpose(0, 2, 1)
    return load_file(shared / "golden" / f"{name}.safetensors"), values


@pytest.fixture(scope="module")
def vae(shared):
    state, io = golden(shared, "vae")
    model, params, aux = import_audio_to_motion(state)
    return model, {"params": params, **aux}, io


@pytest.mark.parametrize("rows", [slice(0, 2), slice(0, 1)])
def test_vae_says_what_the_official_one_says(vae, rows):
    model, variables, io = vae
    names = ("hubert", "f0", "y", "mask", "noise")
    out = jax.jit(model.apply)(variables, *(io[name][rows] for name in names))
    truth = [io[name] for name in ("recon", "kl", "m_q", "logs_q", "z_p")]
    for name, ours, theirs in zip(out._fields, out, truth, strict=True):
        if theirs.ndim:
            np.testing.assert_allclose(ours, theirs[rows], atol=TOLERANCE, err_msg=name)
        elif rows.stop == 2:  # the mean over both rows
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, err_msg=name)
    motion = model.apply(
        variables,
        io["hubert"][rows],
        io["f0"][rows],
        io["prior_noise"][rows],
        method="decode",
    )
    generated = motion * io["mask"][rows][..., None]
    np.testing.assert_allclose(generated, io["generated"][rows], atol=TOLERANCE)


def test_flow_goes_there_and_back(vae):
    model, variables, io = vae

    def there_and_back(module, z, g):
        flow, ones = module.vae.prior_flow, jnp.ones_like(z[..., :1])
        moved = flow(z, ones, g)
        return moved, flow(moved, ones, g, inverse=True)

    z = io["noise"]
    g = np.random.default_rng(0).normal(size=(*z.shape[:2], 128)).astype(np.float32)
    moved, back = model.apply(variables, z, g, method=there_and_back)
    assert np.abs(moved - z[..., ::1]).max() > 0.1
    np.testing.assert_allclose(back, z, atol=1e-5)


def test_expert_says_what_the_official_one_says(shared):
    state, io = golden(shared, "sync")
    model, params, aux = import_lip_sync(state)
    for rows in (slice(0, 8), slice(0, 1)):
        audio, mouth = model.apply(
            {"params": params, **aux}, io["hubert"][rows], io["mouth"][rows]
        )
        np.testing.assert_allclose(audio, io["audio_embedding"][rows], atol=TOLERANCE)
        np.testing.assert_allclose(mouth, io["mouth_embedding"][rows], atol=TOLERANCE)


def test_unit_of_motion_is_converted_at_the_border(shared, vae):
    model, variables, io = vae
    state, _ = golden(shared, "vae")
    scaled, params, aux = import_audio_to_motion(state, motion_scale=10.0)
    args = (io["hubert"][:, :16], io["f0"][:, :16])
    latent = io["prior_noise"][:, : latent_steps(8)]
    ours = scaled.apply({"params": params, **aux}, *args, latent, method="decode")
    theirs = model.apply(variables, *args, latent, method="decode")
    np.testing.assert_allclose(10 * ours, theirs, atol=1e-5)


def test_what_does_not_fit_is_named(shared):
    state, _ = golden(shared, "sync")
    broken = dict(state, stranger=np.zeros(3))
    del broken["mouth_encoder.3.conv_block.0.bias"]
    with pytest.raises(UserError) as error:
        import_lip_sync(broken)
    assert "missing: mouth_encoder.3.conv_block.0.bias;" in str(error.value)
    assert "unexpected: stranger" in str(error.value)
    with pytest.raises(UserError, match="has shape"):
        import_lip_sync(
            dict(state, **{"mouth_encoder.3.conv_block.0.bias": np.zeros(3)})
        )
    with pytest.raises(UserError, match=r"vae\.encoder\.pre_net\.0\.weight"):
        import_audio_to_motion({})
