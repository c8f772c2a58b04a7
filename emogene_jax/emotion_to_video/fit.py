"""Learning one person's picture: rig, head field and torso field from a portrait."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.data.schema import Portrait
from emogene_jax.emotion_to_video import stage as stages
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotion_to_video.rig import (
    Rig,
    condition,
    fit_rig,
    head_box,
    upper_conditions,
    visual_hull,
)
from emogene_jax.emotion_to_video.stream import RESIDENT_BYTES, fed
from emogene_jax.emotion_to_video.torso import (
    CODES,
    PoseCode,
    TorsoSize,
    fit_pose_code,
    pose_code,
    torso_rows,
)
from emogene_jax.signals import NUM_LANDMARKS, Camera, Pose, landmarks_to_motion
from emogene_jax.train.loop import TrainResult, train
from emogene_jax.train.state import Optimizer

HULL_FRAMES = 60  # frames that vote on the visual hull
TORSO_FRAMES = (
    500  # that a torso learns from: it shows less than a face, and moves less
)


class Fields(NamedTuple):
    """Everything that renders one person."""

    rig: Rig
    head: Any  # parameters
    density: Any  # [D, H, W] the head's occupancy grid
    torso: Any  # parameters; None = not there yet: the head before the background
    code: PoseCode
    camera: Camera
    background: np.ndarray  # [H, W, 3] uint8
    head_size: HeadSize
    torso_size: TorsoSize
    samples: int  # per ray


def arrays(fields: Fields) -> dict:
    """All of it that is learned or measured: a tree of arrays."""
    return {
        "rig": fields.rig._asdict(),
        "head": fields.head,
        "density": fields.density,
        "torso": fields.torso,
        "code": fields.code._asdict(),
        "background": fields.background,
    }


def layout(fields: Fields) -> dict:
    """The shapes that `arrays` has for this camera, these sizes and this rig's grid."""

    def shape(*dims):
        return jax.ShapeDtypeStruct(dims, np.float32)

    rig, size = fields.rig, fields.camera.size
    count, grid = rig.project.shape[1], rig.warp_rest.shape[:3]
    each, corner, codes = shape(count), shape(3), shape(CODES)
    linear = (shape(3 * NUM_LANDMARKS, count), *[each] * 3, shape(count, *grid, 3))
    planes = shape(*[stages.HULL] * 3), shape(2, 2, *[stages.HULL] * 2)
    boxes = shape(*grid, 3), *[corner] * 4, *planes
    batch = {"condition": shape(1, count), "code": shape(1, CODES)}
    made = [
        jax.eval_shape(stage.init, jax.random.key(0), batch)
        for stage in (
            stages.head_stage(fields.camera, fields.head_size),
            stages.torso_stage(fields.camera, fields.torso_size),
        )
    ]
    return {
        "rig": Rig(*linear, *boxes)._asdict(),
        "head": made[0][0],
        "density": made[0][1]["density"],
        "torso": made[1][0],
        "code": PoseCode(shape(3, 3), corner, shape(6), codes, codes)._asdict(),
        "background": shape(size, size, 3),
    }


class Plan(NamedTuple):
    """How long and how large to train, for one size of picture and one machine."""

    head_size: HeadSize
    torso_size: TorsoSize
    head_steps: int
    torso_steps: int
    frames: int = 8  # looked at per step
    head_rays: int = 256  # per frame
    torso_rays: int = 1024
    samples: int = 16  # of a ray that the head learns from
    shown_samples: int = 16  # of a ray that it is shown by, from then on
    ckpt_steps: int = 250
    resident_bytes: int = RESIDENT_BYTES  # of frames; more are streamed from the host


def person_rig(portrait: Portrait, varied: Portrait | None = None) -> Rig:
    """The rig of a portrait's training frames, and of `varied` ones (augmented, that show
    what was never filmed)."""
    some = thinned(portrait, spread_rows(len(portrait.frames), HULL_FRAMES))
    seen = (some.head_matte, some.pose, some.camera)
    low, high = head_box(some.rest_mesh, *seen)
    hull = visual_hull(*seen, low, high)
    both = [portrait] if varied is None else [portrait, varied]
    landmarks = np.concatenate([part.landmarks for part in both])
    return fit_rig(
        landmarks_to_motion(landmarks, portrait.rest),
        np.concatenate([part.mesh for part in both]),
        portrait.rest_mesh,
        portrait.rest,
        low,
        high,
        hull,
    )


