"""A GPU's kernel, run step by step by a CPU, against the same in XLA's operations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video import bake
from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.fused import RAYS, has_kernels
from emogene_jax.emotion_to_video.head import HeadField
from emogene_jax.emotion_to_video.volume import box_interval, seen_density
from emogene_jax.face.rig import Rig, condition
from emogene_jax.signals import landmarks_to_motion


@pytest.fixture(scope="module")
def looked_at(filmed, untrained):
    """(field, what else bake.look is told of a frame)"""
    rig, field = Rig(*map(jnp.asarray, untrained.rig)), HeadField(untrained.head_size)
    drawn = jax.random.normal(jax.random.key(3), (untrained.head_size.features, 1))
    params = untrained.head | {"opacity": {"kernel": drawn, "bias": jnp.ones(1)}}
    motion = landmarks_to_motion(filmed.landmarks[-1:], filmed.landmarks[0])
    told = jnp.asarray(condition(untrained.rig, motion))[0]
    density = seen_density(rig, untrained.density)
    ready = jax.jit(partial(bake.ready_head, field))(params, rig, density)
    baked = jax.jit(partial(bake.bake, field))(ready, rig, told)
    rows, columns = jnp.mgrid[:32:2, 1:32:4].reshape(2, -1)  # past the head, too
    pose = (jnp.asarray(part[-1], jnp.float32) for part in filmed.pose)
    view = pixel_rays(rows, columns, *pose, filmed.camera)
    view = type(view)(*(part[:-1] for part in view))
    near, far = box_interval(view, rig.low, rig.high)
    edges = near[:, None] + (far - near)[:, None] * jnp.linspace(0, 1, 9)
    return field, (params, rig, baked, view, edges)


def test_a_kernel_sees_what_operations_see(looked_at, on_an_accelerator):
    field, told = looked_at
    planes, edges = told[2].planes, told[-1]
    assert len(edges) > RAYS and len(edges) % RAYS  # a block of them is not full
    on_an_accelerator("tpu")
    assert not has_kernels(planes)
    operations = jax.jit(partial(bake.look, field))(*told)
    on_an_accelerator("gpu")
    assert has_kernels(planes)
    kernel = jax.jit(partial(bake.look, field))(*told)
    alpha = np.asarray(operations[:, 3])
    assert alpha.max() > 0.9 and alpha.min() == 0
    # Operations round what samples gather to half precision.
    np.testing.assert_allclose(kernel, operations, atol=2e-3)


def test_a_kernel_looks_where_operations_do(looked_at, on_an_accelerator):
    _, (_, rig, baked, view, _) = looked_at

    def look(rig, baked, view):
        depth, edges_of = bake.first_look(rig, baked, view, 7)
        return depth, edges_of(jnp.arange(len(depth)))

    on_an_accelerator("tpu")
    depth, edges = jax.jit(look)(rig, baked, view)
    on_an_accelerator("gpu")
    found = jax.jit(partial(look))(rig, baked, view)
    assert depth.min() == 0 and depth.max() > 1
    np.testing.assert_allclose(found[0], depth, rtol=1e-4, atol=1e-5)
    # Sums of bins that hardly count differ in their last bit.
    np.testing.assert_allclose(found[1], edges, atol=0.01)


def test_features_that_triton_has_no_block_of_are_left_to_xla(on_an_accelerator):
    on_an_accelerator("gpu")
    assert has_kernels([jnp.zeros((3, 3, 8))]) and not has_kernels(
        [jnp.zeros((3, 3, 12))]
    )
