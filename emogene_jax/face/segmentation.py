"""Which pixels of a picture are of people: MediaPipe's selfie segmentation, as it comes in
the package mediapipe 0.10.14 (Apache-2.0; the newer ones have left it out).
"""

import contextlib
from pathlib import Path

import numpy as np

from emogene_jax.face.tracking import as_image, import_mediapipe, quiet_libraries

SIDE = 256  # px of what the network sees, and says
_MODEL = Path(__file__).with_name("selfie_segmentation.tflite")


@contextlib.contextmanager
def open_segmenter():
    """A context that gives a function: picture [SIDE, SIDE, 3] uint8 -> how likely each
    of its pixels is of somebody, [SIDE, SIDE] float32 0 to 1."""
    mediapipe, BaseOptions, vision = import_mediapipe()  # noqa: N806
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(_MODEL)),
        output_confidence_masks=True,
    )
    with (
        quiet_libraries(),
        vision.ImageSegmenter.create_from_options(options) as network,
    ):

        def segment(picture: np.ndarray) -> np.ndarray:
            (likely,) = network.segment(as_image(mediapipe, picture)).confidence_masks
            return likely.numpy_view()[..., 0].copy()

        yield segment