def spread_rows(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def thinned(portrait: Portrait, rows: np.ndarray) -> Portrait:
    """Some frames of a portrait: the picture part of it."""
    names = ("frames", "head_matte", "torso_matte", "mesh", "landmarks")
    return portrait._replace(
        pose=Pose(*(part[rows] for part in portrait.pose)),
        **{name: getattr(portrait, name)[rows] for name in names},
    )


def planned_for(portrait: Portrait, plan: Plan) -> Plan:
    """The plan, with a torso in those rows alone that may show this portrait's."""
    rows = torso_rows(portrait.torso_matte)
    return plan._replace(torso_size=plan.torso_size._replace(rows=rows))


def fit_fields(
    portrait: Portrait,
    plan: Plan,
    workdir: Path,
    varied: Portrait | None = None,
    seed: int = 0,
) -> tuple[Fields, dict[str, TrainResult]]:
    """Train head and torso on all of a portrait's frames (hand in the training part).

    Args:
        portrait: what was filmed; varied: augmented frames, for the head alone.
        plan: sizes and steps.
        workdir: checkpoints; a killed training goes on from there.
    """
    rig = person_rig(portrait, varied)
    code = fit_pose_code(portrait.pose)
    plan = planned_for(portrait, plan)
    filmed = resident(portrait, rig, code)
    shown = [filmed] if varied is None else [filmed, resident(varied, rig, code)]
    told = head_training(portrait.camera, plan, shown, rig, seed)
    head = train(**told, workdir=Path(workdir) / "head")
    fields = Fields(
        rig,
        head.ema_params,
        head.aux["density"],
        None,
        code,
        portrait.camera,
        portrait.background,
        plan.head_size,
        plan.torso_size,
        plan.shown_samples,
    )
    torso = _train_torso(portrait, plan, fields, filmed, Path(workdir) / "torso", seed)
    fields = fields._replace(torso=torso.ema_params)
    return fields, {"head": head, "torso": torso}


def rendered_heads(fields: Fields, portrait: Portrait) -> np.ndarray:
    """The head alone in every frame, [T, H, W, 4] uint8, as the torso is to see it."""
    motion = landmarks_to_motion(portrait.landmarks, portrait.rest)
    pairs = Renderer(fields).frames(motion, portrait.pose, layers=True)
    return np.stack([head for _, head in pairs])


def head_training(camera, plan: Plan, shown: list, rig: Rig, seed: int, **of_stage):
    """What `train` is told of a head, but for the work directory: a dict.

    Args:
        shown: what `resident` gives, of filmed and augmented frames.
        of_stage: more for stage.head_stage.
    """
    sizes = (plan.head_size, plan.frames, plan.head_rays, plan.samples)
    stage = stages.head_stage(camera, *sizes, **of_stage)
    stage, source = fed(stage, shown, plan.frames, seed, plan.resident_bytes)
    return {
        "stage": stage,
        "steps": plan.head_steps,
        "batch_source": source,
        "frozen": {"rig": Rig(*map(jnp.asarray, rig))},
        "optimizer": HEAD_OPTIMIZER,
        "ema": 0.99,
        "seed": seed,
        "ckpt_steps": plan.ckpt_steps,
        "val_steps": plan.head_steps,
        "scan_steps": 25,
        "label": "head",
    }


def _train_torso(portrait, plan: Plan, fields: Fields, filmed: dict, workdir, seed):
    # So few that they are always resident: 1.1 GiB at 512 px, rendered heads and all.
    some = spread_rows(len(portrait.frames), TORSO_FRAMES)
    behind = {
        name: value if name in ("background", "upper") else value[some]
        for name, value in filmed.items()
        if name != "turns"
    }
    behind |= {
        "heads": rendered_heads(fields, thinned(portrait, some)),
        "turns": np.arange(len(some), dtype=np.int32),
    }
    return train(
        stages.torso_stage(
            portrait.camera, plan.torso_size, plan.frames, plan.torso_rays
        ),
        workdir=workdir,
        steps=plan.torso_steps,
        batch_source=behind,
        optimizer=TORSO_OPTIMIZER,
        ema=0.99,
        seed=seed,
        ckpt_steps=4 * plan.ckpt_steps,
        val_steps=plan.torso_steps,
        scan_steps=25,
        label="torso",
    )


# Without the clip a learning rate that is fast enough now and then empties the field.
HEAD_OPTIMIZER = Optimizer(
    learning_rate=2e-3,
    warmup_steps=50,
    final_fraction=0.05,
    clip=0.1,
    eps=1e-12,
    multipliers={"planes": 5.0},
)
TORSO_OPTIMIZER = HEAD_OPTIMIZER._replace(
    learning_rate=4e-3, multipliers={"planes|warp": 5.0}
)


def resident(portrait: Portrait, rig: Rig, code: PoseCode) -> dict:
    """A portrait's frames as the stages of head and torso draw from them."""
    motion = landmarks_to_motion(portrait.landmarks, portrait.rest)
    return stages.resident_frames(
        portrait,
        condition(rig, motion),
        upper_conditions(rig),
        pose_code(code, portrait.pose),
    )
