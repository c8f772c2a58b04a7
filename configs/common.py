"""What every config of this folder ends with."""

from ml_collections import ConfigDict

from emogene_jax.signals import UserError


def finish(config: ConfigDict, arg: str, tiny: dict) -> ConfigDict:
    """`config`, locked; with arg `tiny` made tiny by those flat overrides."""
    if arg not in ("", "tiny"):
        raise UserError(f"config argument: found {arg!r}, expected nothing or tiny")
    config.lock()
    if arg:
        config.update_from_flattened_dict(TINY | tiny)
    return config


# Two steps on a CPU: does it run at all?
TINY = {
    "train.steps": 2,
    "train.ckpt_steps": 2,
    "train.log_steps": 1,
    "train.val_steps": 2,
    "train.scan_steps": 2,
}
# The synthetic world where `data` is "synthetic": the fields of data.records.World.
WORLD = {"seed": 0, "speakers": 16, "sentences": 24, "validation_sentences": 2}
TINY_WORLD = {
    "world.speakers": 2,
    "world.sentences": 1,
    "world.validation_sentences": 1,
}
