"""The PyTorch side of a benchmark is the official model, number by number."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import torch_twin  # noqa: E402


@pytest.fixture(scope="module")
def golden(shared):
    """(model, inputs and outputs) of the official VAE."""
    from safetensors.torch import load_file

    folder = shared / "golden"
    if not (folder / "vae.safetensors").exists():
        pytest.skip(f"no golden/vae.safetensors in {shared}")
    model = torch_twin.AudioToMotion()
    model.load_state_dict(load_file(folder / "vae.safetensors"))
    with np.load(folder / "vae_io.npz", allow_pickle=False) as arrays:
        return model.eval(), {name: torch.tensor(arrays[name]) for name in arrays}


def test_it_says_what_the_official_one_says(golden):
    model, io = golden
    noise = io["noise"].transpose(1, 2)
    with torch.inference_mode():
        out = model(io["hubert"], io["f0"], io["y"], io["mask"], noise)
        latent = io["prior_noise"].transpose(1, 2)
        generated = model.generate(io["hubert"], io["f0"], latent)
    names = ("recon", "kl", "m_q", "logs_q", "z_p")
    for name, value in zip(names, out, strict=True):
        np.testing.assert_allclose(value, io[name], atol=1e-4, err_msg=name)
    generated = generated * io["mask"][..., None]
    np.testing.assert_allclose(generated, io["generated"], atol=1e-4)


def test_its_training_learns(golden):
    torch.manual_seed(0)
    model = torch_twin.AudioToMotion(content=8, condition=8, hidden=8)
    step = torch_twin.trainer(model)
    inputs = torch.randn(2, 16, 8), torch.full((2, 16), 200.0), torch.randn(2, 8, 204)
    taken = [step(*inputs, torch.ones(2, 8)).item() for _ in range(40)]
    # Random motion can not be foretold; it is the mean that is learned.
    assert np.mean(taken[-5:]) < 0.98 * np.mean(taken[:5])
