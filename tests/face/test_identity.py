"""Stretches of faces are told apart by their shape, whatever their pose."""

import numpy as np

from emogene_jax.face.identity import face_shape, of_one_person
from emogene_jax.rigid import rotation_exp


def tracked(shape, frames, seed):
    """Points [T, M, 3] px of a face that turns, at some place and size, with noise."""
    rng = np.random.default_rng(seed)
    turned = shape @ np.swapaxes(rotation_exp(rng.normal(0, 0.2, (frames, 3))), 1, 2)
    points = (turned + rng.normal(0, 0.02, turned.shape)) * [1, -1, -1]
    return rng.uniform(10, 20) * points + rng.uniform(50, 100, 3)


def test_whoever_is_there_most_is_the_person():
    rng = np.random.default_rng(0)
    canonical = rng.normal(0, 5, (60, 3))
    mine, other = (canonical + rng.normal(0, 0.3, (60, 3)) for _ in range(2))
    stretches = [(other, 70), (mine, 50), (mine, 40), (other, 10)]
    shapes = [
        face_shape(tracked(shape, frames, seed), canonical)
        for seed, (shape, frames) in enumerate(stretches)
    ]
    frames = [frames for _, frames in stretches]
    assert of_one_person(shapes, frames, [0] * 4).tolist() == [False, True, True, False]
    assert of_one_person(shapes, [70, 50, 10, 10], range(4)).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert of_one_person(shapes[:1], [0], [0]).tolist() == [True]


def test_files_of_one_person_may_show_another_expression():
    rng = np.random.default_rng(1)
    calm = rng.normal(0, 5, (60, 3))
    step = rng.normal(0, 1, (60, 3))
    felt = calm + 0.28 * step / np.sqrt((step**2).sum(-1).mean())
    assert of_one_person([calm, felt], [20, 10], [0, 1]).all()
    assert of_one_person([calm, felt], [20, 10], [0, 0]).tolist() == [True, False]
