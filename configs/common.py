"""What the configs of this folder share: how their argument is read, and what is equal."""

from ml_collections import ConfigDict, config_dict

from emogene_jax.signals import UserError

# Of frames that may live on each device; more are streamed from the host. Half of a GPU
# of 24 GiB. JAX takes three quarters of it for all that it does: that leaves 6 GiB, and a
# step at 512 px with its state takes .5 (XLA's count; no copy of frames).
RESIDENT_BYTES = 12 * 2**30


def read_arg(arg: str, variants: tuple[str, ...], **numbers: int):
    """(variant, {name: number}) of a config's argument, `cpu,size=256`.

    Args:
        arg: a variant and numbers, joined by commas; what is left out is the first of
            `variants`, and the defaults of `numbers`.
    """
    chosen, found = variants[0], dict(numbers)
    for part in filter(None, arg.split(",")):
        name, equals, value = part.partition("=")
        if not equals and name in variants:
            chosen = name
        elif equals and name in numbers and value.isdecimal():
            found[name] = int(value)
        else:
            known = [*filter(None, variants), *(f"{name}=N" for name in numbers)]
            raise UserError(
                f"config argument: found {part!r}, expected some of {', '.join(known)}"
            )
    return chosen, found


def begin(name: str, metric: str, best: str) -> ConfigDict:
    """A config of a stage.

    Args:
        metric: what a sweep is sorted by, of held-out data; best: "lowest", "highest".
    """
    config = ConfigDict()
    config.name = name
    config.seed = 0
    config.metric, config.best = metric, best
    config.data = "synthetic"
    # Of a portrait's end, in seconds; None = as it was prepared.
    config.holdout_seconds = config_dict.placeholder(float)
    return config


def finish(config: ConfigDict, changes: dict) -> ConfigDict:
    """`config` with flat overrides, locked."""
    config.lock()
    config.update_from_flattened_dict(changes)
    return config


# Two steps on a CPU: does it run at all?
TINY = {
    "train.steps": 2,
    "train.ckpt_steps": 2,
    "train.log_steps": 1,
    "train.val_steps": 2,
    "train.scan_steps": 2,
}
# The synthetic world where `data` is "synthetic": the fields of synthetic.records.World.
WORLD = {"seed": 0, "speakers": 16, "sentences": 24, "validation_sentences": 2}
DEMO_WORLD = {
    "world.speakers": 6,
    "world.sentences": 12,
    "world.validation_sentences": 2,
    "world.intensities": (1.0,),
}
TINY_WORLD = {
    "world.speakers": 2,
    "world.sentences": 1,
    "world.validation_sentences": 1,
    "world.intensities": (1.0,),
    "world.sentence_seconds": 1.4,
}


def world(**more) -> ConfigDict:
    """The synthetic world, with what else of it a config wants to be set."""
    same = {"intensities": (0.4, 0.7, 1.0), "sentence_seconds": 3.2}
    return ConfigDict(WORLD | same | more)


def demo(steps: int) -> dict:
    """A training of the demo, short and small."""
    return DEMO_WORLD | {
        "optimizer.warmup_steps": 50,
        "optimizer.learning_rate": 1e-3,
        "train.steps": steps,
        "train.log_steps": steps // 20,
        "train.val_steps": steps,
        "train.ckpt_steps": steps,
        "train.ema": 0.99,
    }
