"""A `create` of seconds, of a person who was filmed happy, so that own emotions are
learned; no face is found in what it renders. test_create.py calls it, and starts it to
kill it:

    python tiny_create.py OUT DATA VOICE DEFORMATION
"""

import sys

import pytest

from emogene_jax.commands import create
from emogene_jax.evaluate import reconstruction

LONGER = {
    "head": {"train.steps": 60, "train.ckpt_steps": 20, "train.val_steps": 60},
    "motion_to_emotion": {"train.steps": 20, "train.ckpt_steps": 20},
}


def run(out, data, voice, deformation) -> None:
    configs = create.stage_config

    def longer(stage, arg, changes):
        return configs(stage, arg, changes | LONGER.get(stage, {}))

    def fail(*_):
        raise create.UserError("rendered frames: a face in 0 of 10 frames")

    told = {"holdout_seconds": 0.4, "preset": "tiny"}
    told |= {"audio_to_motion": str(voice), "deformation": str(deformation)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(create, "stage_config", longer)
        patch.setattr(reconstruction, "landmark_distance", fail)
        create.create([data], out, **told)


def on_one_of_eight() -> None:
    """From now on one device is used of eight, as by the tests: their programs are found,
    and what is computed is the same to the bit."""
    import jax

    from emogene_jax import parallel

    jax.config.update("jax_num_cpu_devices", 8)
    alone = parallel._mesh_of(tuple(jax.devices()[:1]))
    parallel.mesh = lambda: alone


if __name__ == "__main__":
    on_one_of_eight()
    run(*sys.argv[1:])
