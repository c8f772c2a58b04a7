"""Frames without baking: by the march that training differentiates, or densely.

What the shorter way of rendering is measured against, and the only way for a field that
can't be baked. The head alone, one frame after the other.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.head import HeadField, step_back
from emogene_jax.emotion_to_video.render import Renderer, aligned_pose
from emogene_jax.emotion_to_video.volume import (
    box_interval,
    gather,
    march,
    read_box,
    seen_density,
)
from emogene_jax.face.rig import Rig, condition
from emogene_jax.parallel import on_accelerator
from emogene_jax.pose.code import pose_code


def marcher(
    renderer: Renderer, field: HeadField | None = None, dense: int = 0
) -> Callable:
    """A function of motion [T, 68, 3] and T poses, that yields layers [H, W, 4] on the
    device, premultiplied colour and alpha, for the fields of a Renderer.

    Args:
        field: in place of their HeadField.
        dense: 0 = volume.march, with the fields' own number of samples and the occupancy
            grid, of the window that the renderer looks at; else dense_march with so many
            samples, of all of the picture.
    """
    fields = renderer.fields
    field = field or HeadField(fields.head_size)
    rig = Rig(*map(jnp.asarray, fields.rig))
    grid = seen_density(rig, jnp.asarray(fields.density))
    params = jax.tree.map(jnp.asarray, fields.head)
    camera, size, samples = fields.camera, fields.camera.size, dense or fields.samples

    @partial(jax.jit, static_argnums=4)
    def layer(of_frame, rotation, translation, corner, side):
        params, rig, grid, condition = of_frame
        state = field.apply({"params": params}, rig, condition[None], method="frame")

        def some(places):
            pose = rotation[None], translation[None]
            view = pixel_rays(*places.T[:, None], *pose, camera)
            if dense:
                colour, alpha = dense_march(field, params, rig, state, view, samples)
            else:
                told = (rig, grid, state, view, samples)
                colour, alpha, _ = march(field, params, *told)
            return jnp.concatenate([colour, alpha[..., None]], -1)[0]

        places = jnp.mgrid[:side, :side].reshape(2, -1).T + corner
        rays = min(len(places), rays_at_once(samples))
        padded = jnp.pad(places, ((0, -len(places) % rays), (0, 0)))
        made = jax.lax.map(some, padded.reshape(-1, rays, 2)).reshape(-1, 4)
        window = made[: len(places)].reshape(side, side, 4)
        whole = jnp.zeros((size, size, 4))
        return jax.lax.dynamic_update_slice(whole, window, (*corner, 0))

    def layers(motion, pose):
        conditions = np.asarray(condition(fields.rig, motion), np.float32)
        pose = aligned_pose(fields, pose_code(fields.code, pose), pose)
        corners, side = renderer._windows(pose)
        if dense:
            corners, side = np.zeros_like(corners), size
        for row in zip(conditions, *pose, corners, strict=True):
            told = (np.asarray(value, np.float32) for value in row[1:3])
            yield layer((params, rig, grid, row[0]), *told, row[3], side)

    return layers


def rays_at_once(samples: int) -> int:
    """As many as fill a CPU's cache or a GPU's cores."""
    return max(1, (1 << 22 if on_accelerator() else 1 << 15) // samples)


def dense_march(field, params, rig, state, rays, samples):
    """Equal steps from one end of the head box to the other, each asked of the field.
    Colour [B, R, 3] premultiplied and alpha [B, R] of rays [B, R, 3].

    No occupancy grid; only outside of the hull, of which a field learns nothing, there
    is nothing."""
    near, far = box_interval(rays, rig.low, rig.high)
    edges = near[..., None] + (far - near)[..., None] * jnp.linspace(0, 1, samples + 1)

    def ask(points):
        points = step_back(rig, state, points)
        told = (rig, state, points)
        found = field.apply({"params": params}, *told, method="rest_face")
        density, features = found
        return density * read_box(rig, rig.hull, points), features

    seen, alpha, _ = gather(rays, edges, ask)
    view = (seen, alpha, rays.directions)
    colour = field.apply({"params": params}, *view, method="colour")
    return colour, jnp.where(far > near, alpha, 0.0)
