"""The fields' programs as a GPU gets them: the same values and gradients as a CPU's, on one
device or eight, which send each other nothing but gradients; coordinates in full precision.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emogene_jax import parallel
from emogene_jax.emotion_to_video import draw
from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.encoding import resized
from emogene_jax.emotion_to_video.head import HeadField
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.torso import TorsoField
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.emotion_to_video.volume import place_edges
from emogene_jax.pose.alignment import aligned, flow
from emogene_jax.pose.code import fit_pose_code

SAME = 1e-4  # of the gradient's norm


@pytest.fixture(scope="module")
def stages(filmed, untrained):
    """{name: (stage, params, aux, frozen, resident data)}"""
    code = fit_pose_code(filmed.pose, filmed.torso)
    data = draw.drawable(filmed, untrained.rig, code)
    heads = {"heads": np.full((*filmed.head_matte.shape, 4), 99, np.uint8)}
    camera, rays = filmed.camera, {"frames": 8, "rays": 16}
    head = head_stage(camera, untrained.head_size, samples=8, **rays)
    torso = torso_stage(camera, untrained.torso_size, **rays)
    return {
        "head": (
            head,
            untrained.head,
            {"density": untrained.density},
            {"rig": untrained.rig},
            data,
        ),
        "torso": (torso, untrained.torso, {}, None, data | heads),
    }


def gradient(stage):
    """(params, aux, frozen, data) -> (gradient, aux) of a step."""

    def step(params, aux, frozen, data):
        batch = parallel.spread(stage.sample(data, jax.random.key(1), 3))

        def loss(params):
            value, (after, _) = stage.loss(
                params, aux, frozen, batch, jax.random.key(2), 3
            )
            return value, after

        return jax.grad(loss, has_aux=True)(params)

    return step


def apart(one, other):
    """The norm of the difference, in parts of the norm."""
    one, other = (jax.tree.map(np.asarray, tree) for tree in (one, other))
    return optax.tree.norm(optax.tree.sub(one, other)) / optax.tree.norm(one)


# A torso is asked twice, with its head and without; XLA:CPU sends both gradients.
@pytest.mark.parametrize("name, asked", [("head", 1), ("torso", 2)])
def test_eight_accelerators_learn_what_a_cpu_does(
    stages, name, asked, on_an_accelerator, use_devices
):
    stage, *told = stages[name]
    params = jax.tree.map(lambda x: x + 0.01, told[0])  # corrections begin at 0
    told = [params, *told[1:]]
    before = jax.jit(gradient(stage))(*told)
    on_an_accelerator()
    alone = jax.jit(gradient(stage))(*told)
    use_devices(8)
    step = parallel.data_parallel(gradient(stage), donate=())
    program = step.lower(*parallel.replicate(told)).compile()
    together = program(*parallel.replicate(told))
    for after in (alone, together):
        assert apart(before[0], after[0]) < SAME
        if name == "head":
            assert apart(before[1], after[1]) < SAME
    text = program.as_text()
    assert not re.search(r" (all-gather|all-to-all|collective-permute)\(", text)
    sent = sum(map(_numbers, re.findall(r" = (.*?) all-reduce\(", text)))
    learned = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert 0 < sent <= 1.1 * asked * learned
    assert " conditional(" not in text


def _numbers(shapes: str) -> int:
    sizes = re.findall(r"\[([\d,]*)\]", shapes)
    return sum(int(np.prod([int(n) for n in size.split(",") if n])) for size in sizes)


def products(make, *told):
    """The precision of each product of matrices in a program."""
    text = jax.jit(make).lower(*told).as_text()
    return [
        re.findall(r"precision = \[(\w+), (\w+)\]", line)
        for line in text.splitlines()
        if "dot_general" in line
    ]


def test_coordinates_are_made_in_full_precision(untrained, filmed, on_an_accelerator):
    on_an_accelerator()
    pose = jnp.eye(3)[None], jnp.array([[0.0, 0.0, -60.0]])
    code, points = jnp.ones((1, 12)), jnp.ones((1, 5, 3))
    correction, place = jnp.ones((12, 6)), jnp.ones((1, 5))
    condition = jnp.ones((1, untrained.rig.project.shape[1]))
    field, params = HeadField(untrained.head_size), {"params": untrained.head}
    rig = jax.tree.map(jnp.asarray, untrained.rig)
    torso = TorsoField(untrained.torso_size)
    told = jnp.zeros((1, 6)), jnp.zeros((1, 5, 2)), jnp.zeros((1, 5, 4))

    def moved(correction, points):
        return jnp.sum(flow(correction, code, points, points, pose, filmed.camera))

    programs = {
        "pose": (lambda c: aligned(c, code, *pose, jnp), correction),
        "flow": (jax.grad(moved, (0, 1)), correction, points),
        "grids": (lambda x: resized(x, (4, 5, 6)), jnp.ones((1, 2, 3, 4, 3))),
        "edges": (
            lambda d: place_edges(d, jnp.zeros(5), jnp.ones(5), 4),
            jnp.ones((8, 5)),
        ),
        "warp": (
            lambda c: field.apply(params, rig, c, method="frame").warp,
            condition,
        ),
        "correction": (
            lambda c: field.apply(params, rig, c, points, method="displaced"),
            condition,
        ),
    }
    for name, program in programs.items():
        found = products(*program)
        assert found and all(pair == [("HIGHEST", "HIGHEST")] for pair in found), name
    # Rays take no product at all: there is none to be rounded.
    assert not products(lambda *p: pixel_rays(place, place, *p, filmed.camera), *pose)
    # A torso's shift, and its network.
    found = products(lambda c: torso.apply({"params": untrained.torso}, c, *told), code)
    assert [("HIGHEST", "HIGHEST")] in found and len(found) == 5
