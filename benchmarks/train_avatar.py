"""How good is an avatar's picture after so many seconds of training?

    python benchmarks/train_avatar.py [PORTRAIT] [--size 128] [--steps N] [--seed 0]

One training of the head with `emogene create`'s plan, a folder that `emogene prepare`
made or the synthetic character. At an eighth, a quarter, a half and all of its steps the
averaged parameters render the held-out frames; the clock stands still meanwhile, and
what compiles is counted apart. The learning rate follows the whole plan: a training that
was planned to end at a mark would have ended there a little better. At the marks there
is no torso: the head stands before the true one (`head`, `head_matte` and `mouth` of
evaluate/avatar.py, on these frames). The last line is of whole frames, once the torso is
trained, with all that `emogene create` writes of them, and their flicker.
"""

import argparse
import tempfile
import time
from pathlib import Path

import portraits
import timing

from emogene_jax import parallel
from emogene_jax.avatar import Avatar
from emogene_jax.emotion_to_video import fit
from emogene_jax.evaluate.avatar import rerender, scores
from emogene_jax.evaluate.temporal import flicker

MARKS = (2, 4, 8, 16)  # of portraits.PARTS


def main(tiny: bool = False):
    """One line a mark, and one of whole frames."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="?", metavar="PORTRAIT")
    parser.add_argument("--size", type=int, default=128, help="px, the synthetic one's")
    parser.add_argument("--steps", type=int, help="of the head; default: the plan's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parallel.enable_compilation_cache()
    portrait = portraits.read(args.portrait, 32 if tiny else args.size, tiny)
    with tempfile.TemporaryDirectory() as folder:
        person = portraits.split(portrait, Path(folder), vary=not tiny)
        plan = portraits.planned(person, tiny, args.steps)
        learn(person, plan, Path(folder), args.portrait or "synthetic", args.seed)


def learn(person, plan: fit.Plan, work: Path, name: str, seed: int) -> None:
    """Trains head and torso, and says how good they are on the way."""
    sizes = {
        "portrait": Path(name).name,
        "size": person.training.camera.size,
        "training_frames": len(person.training.frames),
        "held_out_frames": len(person.held.frames),
        "rays_per_step": plan.frames * plan.head_rays,
        "planned_steps": plan.head_steps,
        "seed": seed,
    }

    def look(part, params, aux):
        if part in MARKS:
            told = {"steps": part * plan.head_steps // portraits.PARTS}
            told["seconds"] = round(watch.seconds, 2)
            told["compile_s"] = round(watch.compile_s, 2)
            fields = portraits.fields_of(person, plan, params, aux["density"])
            heads = fit.rendered_heads(fields, person.held)
            told |= portraits.head_scores(heads, person.held)
            timing.emit("train_avatar", told, **sizes)

    watch = portraits.Watch(look)
    told = portraits.head_training(person, plan, seed)
    head = portraits.train_head(told, work / "head", watch)
    fields = portraits.fields_of(person, plan, head.ema_params, head.aux["density"])
    began = time.perf_counter()
    data = (fields, person.filmed, work / "torso", seed)
    torso = fit._train_torso(person.training, plan, *data)
    torso_s = time.perf_counter() - began
    fields = fields._replace(torso=torso.ema_params)
    rendered, heads = rerender(Avatar(fields, *[None] * 7), person.held)
    found = scores(person.held, rendered, heads)
    told = {
        "seconds_head": round(watch.seconds, 2),
        # With what compiles, and with the heads that it stands behind.
        "seconds_torso": round(torso_s, 2),
        "torso_steps": plan.torso_steps,
        **{f"psnr_{name}": round(value, 3) for name, value in found["psnr"].items()},
        **{f"ssim_{name}": round(value, 4) for name, value in found["ssim"].items()},
        "flicker": flicker(person.held, rendered),
    }
    timing.emit("train_avatar_whole", told, **sizes)


if __name__ == "__main__":
    main()
