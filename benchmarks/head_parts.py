"""What is each part of the head field worth?

    python benchmarks/head_parts.py [PORTRAIT] [--size 64] [--steps N] [--seed 0]
                                    [--only NAME ...]

The same training (the config of `emogene create`, but for what is off) with one part
off, on a folder that `emogene prepare` made or the synthetic character; 2000 steps are
enough to compare. A part is off when its parameters are
held at zero, in training and in rendering: the milliseconds of such a line are those of
a program that may still multiply by zero. `ambient` is another field: no warp, no basis;
a small MLP makes two ambient coordinates of each sample's features and the frame's
condition, and what a learned plane holds there goes into the first layer with the
sample's own features (RAD-NeRF, GeneFace++). `basis_everywhere`: basis planes act on all
of the head, and not only where that half of the face moves. `no_regions` looks at whole
heads alone, so that no frame is told another one's brows or mouth, either.

Frames are baked (`render`: baked), but for `ambient`, which has nothing that a whole
frame shares: it is marched, as in training. march_ms is of that march, for all of them.

A variant's own line times it by itself; a busy machine makes those unlike. The last line
is to be compared: steps and frames of all variants, taking turns.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import portraits
import timing
from marched import marcher

from emogene_jax import parallel
from emogene_jax.emotion_to_video.camera import to_bytes
from emogene_jax.emotion_to_video.encoding import read_planes
from emogene_jax.emotion_to_video.head import (
    CORRECTION,
    FrameState,
    HeadField,
    HeadSize,
    sides,
)
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.face.rig import Rig
from emogene_jax.portrait.cut import spread_rows
from emogene_jax.recipes import head, person
from emogene_jax.recipes.recipe import Recipe, portrait_parts
from emogene_jax.signals import Pose, Stage, landmarks_to_motion

TIMED = 8  # frames


class Variant(NamedTuple):
    """How a head differs from the whole one."""

    off: tuple[str, ...] = ()  # parameters
    rig: tuple[tuple[str, float], ...] = ()  # parts of the rig, and what they are
    share: tuple[float, ...] | None = None  # head_stage's region_share
    ambient: bool = False


VARIANTS = {
    "full": Variant(),
    "no_warp": Variant(rig=(("warp", 0), ("warp_rest", 0))),
    "no_basis": Variant(off=("blend", "basis_planes")),
    "basis_everywhere": Variant(rig=(("moving", 1),)),
    "no_fine": Variant(off=("fine_planes",)),
    "no_pose_correction": Variant(off=("pose_correction",)),
    "no_warp_correction": Variant(off=("warp_correction",)),
    "no_regions": Variant(share=(1, 0, 0)),
    "ambient": Variant(off=("basis_planes",), ambient=True),
}


class AmbientField(HeadField):
    """A head field whose samples are told of the condition one by one.

    What a HeadField has beside it (basis, blend) is not used."""

    def setup(self):
        """The static parts of a HeadField, and the ambient ones."""
        super().setup()
        s = self.size
        kernel, small = nn.initializers.lecun_normal(), nn.initializers.uniform(0.2)
        rows, width = len(self.first), 2 * s.fine_features
        self.told = nn.Dense(s.hidden)
        self.ambient_first = self.param("ambient_first", kernel, (rows, s.hidden))
        self.ambient_second = nn.Dense(s.hidden)
        self.coordinates = nn.Dense(2)
        self.ambient_planes = self.param(
            "ambient_planes",
            lambda key, shape: small(key, shape) - 0.1,
            (1, s.fine, s.fine, width),
        )
        self.ambient_last = self.param("ambient_last", kernel, (width, s.features))

    def frame(self, rig: Rig, condition) -> FrameState:
        """Of a frame with condition [B, C] there is only what the ambient MLP's first
        layer gets of it, [B, hidden], in place of planes."""
        warp = jnp.zeros((len(condition), *rig.warp_rest.shape))
        return FrameState(warp, self.told(condition))

    def displaced(self, rig: Rig, condition, points):
        """By nothing: there is no warp to correct."""
        return jnp.zeros_like(points)

    def __call__(self, rig: Rig, state: FrameState, points):
        """As HeadField, without a way back."""
        return self.rest_face(rig, state, points)

    def rest_face(self, rig: Rig, state: FrameState, points):
        """Density [B, P] and features [B, P, F] at points [B, P, 3]."""

        def read(_, plane):
            *levels, side = plane
            return None, jnp.concatenate([read_planes(x, side) for x in levels], -1)

        flat = sides(rig, points).reshape(3, -1, 2)
        levels = (self.coarse_planes, self.fine_planes)
        _, features = jax.lax.scan(read, None, (*levels, flat))  # [3, B * P, F]
        features = jnp.concatenate(list(features), -1)
        hidden = nn.relu(biased(features, self.ambient_first, state.planes))
        hidden = nn.relu(self.ambient_second(hidden))
        place = 0.5 + 0.5 * jnp.tanh(self.coordinates(hidden))
        # A loop that is one: fused with the read, places are made again and again.
        _, ambient = jax.lax.scan(read, None, (self.ambient_planes, place[None]))
        before = features @ self.first + self.first_bias
        before = before + ambient[0] @ self.ambient_last
        return self._sample(before, points.shape[:2])


def biased(x, kernel, bias):
    """x @ kernel + bias of each frame: [B * P, N] of x [B * P, F] and bias [B, N].

    Flat, and which frame a row is of as more features: the biases are then rows of the
    product, and so are their gradients. Those of a batched product and a broadcast sum
    take three times as long on a CPU."""
    frame = jnp.arange(len(x)) // (len(x) // len(bias))
    frame = jax.nn.one_hot(frame, len(bias))
    return jnp.concatenate([x, frame], -1) @ jnp.concatenate([kernel, bias])


def main(tiny: bool = False):
    """One line a variant, and one of their times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="?", metavar="PORTRAIT")
    parser.add_argument("--size", type=int, default=64, help="px, the synthetic one's")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()
    parallel.enable_compilation_cache()
    with tempfile.TemporaryDirectory() as folder:
        work, size = Path(folder), 32 if tiny else args.size
        data = portraits.prepared(args.portrait, work, size, tiny)
        config = portraits.head_config(data, tiny, args.seed, args.steps)
        recipe = head.build(config, work)
        recipe = recipe._replace(data=parallel.replicate(recipe.data))
        training, held, _ = portrait_parts(config, work)
        sizes = {
            "portrait": Path(args.portrait or "synthetic").name,
            "size": training.camera.size,
            "held_out_frames": len(held.frames),
            "steps": config.train.steps,
            "rays_per_step": config.stage.frames * config.stage.rays,
            "seed": args.seed,
        }
        calls = {}
        for name in args.only:
            of_variant = varied(recipe, config, training.camera, VARIANTS[name])
            told, calls[name] = learn(
                *of_variant, VARIANTS[name].off, config, work / name, training, held
            )
            timing.emit("head_parts", told, variant=name, **sizes)
        told = in_turns(calls, 2 if tiny else 10)
        timing.emit("head_parts_in_turns", told, **sizes)


