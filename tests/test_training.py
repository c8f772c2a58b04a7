"""What configs build: the rest of `train` is tested with the stages and the loop."""

import warnings

import jax
import pytest

from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import lip_sync_stage
from emogene_jax.cli import read_config
from emogene_jax.train import checkpoint
from emogene_jax.training import _audio_to_motion, _clips


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """A config whose data is made, its folder, and an expert's (params, aux)."""
    config = read_config("audio_to_motion:tiny", [])
    folder = tmp_path_factory.mktemp("train")
    _, (batch, *_) = _clips(config, folder)
    init = jax.jit(lip_sync_stage(LipSync(channels=8)).init)
    return config, folder, init(jax.random.key(0), batch)


@pytest.mark.parametrize("loss, trusted", [(0.3, True), (0.65, False), (None, True)])
def test_only_a_trustworthy_expert_is_listened_to(expert, loss, trusted):
    config, folder, learned = expert
    metrics = {} if loss is None else {"val_loss": loss}
    record = {"config": {"model": {"channels": 8}}, "metrics": metrics}
    checkpoint.write(folder / f"expert-{loss}", *learned, record)
    config.frozen.lip_sync = str(folder / f"expert-{loss}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        *_, frozen = _audio_to_motion(config, folder)
    assert (frozen is not None) == trusted
    ours = [str(one.message) for one in told if "sync loss" in str(one.message)]
    assert len(ours) == (not trusted)
    assert trusted or "0.65 is above 0.6" in ours[0]
