"""A person's fields are learned, kept, and learned from augmented frames as well."""

import chex
import jax
import numpy as np
import pytest

from emogene_jax.emotion_to_video import fit, stream
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.rig import condition
from emogene_jax.emotion_to_video.torso import TorsoSize, fit_pose_code

PLAN = fit.Plan(
    HeadSize(8, 4, 2, 4, 2, 8, 16),
    TorsoSize(8, 16, 4, 4, 8),
    head_steps=8,
    torso_steps=40,
    head_rays=32,
    torso_rays=64,
    samples=8,
    shown_samples=6,
    ckpt_steps=8,
)


@pytest.fixture(scope="module")
def varied(filmed):
    """The last frames again, in negative: frames that were never filmed."""
    part = slice(-10, None)
    return filmed._replace(
        frames=255 - filmed.frames[part],
        head_matte=filmed.head_matte[part],
        torso_matte=filmed.torso_matte[part],
        mesh=filmed.mesh[part] * 1.1,
        landmarks=filmed.landmarks[part] * 1.1,
        pose=type(filmed.pose)(*(values[part] for values in filmed.pose)),
    )


@pytest.fixture(scope="module")
def learned(filmed, varied, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("fields")
    return workdir, *fit.fit_fields(filmed, PLAN, workdir, varied)


@pytest.mark.slow
def test_it_learns_both_fields(filmed, learned):
    _, fields, results = learned
    assert set(results) == {"head", "torso"}
    assert fields.camera == filmed.camera and fields.samples == PLAN.shown_samples
    for result in results.values():
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.params))
        assert np.isfinite(list(result.metrics.values())).all()
    assert results["torso"].metrics["psnr"] > 12
    heads = fit.rendered_heads(fields, filmed)
    assert heads.shape == (*filmed.frames.shape[:3], 4) and heads.dtype == np.uint8


@pytest.mark.slow
def test_what_is_learned_is_not_learned_again(filmed, varied, learned):
    workdir, fields, results = learned
    again, same = fit.fit_fields(filmed, PLAN, workdir, varied)
    for name in ("rig", "head", "density", "torso", "code"):
        chex.assert_trees_all_equal(getattr(again, name), getattr(fields, name))
    assert same["head"].seconds == results["head"].seconds


def test_the_rig_reaches_what_was_never_filmed(filmed, varied):
    alone, wide = fit.person_rig(filmed), fit.person_rig(filmed, varied)
    from emogene_jax.signals import landmarks_to_motion

    motion = landmarks_to_motion(varied.landmarks, filmed.rest)
    clipped = condition(alone, motion)
    assert ((clipped == alone.least) | (clipped == alone.most)).any()
    reached = condition(wide, motion)
    free = motion.reshape(len(motion), -1) @ wide.project - wide.mean
    np.testing.assert_allclose(reached, free, atol=1e-3)


def test_joined_frames_keep_their_numbers(filmed, varied):
    rig, code = fit.person_rig(filmed, varied), fit_pose_code(filmed.pose)
    first, second = (fit.resident(part, rig, code) for part in (filmed, varied))
    both = stream.joined([first, second])
    count = len(filmed.frames)
    assert len(both["frames"]) == count + 10
    np.testing.assert_array_equal(both["frames"][count:], varied.frames)
    np.testing.assert_array_equal(both["background"], filmed.background)
    assert set(both["turns"]) == set(range(count + 10))
    shared = ("background", "turns", "upper")
    lengths = {len(values) for name, values in both.items() if name not in shared}
    assert lengths == {count + 10}
