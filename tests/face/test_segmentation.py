"""A network tells people from what is behind them."""

import itertools

import numpy as np
from PIL import Image

from emogene_jax.face.segmentation import SIDE, open_segmenter
from emogene_jax.media.video import iter_frames


def test_a_filmed_person_is_told_from_the_studio(shared):
    frames = iter_frames(shared / "data" / "portrait" / "german_20s.mp4")
    (frame,) = itertools.islice(frames, 1)
    picture = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE)))
    with open_segmenter() as segment:
        likely = segment(picture)
        np.testing.assert_array_equal(segment(picture), likely)
    assert likely.shape == (SIDE, SIDE) and likely.dtype == np.float32
    assert likely[60:, 120:136].min() > 0.9 and likely[:40, :40].max() < 0.1


def test_an_empty_wall_is_nobody():
    with open_segmenter() as segment:
        assert segment(np.full((SIDE, SIDE, 3), 90, np.uint8)).mean() < 0.1
