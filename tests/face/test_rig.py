"""The rig: a linear face is lifted, conditions stay in range, the hull has the head."""

import numpy as np
import pytest

from emogene_jax.emotion_to_video.encoding import read_grid
from emogene_jax.face import rig as rigs
from emogene_jax.recipes.person import measure
from emogene_jax.signals import Camera, Pose, eye_distance, landmarks_to_motion

MODES = 5


@pytest.fixture(scope="module")
def face(filmed):
    """Rest mesh [M, 3], motion [T, 68, 3] and mesh [T, M, 3] of a face whose every point
    follows a few smooth modes."""
    rng = np.random.default_rng(0)
    rest = filmed.rest
    between = 0.5 * (rest[rng.integers(0, 68, 40)] + rest[rng.integers(0, 68, 40)])
    rest_mesh = np.concatenate([rest, between])
    centre, spread = rest.mean(0), rest.std(0)
    place = (rest_mesh - centre) / spread
    basis = np.stack(
        [np.tanh(place @ rng.normal(size=(3, 3)) * 0.5) * 0.4 for _ in range(MODES)]
    )
    amounts = rng.normal(size=(200, MODES))
    mesh = rest_mesh + np.einsum("tc,cmi->tmi", amounts, basis)
    motion = landmarks_to_motion(mesh[:, :68], rest)
    return rest_mesh, motion, mesh


@pytest.fixture(scope="module")
def fitted(face):
    rest_mesh, motion, mesh = face
    low, high = rest_mesh.min(0) - 2, rest_mesh.max(0) + 2
    hull = np.ones((rigs.HULL,) * 3)
    return rigs.fit_rig(motion, mesh, rest_mesh, rest_mesh[:68], low, high, hull)


def displacement(rig, condition, points):
    """What the warp of a condition [C] does at points [P, 3], cm."""
    import jax.numpy as jnp

    field = rig.warp_rest + np.tensordot(condition, rig.warp, 1)
    unit = (points - rig.warp_low) / (rig.warp_high - rig.warp_low)
    return np.asarray(read_grid(jnp.asarray(field), unit))


def test_the_warp_moves_mesh_points_as_they_moved(face, fitted):
    rest_mesh, motion, mesh = face
    conditions = rigs.condition(fitted, motion)
    assert conditions.shape == (200, 2 * MODES)  # of either half of the face
    for t in range(0, 200, 20):
        true = mesh[t] - rest_mesh
        made = displacement(fitted, conditions[t], rest_mesh)
        assert np.linalg.norm(made - true) < 0.1 * np.linalg.norm(true)


def test_no_motion_is_the_rest_face(face, fitted):
    rest_mesh, motion, mesh = face
    still = rigs.condition(fitted, np.zeros((68, 3), np.float32))
    made = displacement(fitted, still, rest_mesh)
    assert np.abs(made).max() < 0.01 * np.abs(mesh - rest_mesh).max()


def test_lips_do_not_follow_lids(filmed):
    """Of a face whose lips part whenever it blinks, a blink alone."""
    rest, rng = filmed.rest, np.random.default_rng(1)
    shut = np.clip(rng.normal(size=(200, 1)), 0, None)
    motion = np.zeros((200, 68, 3), np.float32)
    motion[:, 36:48, 1] = -0.05 * shut
    motion[:, 55:60, 1] = -0.05 * shut - 0.02 * rng.normal(size=(200, 1))
    mesh = rest + motion * eye_distance(rest)
    low, high, hull = rest.min(0) - 2, rest.max(0) + 2, np.ones((rigs.HULL,) * 3)
    rig = rigs.fit_rig(motion, mesh, rest, rest, low, high, hull)
    blink = np.zeros((68, 3), np.float32)
    blink[36:48, 1] = -0.05
    moved = [
        displacement(rig, rigs.condition(rig, m), rest) for m in (0 * blink, blink)
    ]
    moved = np.linalg.norm(moved[1] - moved[0], axis=-1)
    assert moved[36:48].max() > 0.3 and moved[48:].max() < 0.02


def test_each_half_of_the_face_moves_where_its_landmarks_are(filmed):
    rig = measure(filmed, None).rig
    assert rig.moving.shape == (2, 2, rigs.HULL, rigs.HULL)
    unit = (filmed.rest - rig.low) / (rig.high - rig.low)
    column, row, deep = np.round(unit * (rigs.HULL - 1)).astype(int).T
    eyes, mouth = slice(36, 48), slice(48, 68)
    for half, (part, other) in enumerate([(eyes, mouth), (mouth, eyes)]):
        front, side = rig.moving[half]
        assert front[row[part], column[part]].max() > 0.8
        assert side[deep[part], row[part]].max() > 0.8
        assert front[row[other], column[other]].max() == 0
        # Hair, and whatever else is at the rim of the box, is of neither.
        assert front[-1].max() == front[:, 0].max() == side[0].max() == 0


def test_conditions_are_centred_and_about_unit_size(face, fitted):
    conditions = rigs.condition(fitted, face[1])
    np.testing.assert_allclose(conditions.mean(0), 0, atol=1e-3)
    assert (conditions.std(0) > 0.4).all() and (conditions.std(0) < 2).all()


