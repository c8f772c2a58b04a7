"""Corrections of poses and of the warp: what they do, and whether their gradients, which
are read off the picture, say so."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emogene_jax.emotion_to_video.draw import drawable
from emogene_jax.emotion_to_video.head import HeadField
from emogene_jax.face.rig import upper_conditions
from emogene_jax.pose.alignment import UNIT, aligned, flow
from emogene_jax.pose.code import pose_code
from emogene_jax.rigid import project, rotation_exp
from emogene_jax.signals import Camera

CAMERA = Camera(150.0, 16.0, 16.0, 32)


def scene(seed=0):
    """(correction [12, 6], code [2, 12], points [2, 5, 3] cm, tracked pose)"""
    rng = np.random.default_rng(seed)
    correction, code = rng.normal(0, 0.2, (12, 6)), rng.normal(size=(2, 12))
    points = rng.normal(0, 5, (2, 5, 3))
    pose = rotation_exp(rng.normal(0, 0.2, (2, 3))), rng.normal(0, 3, (2, 3))
    return correction, code, points, (pose[0], pose[1] - [0, 0, 80])


def test_no_correction_leaves_poses_alone():
    _, code, _, pose = scene()
    for mine, its in zip(aligned(np.zeros((12, 6)), code, *pose), pose, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-12)


def test_a_correction_is_a_turn_and_a_shift_before_the_pose():
    """The field is asked where correction says: exp(turn) p + shift, of p in the head
    space of the tracked pose."""
    correction, code, points, pose = scene()
    rotation, translation = aligned(correction, code, *pose)
    camera = points @ pose[0].swapaxes(-1, -2) + pose[1][:, None]  # what is seen there
    asked = (camera - translation[:, None]) @ rotation
    move = UNIT * (code @ correction)
    turned = points @ rotation_exp(move[:, :3]).swapaxes(-1, -2)
    np.testing.assert_allclose(asked, turned + move[:, None, 3:], atol=1e-9)
    on_device = aligned(jnp.asarray(correction), code, *pose, jnp)
    np.testing.assert_allclose(on_device[1], translation, rtol=1e-5)


def test_flow_is_how_the_picture_moves():
    correction, code, points, pose = scene()
    step = 1e-3 * np.random.default_rng(1).normal(size=correction.shape)
    at = [
        project(points, *aligned(correction + sign * step, code, *pose), CAMERA)
        for sign in (1, -1)
    ]
    still = np.zeros_like(points)
    seen = aligned(correction, code, *pose)

    def moved(correction):
        return flow(correction, code, still, points, seen, CAMERA)

    value, slope = jax.jvp(moved, (jnp.asarray(correction),), (jnp.asarray(step),))
    assert not np.any(value)
    # To first order: what is left is how far turns do not commute.
    np.testing.assert_allclose(slope, (at[0] - at[1]) / 2, atol=0.1 * np.ptp(slope))
    direct = project(points + 1e-3, *seen, CAMERA) - project(points, *seen, CAMERA)
    _, slope = jax.jvp(
        lambda by: flow(correction, code, by, points, seen, CAMERA),
        (jnp.asarray(still),),
        (jnp.full_like(still, 1e-3),),
    )
    np.testing.assert_allclose(slope, direct, atol=1e-3 * np.abs(direct).max())


def test_the_warp_is_corrected_for_the_lower_half_alone(untrained):
    """A blink must not learn to move the lips."""
    rig = jax.tree.map(jnp.asarray, untrained.rig)
    field, upper = HeadField(untrained.head_size), upper_conditions(untrained.rig)
    kernel = untrained.head["warp_correction"]["kernel"]
    noise = np.random.default_rng(0).normal(size=kernel.shape)
    params = untrained.head | {"warp_correction": {"kernel": jnp.asarray(noise)}}
    points = jnp.asarray(untrained.rig.warp_low + untrained.rig.warp_high) / 2

    def displaced(condition):
        told = rig, jnp.asarray(condition, jnp.float32)[None], points[None, None]
        return np.asarray(field.apply({"params": params}, *told, method="displaced"))

    assert upper.any() and not upper.all()
    assert not displaced(upper).any()
    assert np.abs(displaced(~upper)).max() > 1e-3


def test_poses_that_were_tracked_wrongly_are_put_right(filmed, untrained, learn_head):
    """Poses a little off, in proportion to the pose: the correction that is learned takes
    most of the error away."""
    rng = np.random.default_rng(0)
    wrong = np.zeros((12, 6))
    wrong[:6, 3:5] = rng.normal(0, 1.0, (6, 2))
    code = pose_code(untrained.code, filmed.pose)
    tracked = type(filmed.pose)(*aligned(wrong, code, *filmed.pose))
    data = drawable(filmed, untrained.rig, untrained.code)
    data |= {
        "rotation": tracked.rotation.astype(np.float32),
        "translation": tracked.translation.astype(np.float32),
    }
    params, _, _ = learn_head(data, optax.adam(2e-2), steps=200)
    found = aligned(np.asarray(params["pose_correction"]), code, *tracked)
    centre = np.zeros((1, 3))

    def apart(rotation, translation):
        true = project(centre, *filmed.pose, filmed.camera)
        moved = project(centre, rotation, translation, filmed.camera) - true
        return np.sqrt(np.square(moved - moved.mean(0)).sum(-1).mean())

    assert apart(*found) < 0.5 * apart(*tracked)
