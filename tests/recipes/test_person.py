"""One person out of a portrait: what is measured of them, and how they are judged."""

import chex
import numpy as np
import pytest

from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.evaluate.reconstruction import rerender
from emogene_jax.face.rig import condition
from emogene_jax.recipes.person import (
    from_arrays,
    measure,
    reconstruction,
    to_arrays,
)
from emogene_jax.signals import landmarks_to_motion
from emogene_jax.train import checkpoint


@pytest.fixture(scope="module")
def varied(filmed):
    """The last frames again, with a larger face: frames that were never filmed."""
    part = slice(-10, None)
    return filmed._replace(
        frames=filmed.frames[part],
        mesh=filmed.mesh[part] * 1.1,
        landmarks=filmed.landmarks[part] * 1.1,
    )


@pytest.fixture(scope="module")
def people(filmed, varied):
    """The person without those frames, and with them."""
    return {"alone": measure(filmed, None), "varied": measure(filmed, varied)}


def test_the_rig_reaches_what_was_never_filmed(filmed, varied, people):
    alone, wide = people["alone"].rig, people["varied"].rig
    motion = landmarks_to_motion(varied.landmarks, filmed.rest)
    clipped = condition(alone, motion)
    assert ((clipped == alone.least) | (clipped == alone.most)).any()
    reached = condition(wide, motion)
    free = motion.reshape(len(motion), -1) @ wide.project - wide.mean
    np.testing.assert_allclose(reached, free, atol=1e-3)


def test_what_was_measured_is_kept_to_the_bit(people, tmp_path):
    assert people["alone"].varied_motion is None
    assert people["varied"].varied_motion.shape == (10, 68, 3)
    for name, person in people.items():
        fixed = to_arrays(person)
        checkpoint.write(tmp_path / name, {"w": np.zeros(2)}, {}, {}, fixed=fixed)
        again = from_arrays(checkpoint.load(tmp_path / name).fixed)
        chex.assert_trees_all_equal(again, person)
        chex.assert_trees_all_equal_dtypes(again, person)


def test_without_a_held_out_end_there_is_nothing_to_judge():
    assert reconstruction(None, 5, lambda *_: None, ("full",)) is None


def test_the_held_out_end_is_judged_by_what_is_rendered_of_it(filmed, untrained):
    told = []

    def fields(params, aux):
        told.append((params, aux))
        return untrained._replace(head=params, density=aux["density"])

    regions = ("full", "head_matte")
    validate = reconstruction(filmed, 4, fields, regions)
    given = untrained.head, {"density": untrained.density}
    found = validate(*given)
    assert told == [given]
    assert list(found) == ["val_psnr_full", "val_psnr_head_matte"]
    assert all(np.isfinite(list(found.values()))) and found["val_psnr_full"] < 30
    # An empty head shows the torso and the background alone.
    empty = validate(given[0], {"density": 0 * untrained.density})
    assert empty["val_psnr_head_matte"] != found["val_psnr_head_matte"]
    # A perfect rendering is found to be one, of whichever frames: poses that were picked
    # out of a movement are still seen as parts of it.
    shown = rerender(Renderer(untrained), filmed)[0]
    perfect = reconstruction(filmed._replace(frames=shown), 4, fields, regions)
    assert perfect(*given)["val_psnr_full"] > 45
