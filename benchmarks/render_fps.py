"""How many frames a second does an avatar render, every frame another face and pose?

    python benchmarks/render_fps.py [AVATAR SPEECH] [--sizes 128 256 512 1024]
                                    [--batches 1 8] [--seconds 10]

counting: `device` waits for the frames where they are made; `host` for uint8 frames on
the host; `video` for a whole mp4, encoded on its own thread; `latency` is of single
frames on the host (its p95 is the delay that a live conversation feels).

An avatar speaks, happily, so many seconds of a speech. Without one, an untrained head of
each size has random faces: what a frame costs depends on what was learned only by how
many pixels may show a head, and those are then all of an ellipsoid.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing

from emogene_jax import parallel
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.emotion_to_video.torso import TorsoField, TorsoSize
from emogene_jax.face import rig as rigs
from emogene_jax.media.video import write_video
from emogene_jax.motion_to_emotion.expressions import emotion_displacement
from emogene_jax.pose.code import CODES, fit_pose_code
from emogene_jax.pose.torso import MOTION
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import EMOTIONS, FPS, Pose, motion_to_landmarks
from emogene_jax.synthetic import motion as synthetic_motion
from emogene_jax.synthetic import video as synthetic_video

COUNTINGS = ("device", "host", "video")
FRAMES = {1024: 8}  # of an untrained head; else 32


def main(tiny=False):
    """One line a size, a batch and a way of counting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("person", nargs="*", metavar="AVATAR SPEECH")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    if len(args.person) not in (0, 2):
        parser.error("expected AVATAR SPEECH, or neither")
    parallel.enable_compilation_cache()
    if args.person:
        told = {"avatar": Path(args.person[0]).name}
        people = [spoken(*args.person, round(FPS * args.seconds))]
    else:
        told = {"avatar": "untrained"}
        sizes = (64,) if tiny else args.sizes
        people = (
            untrained(size, 8 if tiny else FRAMES.get(size, 32)) for size in sizes
        )
    for fields, motion, pose in people:
        for batch in (1,) if tiny else args.batches:
            renderer = Renderer(fields, batch)
            for counting in COUNTINGS:
                _time(counting, renderer, motion, pose, tiny, told)
        one = motion[:1], Pose(*(part[:1] for part in pose))
        _time("latency", Renderer(fields, 1), *one, tiny, told)


def _time(counting, renderer, motion, pose, tiny, told):
    """One line of one way of counting."""

    def call():
        if counting == "device":
            return [ready for ready, _ in renderer.dispatch(motion, pose)]
        frames = renderer.frames(motion, pose)
        if counting != "video":
            return list(frames)
        with tempfile.TemporaryDirectory() as folder:
            return write_video(Path(folder) / "out.mp4", frames)

    # A speech is hundreds of frames, and each of them is waited for.
    result = timing.measure(call, 2 if tiny else 3 if len(motion) > 100 else 5, 1)
    timing.emit(
        "render_fps",
        result,
        counting=counting,
        size=renderer.fields.camera.size,
        batch=renderer.batch,
        frames=len(motion),
        samples=renderer.fields.samples,
        fps=round(1e3 * len(motion) / result["median_ms"], 2),
        **told,
    )


def spoken(folder: str, speech: str, frames: int):
    """(Fields, motion [T, 68, 3], Pose) of an avatar that says a speech happily."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.audio.load import load_audio
    from emogene_jax.avatar.file import load_avatar
    from emogene_jax.pipeline import perform

    person = load_avatar(Path(folder))
    features = audio_features(
        load_audio(speech)[: frames * 640], person.info["content"]
    )
    acted = perform(person, features, [(0.0, "happy", 1.0)], 0)
    return person.fields, acted.motion, acted.pose


def random_faces(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Motion [T, 68, 3]: every frame another mixture of all emotions."""
    mixed = rng.normal(0, 0.3, (frames, len(EMOTIONS), 1, 1))
    emotions = np.stack([emotion_displacement(name) for name in EMOTIONS])
    return (mixed * emotions).sum(1).astype(np.float32)


def untrained(size: int, frames: int, variant: str | None = None):
    """(Fields, motion [T, 68, 3], Pose) of the synthetic character's head, of the configs'
    variant "gpu" or "cpu"; None = as the machine is."""
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
    variant = variant or ("gpu" if parallel.on_accelerator() else "cpu")
    config, torso_config = (
        stage_config(name, f"{variant},size={size}") for name in ("head", "torso")
    )
    head_size = HeadSize(**config.model.to_dict())
    torso_size = TorsoSize(**torso_config.model.to_dict())
    code = fit_pose_code(pose, np.zeros((len(pose.rotation), MOTION)))
    head = head_stage(camera, head_size, **config.stage.to_dict())
    conditions = jnp.zeros((1, rig.project.shape[1]))
    params, aux = jax.jit(head.init)(jax.random.key(0), {"condition": conditions})
    blank = jnp.zeros((1, CODES)), jnp.zeros((1, MOTION))
    blank = *blank, jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 4))
    torso = jax.jit(TorsoField(torso_size).init)(jax.random.key(1), *blank)["params"]
    fields = Fields(
        rig,
        params,
        aux["density"],
        torso,
        code,
        camera,
        np.zeros((size, size, 3), np.uint8),
        head_size,
        torso_size,
        config.shown_samples,
    )
    return fields, motion, pose


if __name__ == "__main__":
    main()
