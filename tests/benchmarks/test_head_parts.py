"""The benchmark of the head field's parts: they are truly off, and the other field
truly learns."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video.draw import drawable
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.signals import Pose, landmarks_to_motion

HELPERS = ("head_parts", "marched", "portraits", "timing")


@pytest.fixture
def parts(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    # As many steps as in test_marching.py and test_train_avatar.py: one program.
    argv = ["head_parts.py", "--steps", "64", "--only", "no_warp", "ambient"]
    monkeypatch.setattr(sys, "argv", argv)
    import head_parts

    yield head_parts
    for name in HELPERS:
        del sys.modules[name]


@pytest.fixture
def batch(filmed, untrained):
    """(stage's arguments, what a step draws)."""
    data = drawable(filmed, untrained.rig, untrained.code)
    told = {"camera": filmed.camera, "size": untrained.head_size}
    told |= {"frames": 4, "rays": 16, "samples": 8}
    sample = head_stage(**told).sample
    key = jax.random.key(0)
    return told, jax.jit(sample)(jax.tree.map(jnp.asarray, data), key, 0)


def gradients(part, params, aux, rig, batch):
    def loss(params, aux, frozen, batch):
        return part.loss(params, aux, frozen, batch, jax.random.key(1), 0)[0]

    return jax.jit(jax.grad(loss))(params, aux, {"rig": rig}, batch)


def size(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_parts_that_are_off_learn_nothing(parts, untrained, batch):
    told, drawn = batch
    whole = head_stage(**told)
    off = parts.VARIANTS["no_basis"].off + parts.VARIANTS["no_fine"].off
    state = untrained.head, {"density": untrained.density}, untrained.rig, drawn
    found = gradients(parts.held_at_zero(whole, off), *state)
    assert {name for name, part in found.items() if size(part) == 0} == set(off)
    assert min(size(gradients(whole, *state)[name]) for name in off) > 0
    with pytest.raises(ValueError, match="no_such"):
        parts.zeroed(untrained.head, ("no_such",))


def test_every_part_is_off_somewhere(parts, untrained):
    named = {name for variant in parts.VARIANTS.values() for name in variant.off}
    assert named <= set(untrained.head)
    assert {"blend", "basis_planes"} <= named  # all that is told, but for the warp
    changed = {name for variant in parts.VARIANTS.values() for name, _ in variant.rig}
    assert changed == {"warp", "warp_rest", "moving"} < set(untrained.rig._fields)


def test_a_frame_biases_its_own_rows(parts):
    x, kernel, bias = (
        np.random.default_rng(n).normal(size=shape).astype(np.float32)
        for n, shape in enumerate([(6, 5), (5, 3), (2, 3)])
    )
    expected = x @ kernel + bias.repeat(3, 0)
    np.testing.assert_allclose(parts.biased(x, kernel, bias), expected, atol=1e-5)


@pytest.mark.slow
def test_the_ambient_field_learns_all_of_itself(parts, untrained, batch):
    told, drawn = batch
    field = parts.AmbientField(untrained.head_size)
    part = head_stage(**told, field=field)
    params, aux = jax.jit(part.init)(jax.random.key(0), drawn)
    rig = jax.tree.map(jnp.asarray, untrained.rig)
    found = gradients(part, params, aux, rig, drawn)
    unused = {name for name, part in found.items() if size(part) == 0}
    assert unused == set(parts.VARIANTS["ambient"].off)
    assert {"told", "coordinates", "ambient_planes", "ambient_last"} <= set(found)
    # A face depends on the condition, and through nothing else than that.
    points = rig.low + (rig.high - rig.low) * jax.random.uniform(
        jax.random.key(2), (2, 50, 3)
    )
    conditions = drawn["condition"][:1] * jnp.array([[1.0], [-3.0]])

    @jax.jit
    def features(params):
        state = field.apply({"params": params}, rig, conditions, method="frame")
        same = jnp.broadcast_to(points[:1], points.shape)
        return field.apply({"params": params}, rig, state, same)[1]

    one, other = features(params)
    assert float(jnp.abs(one - other).max()) > 1e-4
    one, other = features(parts.zeroed(params, ("told",)))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_marched_frame_is_the_baked_one(parts, untrained, filmed):
    motion = landmarks_to_motion(filmed.landmarks[:2], filmed.rest)
    pose = Pose(*(part[:2] for part in filmed.pose))
    renderer = Renderer(untrained._replace(torso=None))
    baked = [head for _, head in renderer.frames(motion, pose, layers=True)]
    for mine, head in zip(parts.marcher(renderer)(motion, pose), baked, strict=True):
        apart = np.abs(255 * np.asarray(mine) - head).max(-1)
        # But at the edge of a ghost, which is as sharp as a grid's nodes.
        assert np.mean(apart < 2) > 0.95
        assert np.asarray(mine)[..., 3].max() > 0.9


@pytest.mark.slow
def test_tiny_answers_the_question(parts, capsys):
    parts.main(tiny=True)
    lines = [x for x in capsys.readouterr().out.splitlines() if x[:1] == "{"]
    still, ambient, turns = map(json.loads, lines)
    assert (still["variant"], still["render"]) == ("no_warp", "baked")
    assert (ambient["variant"], ambient["render"]) == ("ambient", "marched")
    for line in (still, ambient):
        assert line["benchmark"] == "head_parts" and line["steps"] == 64
        assert line["ms_per_step"] > 0 and line["march_ms"] > 0
        assert 10 < line["psnr_head_matte"] < line["psnr_head"] < 40
    assert still["baked_ms"] > 0 and "baked_ms" not in ambient
    assert turns["benchmark"] == "head_parts_in_turns"
    for what in ("step_ms", "march_ms"):
        assert set(turns[what]) == {"no_warp", "ambient"}
        assert min(turns[what].values()) > 0
    assert set(turns["baked_ms"]) == {"no_warp"}
