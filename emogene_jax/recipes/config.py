"""A config by its name or file, with overrides, as it is written on the command line."""

from pathlib import Path

from emogene_jax.signals import UserError

STAGES = ("lip_sync", "audio_to_motion", "motion_to_emotion", "head", "torso")


def read_config(spec: str, overrides: list[str]):
    """A locked ConfigDict.

    Args:
      spec: a stage's name or the path of a config file, then `:arg` for its get_config.
      overrides: `--config.key=value`, read by ml_collections' own parser.
    """
    from absl import flags
    from ml_collections import config_flags

    name, _, arg = spec.partition(":")
    if name in STAGES:
        path = _configs_folder() / f"{name}.py"
    else:
        path = Path(name)
    if not path.is_file():
        raise UserError(
            f"{name}: no such config; expected {', '.join(STAGES)} or a file"
        )
    for override in overrides:
        if override.startswith("-") and not override.startswith("--config."):
            raise UserError(f"unrecognized argument: {override}")
    argv = ["emogene train", f"--config={path}:{arg}", *overrides]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file(
        "config", flag_values=values, sys_argv=argv
    )
    try:
        rest = values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error.args[0]).split())
        if isinstance(error, (KeyError, AttributeError)):
            reason = f"unknown key {reason}"
            for override in overrides:
                key = override.partition("=")[0]
                if key.rpartition(".")[2] in reason:
                    reason = f"unknown key in {key}"
        raise UserError(f"config {spec}: {reason}") from error
    except UserError:
        raise
    except Exception as error:  # a config file is a program, and can do anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"config {spec}: can't be loaded ({reason})") from error
    if rest:
        raise UserError(f"unrecognized argument: {rest[0]}")
    return holder.value


def _configs_folder() -> Path:
    from emogene_jax import configs

    return Path(configs.__file__).parent
