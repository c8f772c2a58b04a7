"""Folds of the skin: which emotion has which, and what is left of the light there."""

import numpy as np

from emogene_jax.augmentation.wrinkles import FOLDS, depths, wrinkled
from emogene_jax.face import mesh as lm
from emogene_jax.signals import EMOTIONS


def deep(emotion: str, intensity: float = 1.0) -> np.ndarray:
    weights = np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(emotion)]]
    return depths(weights, np.array([intensity], np.float32))[0]


def of_unit(unit: int, side: int | None = None) -> list[int]:
    return [
        number
        for number, fold in enumerate(FOLDS)
        if unit in fold.depth and side in (None, fold.side)
    ]


def test_an_emotion_has_the_folds_of_its_action_units():
    assert not deep("neutral").any()
    between_brows, forehead, from_nose = of_unit(4), of_unit(2), of_unit(10)
    assert deep("angry")[between_brows].min() > 0.2
    assert not deep("angry")[forehead].any()
    assert deep("surprise")[forehead].min() > 0.1
    assert not deep("surprise")[between_brows].any()
    assert deep("disgust")[from_nose].min() > 0.1
    for name in EMOTIONS:
        np.testing.assert_allclose(deep(name, 0.5), deep(name) / 2, rtol=1e-6)
        assert deep(name, 1.3).max() < 1


def test_contempt_folds_one_side():
    right, left = of_unit(12, 1), of_unit(12, -1)
    assert right and left
    assert deep("contempt")[right].min() > 0
    assert not deep("contempt")[left].any()


def test_a_fold_is_dark_above_and_lies_on_its_curve():
    size = 96
    rng = np.random.default_rng(0)
    mesh2d = rng.uniform(20, 76, (lm.MESH_POINTS, 2))
    mesh2d[lm.INDEX_68[[36, 45]]] = [[20.0, 48.0], [80.0, 48.0]]
    number = of_unit(9, 0)[-1]  # across the bridge of the nose
    for (a, b, _), x in zip(FOLDS[number].curve, (34.0, 48.0, 62.0), strict=True):
        mesh2d[[a, b]] = [x, 40.0]
    picture = np.full((size, size, 3), 128, np.uint8)
    depth = np.zeros(len(FOLDS))
    np.testing.assert_array_equal(wrinkled(picture, mesh2d, depth), picture)
    depth[number] = 0.5
    made = wrinkled(picture, mesh2d, depth)[..., 0].astype(int)
    assert made[39:41, 48].max() < 120 < 128 < made[41:43, 48].max()
    assert made[38, 48] < made[41, 48]  # the slope that looks down is the darker one
    changed = np.argwhere(made != 128)
    assert changed[:, 0].min() >= 34 and changed[:, 0].max() <= 46
    assert changed[:, 1].min() >= 29 and changed[:, 1].max() <= 67
