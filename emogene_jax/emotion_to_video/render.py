"""Head, torso and background -> frames, in one jitted function.

Only the head's window is marched: a square of fixed size (so that shapes are static) set
on the projected head of each frame.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.bake import bake, ready_head, render_head
from emogene_jax.emotion_to_video.camera import over, pixel_place, to_bytes
from emogene_jax.emotion_to_video.head import HeadField, HeadSize
from emogene_jax.emotion_to_video.torso import TorsoField, TorsoSize
from emogene_jax.emotion_to_video.volume import seen_density
from emogene_jax.face.rig import Rig, condition
from emogene_jax.parallel import (
    by_themselves,
    data_parallel,
    device_count,
    mesh,
    on_accelerator,
    own_share,
    replicate,
    shard_batch,
)
from emogene_jax.pose.alignment import aligned
from emogene_jax.pose.code import PoseCode, guessed_torso, pose_code, torso_code
from emogene_jax.rigid import project
from emogene_jax.signals import Camera, Pose


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


class Renderer:
    """Renders a person frame by frame, several at a time, over any background.

    Shapes are fixed once: one compilation whatever the length."""

    def __init__(self, fields: Fields, batch: int = 4):
        """batch: frames per call and device."""
        self.fields, self.batch = fields, batch * device_count()
        self._rig = replicate(Rig(*map(jnp.asarray, fields.rig)))
        grid = seen_density(self._rig, jnp.asarray(fields.density))
        head = HeadField(fields.head_size)
        prepared = _ready(head, fields.head, self._rig, grid)
        self._trained = replicate((prepared, fields.torso))
        self._outline = hull_outline(fields.rig)
        self._side = 0

    def frames(
        self, motion, pose, torso=None, background=None, layers=False, codes=None
    ):
        """Yield frames uint8 [H, W, 3] of motion [T, 68, 3] under T poses.

        Args:
            motion: eye distances; or an iterator over stretches [n, 68, 3] of it, which
                is read as the frames are.
            pose: signals.Pose of the same length.
            torso: [T, 6], its motions (pose.torso); None = those that the head's pose
                lets expect.
            background: uint8 [H, W, 3] in place of the portrait's own.
            layers: yield (frame, head uint8 [H, W, 4] premultiplied RGB and alpha)
                instead.
            codes: [T, CODES] of the poses, where these were picked out of a movement:
                half of a code is the pose smoothed over its neighbours.
        """
        waiting = None
        for batch in self.dispatch(motion, pose, torso, background, codes):
            # The device works on this batch while the host hands on the last.
            if waiting is not None:
                yield from _hand_on(*waiting, layers)
            waiting = batch
        if waiting is not None:
            yield from _hand_on(*waiting, layers)

    def dispatch(self, motion, pose, torso=None, background=None, codes=None):
        """Yield ((frames [N, H, W, 3], heads [N, H, W, 4]) uint8 on the device, how many
        of the N count): `frames` without the way to the host."""
        fields = self.fields
        if codes is None:
            codes = pose_code(fields.code, pose)
        if torso is None:
            torso = guessed_torso(fields.code, codes)
        told = torso_code(fields.code, codes, np.asarray(torso))
        pose = aligned_pose(fields, codes, pose)
        rotation, translation = (np.asarray(part, np.float32) for part in pose)
        corner, side = self._windows(pose)
        if background is None:
            background = fields.background
        behind = replicate(np.asarray(background, np.float32) / 255)
        done = 0
        for stretch in [motion] if hasattr(motion, "shape") else motion:
            conditions = np.asarray(condition(fields.rig, stretch), np.float32)
            for start in range(0, len(stretch), self.batch):
                count = min(self.batch, len(stretch) - start)
                of_stretch = np.arange(start, start + self.batch).clip(
                    max=start + count - 1
                )
                rows = of_stretch + done
                each = (*told, rotation, translation, corner)
                batch = (conditions[of_stretch], *(part[rows] for part in each))
                batch = shard_batch(own_share(batch))
                ready = self._render(side)(self._rig, self._trained, behind, *batch)
                yield ready, count
            done += len(stretch)

    def make_room(self, pose):
        """A window that holds the head under all these poses: with no others to come,
        nothing is compiled a second time."""
        self._windows(
            aligned_pose(self.fields, pose_code(self.fields.code, pose), pose)
        )

    def _windows(self, pose):
        """Corners [T, 2] and the one side of the windows that hold the head."""
        size = self.fields.camera.size
        places = project(
            self._outline, pose.rotation, pose.translation, self.fields.camera
        )[..., ::-1]
        low, high = places.min(1), places.max(1)
        side = int(np.ceil((high - low).max())) + 2
        # In steps, and never less than before, so that few shapes are ever compiled.
        side = self._side = max(self._side, min(size, -(-side // 8) * 8))
        corner = np.round((low + high - side) / 2).astype(np.int32)
        return np.clip(corner, 0, size - side), side

    def _render(self, side):
        return program(self.fields, side)


_ready = jax.jit(ready_head, static_argnums=0)


def program(fields: Fields, side: int):
    """The compiled program that renders a person whose head is in windows of that side:
    (rig, trained, behind, *batch) -> frames, heads (Renderer.dispatch)."""
    sizes = (fields.head_size, fields.torso_size, fields.camera)
    return _program(mesh(), *sizes, fields.samples, fields.torso is not None, side)


@functools.lru_cache(maxsize=32)
def _program(devices, head_size, torso_size, camera, samples, has_torso, side):
    """The compiled program of renderers of these sizes: it holds no person's arrays."""
    del devices  # a program is for those that there were
    head, torso = HeadField(head_size), TorsoField(torso_size)
    size = camera.size
    top = torso_size.top(size)

    def one(rig, trained, behind, condition, *told):
        ready, torso_params = trained
        code, motion, rotation, translation, corner = told
        baked = bake(head, ready, rig, condition)
        window = (camera, corner, side, samples)
        pose = (rotation, translation)
        layer = render_head(head, ready.params, rig, baked, pose, *window)
        layer = jax.lax.dynamic_update_slice(
            jnp.zeros((size, size, 4)), layer, (*corner, 0)
        )
        back = behind
        if has_torso:
            number = jnp.arange(top * size, size * size)[None]
            rows, columns = number // size, number % size
            torso_colour, opacity = torso.apply(
                {"params": torso_params},
                code[None],
                motion[None],
                pixel_place(rows, columns, camera),
                layer[top:].reshape(1, -1, 4),
            )
            below = over(torso_colour[0], opacity[0], behind[top:].reshape(-1, 3))
            back = jnp.concatenate([behind[:top], below.reshape(-1, size, 3)])
        frame = layer[..., :3] + (1 - layer[..., 3:]) * back
        return to_bytes(frame), to_bytes(layer)

    def many(rig, trained, behind, *batch):
        def each(row):
            return one(rig, trained, behind, *row)

        # A CPU is fastest where one frame's samples stay in its cache.
        return jax.vmap(each)(batch) if on_accelerator() else jax.lax.map(each, batch)

    return data_parallel(by_themselves(many, shared=3), donate=(), split=True)


def _hand_on(ready, count, layers):
    made = [np.asarray(x)[:count] for x in (ready if layers else ready[:1])]
    yield from zip(*made, strict=True) if layers else made[0]


def aligned_pose(fields, codes, pose) -> Pose:
    """Poses with codes [T, C], as the head is to be seen under them."""
    return Pose(*aligned(np.asarray(fields.head["pose_correction"]), codes, *pose))


def hull_outline(rig) -> np.ndarray:
    """Points [P, 3] in cm that the visual hull's projection never leaves by far: its
    extremes in 26 directions."""
    z, y, x = np.nonzero(rig.hull)
    steps = (rig.high - rig.low) / (np.array(rig.hull.shape[::-1]) - 1)
    nodes = rig.low + np.stack([x, y, z], -1) * steps
    turns = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), -1).reshape(-1, 3)
    return nodes[np.unique((nodes @ turns.T).argmax(0))]
