"""The head field: frames are apart, its halves are apart, it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video import draw
from emogene_jax.emotion_to_video.head import (
    FrameState,
    HeadField,
    HeadSize,
    step_back,
)
from emogene_jax.face.rig import Rig, condition, upper_conditions
from emogene_jax.pose.code import fit_pose_code
from emogene_jax.recipes.run import stage_config
from emogene_jax.signals import landmarks_to_motion
from emogene_jax.train.state import Optimizer, make_optimizer

TINY = HeadSize(8, 4, 2, 4, 2, 8, 16)


@pytest.fixture(scope="module")
def device_rig(untrained):
    return Rig(*map(jnp.asarray, untrained.rig))


@pytest.fixture(scope="module")
def conditions(filmed, untrained):
    motion = landmarks_to_motion(filmed.landmarks, filmed.rest)
    some = np.linspace(0, len(motion) - 1, 3).astype(int)
    return jnp.asarray(condition(untrained.rig, motion[some]))


def samples(rig, frames, count=20):
    """Points [B, P, 3], each on a ray of its own, and directions [B, P, 3]."""
    rng = np.random.default_rng(0)
    points = rng.uniform(rig.low, rig.high, (frames, count, 3))
    directions = rng.normal([0, 0, -1], 0.2, (frames, count, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return jnp.asarray(points, jnp.float32), jnp.asarray(directions, jnp.float32)


def seen_through(field, rig, condition, points, directions):
    """Density [B, P] and premultiplied colour [B, P, 3] of a millimetre at points."""
    state = field.frame(rig, condition)
    density, features = field(rig, state, points)
    alpha = -jnp.expm1(-0.1 * density)
    seen = alpha[..., None] * features
    return density, field.colour(seen, alpha, directions)


def test_frames_of_a_batch_are_the_frames_one_by_one(untrained, device_rig, conditions):
    field = HeadField(untrained.head_size)
    points, directions = samples(untrained.rig, len(conditions))

    @jax.jit
    def ask(*inputs):
        variables = {"params": untrained.head}
        return field.apply(variables, device_rig, *inputs, method=seen_through)

    density, colour = ask(conditions, points, directions)
    assert density.shape == (3, 20) and colour.shape == (3, 20, 3)
    for t in range(3):
        alone = ask(*(part[t : t + 1] for part in (conditions, points, directions)))
        np.testing.assert_allclose(alone[0][0], density[t], rtol=1e-4)
        np.testing.assert_allclose(alone[1][0], colour[t], atol=1e-5)
    # The condition matters, and so does the view.
    other, _ = ask(conditions[::-1], points, directions)
    assert np.abs(other - density).max() > 1e-3
    _, turned = ask(conditions, points, directions[::-1])
    assert np.abs(turned - colour).max() > 1e-4


def test_density_is_never_negative_and_colour_is_a_colour(
    untrained, device_rig, conditions
):
    points, directions = samples(untrained.rig, len(conditions))
    density, colour = HeadField(untrained.head_size).apply(
        {"params": untrained.head},
        device_rig,
        conditions,
        100 * points,
        directions,
        method=seen_through,
    )
    assert (density >= 0).all() and np.isfinite(density).all()
    assert (colour >= 0).all() and (colour <= 1).all()


def test_stepping_back_undoes_the_warp_inside_its_box(
    filmed, untrained, device_rig, conditions
):
    field = HeadField(untrained.head_size)
    state = field.apply(
        {"params": untrained.head}, device_rig, conditions, method="frame"
    )
    motion = landmarks_to_motion(filmed.landmarks, filmed.rest)
    some = np.linspace(0, len(motion) - 1, 3).astype(int)
    moved = jnp.asarray(filmed.mesh[some])
    before = np.linalg.norm(moved - filmed.rest_mesh, axis=-1)
    after = np.linalg.norm(
        step_back(device_rig, state, moved) - filmed.rest_mesh, axis=-1
    )
    assert after.mean() < 0.6 * before.mean()
    far = jnp.full((3, 1, 3), 50.0)
    np.testing.assert_array_equal(step_back(device_rig, state, far), far)


def test_each_half_of_the_face_changes_itself_alone(
    filmed, untrained, device_rig, conditions
):
    """Wherever a place of the rest face is, and whatever the basis planes hold."""
    field = HeadField(untrained.head_size)
    params = untrained.head | {"basis_planes": 1 + untrained.head["basis_planes"]}
    hair = [0.0, untrained.rig.high[1], untrained.rig.low[2]]
    points = np.stack([*filmed.rest[[37, 66]], hair]).astype(np.float32)
    upper = upper_conditions(untrained.rig)

    def features(condition):
        told = {"params": params}, device_rig
        state = field.apply(*told, condition[None], method="frame")
        places = jnp.asarray(points[None])
        return field.apply(*told, state, places, method="rest_face")[1][0]

    at_rest = features(jnp.zeros_like(conditions[0]))
    for half, changed in ((upper, 0), (~upper, 1)):
        apart = np.abs(features(jnp.where(half, 2.0, 0.0)) - at_rest).max(-1)
        # Nodes of planes this small are centimetres apart: a little gets across.
        assert np.delete(apart, changed).max() < 0.02 * apart[changed]


def test_what_frames_share_is_what_each_would_make(untrained, device_rig, conditions):
    field = HeadField(TINY)
    learned = jax.random.normal(
        jax.random.key(0), untrained.head["warp_correction"]["kernel"].shape
    )
    params = untrained.head | {"warp_correction": {"kernel": learned}}
    told = {"params": params}, device_rig, conditions
    still = field.apply(*told[:2], method="still")
    shared = field.apply(*told, still, method="frame")
    alone = field.apply(*told, method="frame")
    corrected = alone.warp[..., :3] - device_rig.warp_rest
    assert np.abs(corrected).max() > 0.1
    np.testing.assert_allclose(shared.warp, alone.warp, atol=1e-5)
    np.testing.assert_array_equal(shared.planes, alone.planes)


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("float16", 5e-3)])
def test_a_baked_frame_is_that_frame(
    untrained, device_rig, conditions, precision, most
):
    field, variables = HeadField(TINY), {"params": untrained.head}
    state = field.apply(variables, device_rig, conditions[:1], method="frame")
    points, _ = samples(untrained.rig, 1, 200)
    true = field.apply(variables, device_rig, state, points, method="rest_face")
    still = field.apply(variables, device_rig, precision, method="still")
    planes = field.apply(variables, state, still, method="bake")
    assert [plane.shape for plane in planes] == [
        (TINY.fine, TINY.fine, TINY.features)
    ] * 3
    found = field.apply(variables, device_rig, planes, points, method="baked_face")
    for mine, its in zip(found, true, strict=True):
        np.testing.assert_allclose(mine, its, atol=most * np.abs(its).max())


@pytest.fixture(scope="module")
def resident(filmed, untrained):
    return draw.drawable(
        filmed, untrained.rig, fit_pose_code(filmed.pose, filmed.torso)
    )


def test_it_learns_a_person_within_sixty_steps(learn_head, resident):
    rates = stage_config("head").optimizer.to_dict()
    transform = make_optimizer(
        Optimizer(**(rates | {"learning_rate": 1e-2, "warmup_steps": 5})), 60
    )
    _, density, losses = learn_head(resident, transform, steps=60)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
    # Every slice of the grid was looked at, and empty space was found.
    assert (np.abs(density - 2.0).max((1, 2)) > 0).all()


def test_rare_faces_are_drawn_more_often():
    usual, rare = np.ones((20, 4)), np.full((2, 4), 3.0)
    turns = draw.frame_turns(np.concatenate([usual, rare]))
    count = np.bincount(turns)
    assert (count[:20] == 1).all() and (count[20:] == 4).all()


def test_rays_are_drawn_where_they_should_be(resident, filmed):
    data = jax.tree.map(jnp.asarray, resident)
    batch = draw.draw_rays(data, jax.random.key(0), np.arange(8) % 4, 40)
    rows, columns = np.asarray(batch["rows"]), np.asarray(batch["columns"])
    assert rows.shape == (8, 40)
    for value in (rows, columns):
        assert value.min() >= 0 and value.max() < filmed.camera.size
    heads, mouths, eyes, pictures = (rows[n::4] for n in range(4))
    assert eyes.mean() < mouths.mean() - 2  # eyes are above the mouth
    assert np.ptp(mouths) < np.ptp(heads) < np.ptp(pictures)
    # Targets are the pixels themselves.
    np.testing.assert_allclose(
        batch["background"][0], filmed.background[rows[0], columns[0]] / 255, atol=1e-6
    )
    clear = np.asarray(batch["matte"] + batch["torso_matte"]) == 0
    assert clear.any()
    np.testing.assert_array_equal(
        np.asarray(batch["behind"])[clear], np.asarray(batch["background"])[clear]
    )


def test_half_a_face_is_not_told_by_the_other_half(resident):
    data = jax.tree.map(jnp.asarray, resident)
    batch = draw.draw_rays(data, jax.random.key(0), np.arange(8) % 4, 40)
    known, upper = resident["condition"], resident["upper"]
    assert 0 < upper.sum() < len(upper)
    for frame, told in enumerate(np.asarray(batch["condition"])):
        (of_brows,) = np.nonzero((known[:, upper] == told[upper]).all(1))
        (of_lips,) = np.nonzero((known[:, ~upper] == told[~upper]).all(1))
        assert len(of_brows) and len(of_lips)
        whole = set(of_brows) & set(of_lips)
        assert bool(whole) == (frame % 4 in (draw.HEAD_BOX, draw.TORSO_ROWS))
        # And it is the half that it is told whose pixels are asked for.
        if frame % 4 == draw.MOUTH_BOX:
            t, rows, columns = of_lips[0], batch["rows"][frame], batch["columns"][frame]
            pixels = resident["frames"][t, rows, columns] / 255
            np.testing.assert_allclose(batch["target"][frame], pixels, atol=1e-6)


def test_samples_find_back_where_the_warp_is_steep():
    """Lips that part: the displacement grows faster than the place does."""
    unit = Rig(*[None] * 5, None, *[np.zeros(3), np.ones(3)] * 2, *[None] * 2)
    nodes = np.linspace(0, 1, 9, dtype=np.float32)
    for slope in (-0.5, 0.0, 0.5, 1.0, 1.6):
        warp = np.zeros((1, 9, 9, 9, 3), np.float32)
        warp[..., 1] = slope * (nodes[:, None] - 0.4)
        rest = np.array([[[0.5, 0.42, 0.5], [0.5, 0.5, 0.5]]], np.float32)
        moved = rest + np.array([0, 1, 0]) * slope * (rest - 0.4)
        state = FrameState(jnp.asarray(warp), None)
        found = step_back(unit, state, jnp.asarray(moved))
        assert np.abs(found - rest).max() < 0.4 * np.abs(moved - rest).max() + 1e-6
