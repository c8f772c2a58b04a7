"""How much faster is the renderer than the march that its field was learned in?

    python benchmarks/marching.py [AVATAR] [--size 128] [--steps N] [--frames 4]
                                  [--turns 10]

Of an avatar, with random faces in its own poses; without one of the synthetic character,
whose head is learned for some steps first, and shows frames that were held out. The head
alone before the background, every frame another face, on the device:

baked: what talking renders with (emotion_to_video/render.py).
march: emotion_to_video.volume.march, as training asks the field, with as many samples,
    of all pixels of the same window.
dense_64, dense_128: so many equal steps through the head box, of every pixel of the
    picture, without an occupancy grid (benchmarks/marched.py).

They take turns, one batch of frames each. Ratios are those of median times; PSNR in dB
is of the one's frames against the other's, `inside` where the dense head is.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import portraits
import timing
from marched import marcher
from render_fps import random_faces

from emogene_jax import parallel
from emogene_jax.avatar.file import load_avatar
from emogene_jax.emotion_to_video.camera import to_bytes
from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.evaluate.metrics import psnr
from emogene_jax.portrait.cut import some_frames, spread_rows
from emogene_jax.recipes.recipe import portrait_parts
from emogene_jax.recipes.run import train_from_config
from emogene_jax.signals import Pose, landmarks_to_motion

DENSE = (64, 128)  # samples


def main(tiny: bool = False):
    """One line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("avatar", nargs="?", metavar="AVATAR")
    parser.add_argument("--size", type=int, default=128, help="px, the synthetic one's")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.add_argument("--frames", type=int, default=4, help="in a turn")
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    parallel.enable_compilation_cache()
    if args.avatar:
        person = load_avatar(Path(args.avatar))
        fields = person.fields._replace(torso=None)
        some = spread_rows(len(person.pose.rotation), args.frames)
        pose = Pose(*(part[some] for part in person.pose.head))
        motion = random_faces(len(some), np.random.default_rng(0))
    else:
        size = 32 if tiny else args.size
        fields, motion, pose = synthetic(size, args.steps, args.frames, tiny)
    told = compare(fields, motion, pose, 2 if tiny else args.turns)
    timing.emit(
        "marching",
        told,
        avatar=Path(args.avatar).name if args.avatar else "synthetic",
        size=fields.camera.size,
        samples=fields.samples,
        frames=len(motion),
    )


def synthetic(size: int, steps: int | None, frames: int, tiny: bool):
    """(Fields without a torso, motion [T, 68, 3], Pose) of the synthetic character."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = portraits.prepared(None, work, size, tiny)
        config = portraits.head_config(data, tiny, steps=steps)
        train_from_config(config, work / "head")
        training, held, _ = portrait_parts(config, work)
        fields = portraits.head_of(work / "head", training)
    held = some_frames(held, spread_rows(len(held.frames), frames))
    return fields, landmarks_to_motion(held.landmarks, held.rest), held.pose


def compare(fields: Fields, motion, pose: Pose, turns: int) -> dict:
    """ms a frame of each way, ratios, and how far apart their frames are."""
    renderer, shown = Renderer(fields), (motion, pose)
    marchers = {"march": marcher(renderer)}
    marchers |= {f"dense_{n}": marcher(renderer, dense=n) for n in DENSE}
    calls = {"baked": lambda: list(renderer.dispatch(*shown))}
    calls |= {
        name: lambda layers=layers: list(layers(*shown))
        for name, layers in marchers.items()
    }
    frames = {"baked": np.stack(list(renderer.frames(*shown)))}
    for name, layers in marchers.items():  # which compiles them, too
        layer = jnp.stack(list(layers(*shown)))
        frames[name] = np.asarray(before(layer, fields.background))
    inside = np.asarray(layer[..., 3])  # of the densest
    seconds = timing.take_turns(calls, turns)
    ms = {name: 1e3 * np.median(taken) / len(motion) for name, taken in seconds.items()}
    told = {f"{name}_ms": round(float(value), 2) for name, value in ms.items()}
    for name in marchers:
        told[f"{name}_over_baked"] = round(float(ms[name] / ms["baked"]), 2)
    best = f"dense_{DENSE[-1]}"
    for one, other in (("march", "baked"), (best, "baked"), (best, "march")):
        pair = frames[one], frames[other]
        told[f"psnr_{other}_{one}"] = round(psnr(*pair), 2)
        told[f"psnr_{other}_{one}_inside"] = round(psnr(*pair, inside), 2)
    return told


@jax.jit
def before(layers, background):
    """uint8 [T, H, W, 3] of layers [T, H, W, 4] before a background [H, W, 3] uint8."""
    behind = background.astype(jnp.float32) / 255
    return to_bytes(layers[..., :3] + (1 - layers[..., 3:]) * behind)


if __name__ == "__main__":
    main()
