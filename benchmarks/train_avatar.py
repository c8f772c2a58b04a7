"""How good is an avatar's picture after so many seconds of training?

    python benchmarks/train_avatar.py [PORTRAIT] [--size 128] [--steps N] [--seed 0]

One training of the head by the config that `emogene create` uses, on a folder that
`emogene prepare` made or the synthetic character. At an eighth, a quarter, a half and all
of its steps the averaged parameters render the held-out frames; the clock stands still
meanwhile, and what compiles is counted apart. The learning rate follows the whole plan: a
training that was planned to end at a mark would have ended there a little better. At the
marks there is no torso: the head stands before the true one (`head`, `head_matte` and
`mouth` of evaluate/reconstruction.py, on these frames). The last line is of whole frames,
once the torso is trained, with all that `emogene create` writes of them, and their
flicker.
"""

import argparse
import tempfile
import time
from pathlib import Path

import portraits
import timing

from emogene_jax import parallel
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.evaluate.reconstruction import rerender, scores
from emogene_jax.evaluate.temporal import flicker
from emogene_jax.portrait.pack import load_portrait
from emogene_jax.recipes import head
from emogene_jax.recipes.recipe import portrait_parts
from emogene_jax.recipes.run import train_from_config
from emogene_jax.train import checkpoint

MARKS = (2, 4, 8, 16)  # of portraits.PARTS


def main(tiny: bool = False):
    """One line a mark, and one of whole frames."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="?", metavar="PORTRAIT")
    parser.add_argument("--size", type=int, default=128, help="px, the synthetic one's")
    parser.add_argument("--steps", type=int, help="of the head; default: the config's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parallel.enable_compilation_cache()
    with tempfile.TemporaryDirectory() as folder:
        work, size = Path(folder), 32 if tiny else args.size
        data = portraits.prepared(args.portrait, work, size, tiny)
        config = portraits.head_config(data, tiny, args.seed, args.steps)
        sizes = {
            "portrait": Path(args.portrait or "synthetic").name,
            "size": load_portrait(data, pictures=False).camera.size,
            "seed": args.seed,
        }
        watch = learn_head(config, work / "head", sizes)
        learn_torso(config, tiny, work, sizes, watch)


def learn_head(config, workdir: Path, sizes: dict) -> portraits.Watch:
    """Trains the head, and says how good it is on the way; fills in `sizes`."""
    recipe, steps = head.build(config, workdir), config.train.steps
    held = config.portrait.held_out
    sizes |= {
        "training_frames": config.portrait.frames - held,
        "held_out_frames": held,
        "rays_per_step": config.stage.frames * config.stage.rays,
        "planned_steps": steps,
    }

    def look(part, params, aux):
        if part in MARKS:
            told = {"steps": part * steps // portraits.PARTS}
            told["seconds"] = round(watch.seconds, 2)
            told["compile_s"] = round(watch.compile_s, 2)
            found = recipe.validate(params, aux)
            told |= {k.removeprefix("val_"): round(v, 3) for k, v in found.items()}
            timing.emit("train_avatar", told, **sizes)

    watch = portraits.Watch(look)
    portraits.train_head(recipe, config, workdir, watch)
    return watch


def learn_torso(config, tiny: bool, work: Path, sizes: dict, watch) -> None:
    """Trains the torso behind that head, and says how good whole frames are."""
    began = time.perf_counter()
    changes = {"seed": config.seed, "frozen.head": str(work / "head")}
    torso = portraits.config_of("torso", Path(config.data), tiny, changes)
    train_from_config(torso, work / "torso")
    torso_s = time.perf_counter() - began
    training, held, _ = portrait_parts(config, work)
    fields = portraits.head_of(work / "head", training)._replace(
        torso=checkpoint.load(work / "torso").params,
        torso_size=TorsoSize(**torso.model.to_dict()),
    )
    rendered, heads = rerender(Renderer(fields), held)
    found = scores(held, rendered, heads)
    told = {
        "seconds_head": round(watch.seconds, 2),
        # With what compiles, what is read, the heads that it stands behind, and its
        # validation.
        "seconds_torso": round(torso_s, 2),
        "torso_steps": torso.train.steps,
        **{f"psnr_{name}": round(value, 3) for name, value in found["psnr"].items()},
        **{f"ssim_{name}": round(value, 4) for name, value in found["ssim"].items()},
        "flicker": flicker(held, rendered),
    }
    timing.emit("train_avatar_whole", told, **sizes)


if __name__ == "__main__":
    main()
