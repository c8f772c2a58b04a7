"""Where the frames of a head or torso live while it learns: the device, or the host.

5 minutes at 512 px, 7,500 frames of 1.25 MiB (colours and two mattes), take 9.2 GiB, 9.4
with the augmented ones: resident within 12 GiB (configs/). More frames than that stay on
the host, where a step's own (8: 10 MiB) are picked for it; rays are drawn on the device
as ever. The host holds all frames in either case, and once more where filmed and augmented
ones are joined for the device.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax import parallel
from emogene_jax.input.stream import row_batches
from emogene_jax.signals import Stage

SHARED = ("background", "upper", "turns")  # the others have a row per frame

Frames = Mapping[str, np.ndarray]  # as emotion_to_video.draw.drawable gives them


def fed(
    stage: Stage,
    parts: Sequence[Frames],
    frames: int,
    seed: int,
    most: int,
) -> tuple[Stage, dict | Callable]:
    """A head or torso stage and what it learns from, as train.loop.train takes them.

    Args:
      parts: of one person; background and upper are those of the first.
      frames: looked at per step, as `stage` was told.
      seed: of the frames of each step, where they are streamed.
      most: bytes that may live on each device.

    Returns:
      (stage, arrays) where all fits, else (stage, batches(start_step)), and a line for
      people. The first batch raises UserError where `frames` cannot be shared among
      the hosts.
    """
    size = sum(array.nbytes for part in parts for array in part.values())
    if size <= most:
        return stage, joined(parts)
    if parallel.is_main_process():
        print(
            f"{size / 2**30:.3g} GiB of frames, more than the {most / 2**30:.3g} GiB that "
            "may live on the device: each step's are streamed from the host"
        )
    return _of_picked(stage, parts[0]), _picked(parts, frames, seed)


def joined(parts: Sequence[Frames]) -> Frames:
    """The frames of all parts in one, over the background of the first."""
    if len(parts) == 1:
        return parts[0]
    names = [name for name in parts[0] if name not in SHARED]
    every = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return parts[0] | every | {"turns": _turns(parts)}


def _turns(parts: Sequence[Frames]) -> np.ndarray:
    """The parts' turns, for frame numbers that count through all parts."""
    before = np.cumsum([0, *(len(part["frames"]) for part in parts)])
    moved = [part["turns"] + start for part, start in zip(parts, before)]
    return np.concatenate(moved).astype(np.int32)


def _picked(parts: Sequence[Frames], frames: int, seed: int) -> Callable:
    """batches(start_step) of rows of the parts, and "others" [B, C], the conditions of
    as many more: each frame as often as draw.draw_rays would draw it."""
    turns = _turns(parts)
    names = [name for name in parts[0] if name not in SHARED]

    def choose(step: int) -> dict[str, tuple[str, np.ndarray]]:
        rng = np.random.default_rng([seed, step])
        t, other = rng.choice(turns, (2, frames))
        return {name: (name, t) for name in names} | {"others": ("condition", other)}

    return row_batches(parts, choose, parallel.host())


def _of_picked(stage: Stage, known: Frames) -> Stage:
    """`stage`, for batches of frames in place of rays, which it draws from them."""

    def loss(params, aux, frozen, batch, key, step):
        key, draw_key = jax.random.split(key)
        shared = {name: jnp.asarray(known[name]) for name in ("background", "upper")}
        rays = stage.sample(shared | batch, draw_key, step)
        return stage.loss(params, aux, frozen, rays, key, step)

    def images(params, aux, frozen, batch):
        pose = batch["rotation"], batch["translation"]
        return stage.images(params, aux, frozen, batch | {"pose": pose})

    return Stage(stage.init, loss, None, stage.images and images)