def test_conditions_never_leave_what_was_learned(face, fitted):
    _, motion, _ = face
    wild = rigs.condition(fitted, 100 * motion)
    assert (wild >= fitted.least).all() and (wild <= fitted.most).all()
    assert (wild == fitted.most).any() and (wild == fitted.least).any()
    inside = rigs.condition(fitted, motion)
    np.testing.assert_allclose(inside.min(0), fitted.least, atol=1e-4)
    np.testing.assert_allclose(inside.max(0), fitted.most, atol=1e-4)


def test_away_from_the_face_nothing_moves(face, fitted):
    rest_mesh, _, _ = face
    back = rest_mesh.mean(0) - [0, 0, 100]  # clipped to the grid's back
    near = displacement(fitted, fitted.most, rest_mesh)
    nodes = fitted.warp[:, 0].reshape(-1, 3)
    assert np.abs(nodes).max() < np.abs(near).max()
    assert np.isfinite(displacement(fitted, fitted.most, back[None])).all()


def ball(frames=12, radius=6.0, size=64):
    """Mattes of a ball that turns with its head, seen from in front."""
    from emogene_jax.rigid import rotation_exp

    camera = Camera(1.5 * size, size / 2, size / 2, size)
    rng = np.random.default_rng(0)
    rotation = rotation_exp(rng.normal(0, 0.15, (frames, 3)))
    translation = np.tile([0.0, 0, -60], (frames, 1)) + rng.normal(0, 0.4, (frames, 3))
    row, column = np.mgrid[:size, :size] + 0.5
    x, y = (column - camera.cx) / camera.focal, (camera.cy - row) / camera.focal
    ray = np.stack([x, y, -np.ones_like(x)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = np.einsum("hwi,ti->thw", ray, translation)
    passes = (translation**2).sum(-1)[:, None, None] - along**2
    matte = np.where(passes < radius**2, 255, 0).astype(np.uint8)
    return matte, Pose(rotation, translation), camera


def test_the_visual_hull_holds_the_head_and_little_else():
    radius = 6.0
    matte, pose, camera = ball(radius=radius)
    low, high = np.full(3, -10.0), np.full(3, 10.0)
    hull = rigs.visual_hull(matte, pose, camera, low, high)
    axis = np.linspace(-10, 10, rigs.HULL)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = x**2 + y**2 + z**2 < radius**2
    assert hull[inside].all()
    beside = np.hypot(x, y) > radius + 4
    assert not hull[beside].any()
    assert hull.mean() < 0.6


def test_one_bad_matte_does_not_cut_the_head():
    matte, pose, camera = ball()
    matte[3] = 0
    hull = rigs.visual_hull(matte, pose, camera, np.full(3, -10.0), np.full(3, 10.0))
    axis = np.linspace(-10, 10, rigs.HULL)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    assert hull[x**2 + y**2 + z**2 < 6.0**2].all()


def test_what_no_picture_shows_is_not_of_the_head():
    """A head that the picture's edge cuts off: what is beyond it was never learned."""
    matte, pose, camera = ball()
    cut = camera._replace(cy=camera.cy - 38)  # 4 px and more are beyond the upper edge
    moved = np.roll(matte, -38, 1)
    moved[:, -38:] = 0
    hull = rigs.visual_hull(moved, pose, cut, np.full(3, -10.0), np.full(3, 10.0))
    rows = hull.any((0, 2))
    y = np.linspace(-10, 10, rigs.HULL)
    assert rows[y < -5.5].any() and not rows[y > 4].any()


def test_the_box_is_deeper_where_the_head_turns():
    from emogene_jax.rigid import rotation_exp

    matte, pose, camera = ball()
    mesh = np.random.default_rng(1).uniform(-5, 5, (50, 3))
    depth = []
    for angle in (0.0, 0.5):
        turned = rotation_exp(np.tile([0.0, angle, 0.0], (len(matte), 1)))
        low, high = rigs.head_box(mesh, matte, Pose(turned, pose.translation), camera)
        depth.append(high[2] - low[2])
    # 10 cm behind the face, a sphere's: what shows of it grows with the angle's sine.
    np.testing.assert_allclose(np.diff(depth), 10 * np.sin(0.5), rtol=1e-3)


def test_the_rig_of_a_filmed_person(filmed):
    rig = measure(filmed, None).rig
    assert (rig.low < filmed.mesh.reshape(-1, 3).min(0)).all()
    assert (rig.high > filmed.mesh.reshape(-1, 3).max(0)).all()
    steps = (rig.high - rig.low) / (rigs.HULL - 1)
    column, row, layer = np.round((filmed.rest_mesh - rig.low) / steps).astype(int).T
    assert rig.hull[layer, row, column].all()
    assert 0.1 < rig.hull.mean() < 0.9
    # A real face's landmarks, lifted: half a millimetre.
    motion = landmarks_to_motion(filmed.landmarks, filmed.rest)
    conditions = rigs.condition(rig, motion)
    off = [
        displacement(rig, conditions[t], filmed.rest_mesh)
        - (filmed.mesh[t] - filmed.rest)
        for t in range(0, len(motion), 10)
    ]
    moved = np.std(filmed.mesh - filmed.rest_mesh)
    assert np.std(off) < 0.35 * moved and eye_distance(filmed.rest) > 5
