"""The torso field: pose codes, and the seam with the head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video.draw import drawable
from emogene_jax.emotion_to_video.torso import TorsoField, TorsoSize, torso_rows
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.pose.code import (
    fit_pose_code,
    guessed_torso,
    pose_code,
    torso_code,
)
from emogene_jax.pose.torso import undone
from emogene_jax.rigid import rotation_exp
from emogene_jax.signals import Pose

MOTIONS = np.random.default_rng(3).normal(0, 0.01, (100, 6))

TINY = TorsoSize(8, 16, 4, 4, 8)


def poses(count=100, turn=0.1, shift=1.0):
    rng = np.random.default_rng(0)
    rotation = rotation_exp(rng.normal(0, turn, (count, 3)))
    return Pose(rotation, rng.normal([0, 0, -60], shift, (count, 3)))


def test_codes_are_zero_at_the_mean_and_of_unit_size():
    pose = poses()
    fitted = fit_pose_code(pose, MOTIONS)
    code = pose_code(fitted, pose)
    assert code.shape == (100, 12) and code.dtype == np.float32
    np.testing.assert_allclose(code[:, :6].mean(0), 0, atol=0.1)
    np.testing.assert_allclose(code[:, :6].std(0), 1, atol=0.1)
    assert code[:, 6:].std() < 0.6 * code[:, :6].std()  # the slow half is smoother
    home = Pose(fitted.rotation[None], fitted.translation[None])
    np.testing.assert_allclose(pose_code(fitted, home), 0, atol=1e-6)


def test_codes_never_leave_what_a_portrait_has_shown():
    fitted = fit_pose_code(poses(), MOTIONS)
    seen = pose_code(fitted, poses())
    wild = pose_code(fitted, poses(turn=1.0, shift=30))
    np.testing.assert_allclose(wild.min(0), seen.min(0), atol=1e-5)
    np.testing.assert_allclose(wild.max(0), seen.max(0), atol=1e-5)


def test_a_still_portrait_does_not_amplify_noise():
    still = poses(turn=1e-5, shift=1e-4)
    assert np.abs(pose_code(fit_pose_code(still, MOTIONS), still)).max() < 0.05


def test_a_torso_that_follows_the_head_is_guessed_from_it():
    pose = poses()
    turns = pose_code(fit_pose_code(pose, MOTIONS), pose) @ np.ones((12, 6)) / 100
    fitted = fit_pose_code(pose, 0.3 + turns + MOTIONS / 100)
    guessed = guessed_torso(fitted, pose_code(fitted, pose))
    assert turns.std() > 0.02
    np.testing.assert_allclose(guessed, 0.3 + turns, atol=0.004)
    # One that goes its own way is not.
    fitted = fit_pose_code(pose, MOTIONS)
    told = guessed_torso(fitted, pose_code(fitted, pose))
    assert (told - MOTIONS).std() > 0.8 * MOTIONS.std()


def test_a_torsos_code_is_the_head_now_and_where_it_is_itself():
    pose = poses()
    fitted = fit_pose_code(pose, MOTIONS)
    codes = pose_code(fitted, pose)
    told, motion = torso_code(fitted, codes, MOTIONS)
    assert told.shape == (100, 12) and told.dtype == np.float32
    np.testing.assert_array_equal(told[:, :6], codes[:, :6])
    np.testing.assert_allclose(told[:, 6:].std(0), 1, atol=0.01)
    far = torso_code(fitted, codes, 100 * MOTIONS)[0][:, 6:]
    np.testing.assert_allclose([far.min(0), far.max(0)], fitted.torso_range, rtol=1e-6)
    # The field's [0, 1] is all that was seen of it, and no more; two places that were one
    # part of the torso are one place of the field.
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])[None].repeat(100, 0)
    places = undone(motion, corners)
    np.testing.assert_allclose(places.min((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(places.max((0, 1)), 1, atol=1e-6)
    low, high = fitted.torso_box
    by_hand = (undone(MOTIONS, corners) - low) / (high - low)
    np.testing.assert_allclose(places, by_hand, atol=1e-6)


def test_a_torso_is_seen_where_it_has_moved(untrained):
    rng = np.random.default_rng(0)
    seen, variables = jax.jit(TorsoField(TINY).apply), {"params": untrained.torso}
    place = jnp.asarray(rng.uniform(0.3, 0.7, (1, 9, 2)), jnp.float32)
    code, head = jnp.zeros((1, 12)), jnp.zeros((1, 9, 4))
    still = seen(variables, code, jnp.zeros((1, 6)), place, head)
    motion = jnp.asarray([[0, 0, 0, 0, 0.1, -0.05]], jnp.float32)
    moved = seen(variables, code, motion, place - motion[:, None, 4:], head)
    for one, other in zip(still, moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rows_reach_from_where_a_torso_was_seen_to_the_neck_under_the_head():
    matte = np.zeros((3, 100, 40), np.uint8)
    matte[0, 70:], matte[1, 62:, 5:9] = 255, 200
    assert torso_rows(matte) == 38 + 12
    assert TINY._replace(rows=50).top(100) == 50 and TINY.top(100) == 0
    matte[2, 3] = 255
    assert torso_rows(matte) == 100
    assert torso_rows(np.zeros_like(matte)) == 1 + 12


def test_colour_and_opacity_of_places(untrained):
    rng = np.random.default_rng(0)
    place = jnp.asarray(rng.uniform(0, 1, (2, 9, 2)), jnp.float32)
    head = jnp.asarray(rng.uniform(0, 1, (2, 9, 4)), jnp.float32)
    code = jnp.asarray(rng.normal(size=(2, 12)), jnp.float32)
    motion = jnp.asarray(rng.normal(0, 0.01, (2, 6)), jnp.float32)
    field, variables = TorsoField(TINY), {"params": untrained.torso}
    colour, opacity = field.apply(variables, code, motion, place, head)
    assert colour.shape == (2, 9, 3) and opacity.shape == (2, 9)
    for t in range(2):
        one = slice(t, t + 1)
        told = code[one], motion[one], place[one], head[one]
        alone = field.apply(variables, *told)
        np.testing.assert_allclose(alone[0][0], colour[t], atol=1e-5)
    # It sees the head and the pose.
    for other in ((code, motion, place, 1 - head), (-code, motion, place, head)):
        changed = field.apply(variables, *other)[0]
        assert np.abs(changed - colour).max() > 1e-3


@pytest.fixture(scope="module")
def resident(filmed, untrained):
    data = drawable(filmed, untrained.rig, untrained.code)
    heads = np.concatenate([filmed.frames, filmed.head_matte[..., None]], -1)
    return data | {"heads": heads}


def test_the_neck_goes_on_under_the_head(filmed, resident):
    """Where the head ends in torso, what it hides above is told the torso's colour."""
    part = torso_stage(filmed.camera, TINY, frames=8, rays=500)
    data = jax.tree.map(jnp.asarray, resident)
    batch = jax.device_get(part.sample(data, jax.random.key(1), jnp.int32(0)))
    under = batch["under_head"]
    assert 0.005 < under.mean() < 0.3
    assert (batch["matte"][under] > 0.5).all()
    times, columns = np.nonzero(resident["neck"])
    rows = resident["neck"][times, columns]
    assert (resident["torso_matte"][times, rows, columns] > 127).all()
    assert (resident["head_matte"][times, rows - 2, columns] > 127).all()
    known = {tuple(pixel) for pixel in resident["frames"][times, rows, columns]}
    told = np.round(batch["neck"][under] * 255).astype(np.uint8)
    assert {tuple(pixel) for pixel in told} <= known


def test_what_the_head_hides_is_not_asked_for(filmed, untrained, resident):
    """Behind an opaque head the torso has no truth: no gradient."""
    part = torso_stage(filmed.camera, TINY, frames=8, rays=64)
    hidden = resident | {
        "heads": np.full_like(resident["heads"], 255),
        "head_matte": np.full_like(resident["head_matte"], 255),
        "neck": np.zeros_like(resident["neck"]),  # it ends nowhere
    }
    batch = jax.jit(part.sample)(
        jax.tree.map(jnp.asarray, hidden), jax.random.key(1), jnp.int32(0)
    )

    def loss(params):
        return part.loss(params, {}, None, batch, jax.random.key(2), 0)[0]

    gradient = jax.device_get(jax.jit(jax.grad(loss))(untrained.torso))
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))