def varied(recipe: Recipe, config, camera, variant: Variant):
    """(the recipe of a variant, its field where that can't be baked, or None)."""
    one = person.from_arrays(recipe.fixed)
    other = {part: value + 0 * getattr(one.rig, part) for part, value in variant.rig}
    one = one._replace(rig=one.rig._replace(**other))
    size, options = HeadSize(**config.model.to_dict()), config.stage.to_dict()
    if variant.share:
        options["region_share"] = variant.share
    field = AmbientField(size) if variant.ambient else None
    stage = head_stage(camera, size, field=field, **options)
    recipe = recipe._replace(
        stage=held_at_zero(stage, variant.off),
        frozen={"rig": jax.tree.map(jnp.asarray, one.rig)},
        fixed=person.to_arrays(one),
    )
    return recipe, field


def learn(
    recipe: Recipe,
    field: HeadField | None,
    off: tuple[str, ...],
    config,
    work: Path,
    training,
    held,
):
    """(how good one variant becomes and what it costs, {what: (call, of how many)} to
    time it again)."""
    watch = portraits.Watch()
    portraits.train_head(recipe, config, work, watch)
    fields = portraits.head_of(work, training)
    fields = fields._replace(head=zeroed(fields.head, off))
    used = {name: part for name, part in fields.head.items() if name not in off}
    told = {
        "ms_per_step": round(watch.ms_per_step(config.train.val_steps), 2),
        "compile_s": round(watch.compile_s, 2),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(used)),
    }
    calls, heads = renderings(fields, held, field)
    told["render"] = "baked" if field is None else "marched"
    for name, (call, frames) in calls.items():
        ms = timing.measure(call, iterations=5, burn_in=1)["median_ms"]
        told[f"{name}_ms"] = round(ms / frames, 2)
    told |= portraits.head_scores(heads, held)
    return told, calls | {"step": portraits.stepper(recipe, config)}


def in_turns(calls: dict, turns: int) -> dict:
    """{what: {variant: median ms}} of steps and frames, the variants taking turns."""
    told = {}
    for what in ("step", "baked", "march"):
        some = {name: made[what] for name, made in calls.items() if what in made}
        for call, _ in some.values():
            jax.block_until_ready(call())  # compiles
        seconds = timing.take_turns({n: call for n, (call, _) in some.items()}, turns)
        told[f"{what}_ms"] = {
            name: round(1e3 * float(np.median(seconds[name])) / count, 2)
            for name, (_, count) in some.items()
        }
    return told


def held_at_zero(stage: Stage, names: tuple[str, ...]) -> Stage:
    """A stage in which parameters of these names do nothing, and learn nothing."""

    def loss(params, *data):
        return stage.loss(zeroed(params, names), *data)

    return stage._replace(loss=loss)


def zeroed(params: dict, names: tuple[str, ...]) -> dict:
    """Parameters, with those of these names at zero."""
    if unknown := set(names) - set(params):
        raise ValueError(f"no parameters {unknown}, found {sorted(params)}")
    return {
        name: jax.tree.map(jnp.zeros_like, part) if name in names else part
        for name, part in params.items()
    }


def renderings(fields: Fields, held, field: HeadField | None):
    """({way: (call, how many frames it makes)}, held-out heads [T, H, W, 4] uint8).

    Args:
        field: that can't be baked, or None.
    """
    if field is not None:  # a renderer's HeadField has what it has not
        shape = fields.rig.project.shape[1], 3 * math.prod(CORRECTION)
        nothing = {"warp_correction": {"kernel": np.zeros(shape, np.float32)}}
        fields = fields._replace(head=fields.head | nothing)
    renderer = Renderer(fields)
    march = marcher(renderer, field)
    motion, pose = landmarks_to_motion(held.landmarks, held.rest), held.pose
    some = spread_rows(len(motion), TIMED)
    timed = motion[some], Pose(*(part[some] for part in pose))
    calls = {"march": (lambda: list(march(*timed)), len(some))}
    if field is not None:
        return calls, np.stack([np.asarray(to_bytes(x)) for x in march(motion, pose)])
    calls["baked"] = (lambda: list(renderer.dispatch(*timed)), len(some))
    pairs = renderer.frames(motion, pose, layers=True)
    return calls, np.stack([head for _, head in pairs])


if __name__ == "__main__":
    main()
