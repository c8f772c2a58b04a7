"""The deformation model: shapes, blending, and the official numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.motion_to_emotion.deformation import Deformer, deform
from emogene_jax.motion_to_emotion.import_weights import import_deformation
from emogene_jax.signals import EMOTIONS, UserError


@pytest.fixture(scope="module")
def params():
    model = Deformer(hidden=24)
    return jax.jit(model.init)(
        jax.random.key(0), jnp.zeros((1, 204)), jnp.zeros((1, 8)), jnp.zeros(1)
    )["params"]


@pytest.fixture
def official(shared):
    from safetensors.numpy import load_file

    return load_file(shared / "golden" / "ldm.safetensors")


def test_official_weights_give_official_numbers(official, shared):
    ours = import_deformation(official)
    with np.load(shared / "golden" / "ldm_io.npz", allow_pickle=False) as golden:
        motion = golden["landmarks"].reshape(50, 68, 3)
        for row in range(len(EMOTIONS)):
            weights = np.tile(np.eye(8, dtype=np.float32)[row], (50, 1))
            out = deform(ours, motion, weights, np.full(50, 0.7, np.float32))
            np.testing.assert_allclose(
                np.asarray(out).reshape(50, 204), golden[f"emotion_{row}"], atol=1e-4
            )


def test_the_full_size_has_the_official_number_of_parameters():
    shapes = jax.eval_shape(
        Deformer().init,
        jax.random.key(0),
        jnp.zeros((1, 204)),
        jnp.zeros((1, 8)),
        jnp.zeros(1),
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 174_924


def test_wrong_names_and_shapes_are_named():
    state = {
        "emotion_embedding.weight": np.zeros((8, 16)),
        **{f"regressor.{i}.bias": np.zeros(n) for i, n in ((0, 5), (2, 5), (4, 204))},
        **{
            f"regressor.{i}.weight": np.zeros(s)
            for i, s in ((0, (5, 220)), (2, (5, 5)), (4, (204, 5)))
        },
    }
    assert import_deformation(state)["layer_0"]["kernel"].shape == (220, 5)
    missing = {k: v for k, v in state.items() if k != "regressor.2.bias"}
    with pytest.raises(UserError, match="missing regressor.2.bias"):
        import_deformation(missing)
    with pytest.raises(UserError, match="unexpected extra"):
        import_deformation(state | {"extra": np.zeros(1)})
    with pytest.raises(UserError, match="layer_2"):
        import_deformation(state | {"regressor.4.weight": np.zeros((64, 5))})


def test_zero_intensity_is_the_identity(params):
    motion = np.random.default_rng(0).normal(0, 0.05, (3, 68, 3)).astype(np.float32)
    weights = jnp.eye(8)[jnp.array([0, 3, 6])]
    out = deform(params, motion, weights, jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(out[0], motion[0])
    assert np.abs(np.asarray(out[1:]) - motion[1:]).max() > 1e-3


def test_a_blend_lies_between_its_emotions(params):
    motion = jnp.zeros((1, 68, 3))
    one = jnp.ones(1)
    happy, sad = jnp.eye(8)[None, 4], jnp.eye(8)[None, 6]
    ends = [deform(params, motion, weights, one) for weights in (happy, sad)]
    steps = [
        deform(params, motion, (1 - w) * happy + w * sad, one)
        for w in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    np.testing.assert_allclose(steps[0], ends[0], atol=1e-7)
    np.testing.assert_allclose(steps[-1], ends[1], atol=1e-7)
    distances = [float(jnp.linalg.norm(step - ends[1])) for step in steps]
    assert distances == sorted(distances, reverse=True)
