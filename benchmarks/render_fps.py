"""How many frames a second does an avatar render, every frame another face and pose?

Device work alone, with the way to the host, and one frame at a time (its p95 is the
latency that a live conversation feels). The avatar is untrained: what a frame costs does
not depend on what was learned.
"""

import jax
import jax.numpy as jnp
import numpy as np
import timing

from emogene_jax.create import lesson
from emogene_jax.data import synthetic_motion, synthetic_video
from emogene_jax.emotion_to_video import rig as rigs
from emogene_jax.emotion_to_video import stage
from emogene_jax.emotion_to_video.fit import Fields
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.emotion_to_video.torso import TorsoField, fit_pose_code
from emogene_jax.motion_to_emotion.expressions import emotion_displacement
from emogene_jax.signals import EMOTIONS, Pose, motion_to_landmarks


def main(tiny=False):
    """One line a size and a way of counting."""
    frames = 8 if tiny else 32
    for size in (64,) if tiny else (128, 256, 512):
        fields, motion, pose = untrained(size, frames)
        one = (motion[:1], Pose(*(part[:1] for part in pose)))
        for batch in (1,) if tiny else (1, 8):
            renderer = Renderer(fields, batch)
            _time("device", renderer, motion, pose, tiny)
            _time("host", renderer, motion, pose, tiny)
            if batch == 1:
                _time("latency", renderer, *one, tiny)


def _time(counting, renderer, motion, pose, tiny):
    """One line: frames per second on the device, on the host, or of single frames."""

    def call():
        if counting == "device":
            return [ready for ready, _ in renderer.dispatch(motion, pose)]
        return list(renderer.frames(motion, pose))

    result = timing.measure(call, 2 if tiny else 5, 1)
    timing.emit(
        "render_fps",
        result,
        counting=counting,
        size=renderer.fields.camera.size,
        batch=renderer.batch,
        frames=len(motion),
        samples=renderer.fields.samples,
        fps=round(1e3 * len(motion) / result["median_ms"], 2),
    )


def random_faces(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Motion [T, 68, 3]: every frame another mixture of all emotions."""
    mixed = rng.normal(0, 0.3, (frames, len(EMOTIONS), 1, 1))
    emotions = np.stack([emotion_displacement(name) for name in EMOTIONS])
    return (mixed * emotions).sum(1).astype(np.float32)


def untrained(size: int, frames: int):
    """(Fields, motion [T, 68, 3], Pose) of the synthetic character's head."""
    rng = np.random.default_rng(0)
    rest = synthetic_motion.identity(0)
    pose = synthetic_motion.head_motion(frames, rng)
    camera = synthetic_video.camera(size)
    motion = random_faces(frames, rng)
    low, high = rest.min(0) - [2, 2, 9], rest.max(0) + [2, 5, 1]
    nodes = np.stack(np.meshgrid(*[np.linspace(-1, 1, rigs.HULL)] * 3), -1)
    hull = (nodes**2).sum(-1) < 1  # an ellipsoid fills the box
    mesh = motion_to_landmarks(motion, rest)
    rig = rigs.fit_rig(motion, mesh, rest, rest, low, high, hull)
    plan = lesson(size, "cpu" if jax.default_backend() == "cpu" else "gpu").fields
    code = fit_pose_code(pose)
    head = stage.head_stage(camera, plan.head_size)
    conditions = jnp.zeros((1, rig.project.shape[1]))
    params, aux = head.init(jax.random.key(0), {"condition": conditions})
    blank = (jnp.zeros((1, 12)), jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 4)))
    torso = TorsoField(plan.torso_size).init(jax.random.key(1), *blank)["params"]
    fields = Fields(
        rig,
        params,
        aux["density"],
        torso,
        code,
        camera,
        np.zeros((size, size, 3), np.uint8),
        plan.head_size,
        plan.torso_size,
        plan.samples,
    )
    return fields, motion, pose


if __name__ == "__main__":
    main()
