"""MediaPipe's 478-point mesh: the 68 iBUG landmarks (landmarks.py) in it, its contours,
and what is measured of a face.
"""

import numpy as np

from emogene_jax.landmarks import EYE_LEFT as EYE_LEFT_68
from emogene_jax.landmarks import EYE_RIGHT as EYE_RIGHT_68
from emogene_jax.landmarks import INNER_CORNERS, INNER_LOWER, INNER_UPPER

MESH_POINTS = 478
# fmt: off
MEDIAPIPE_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152,  # jaw, to the chin
    400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # outer lips
    78, 81, 13, 311, 308, 402, 14, 178,  # inner lips
)
# Closed polygons of mesh points, clockwise from the forehead or the left corner.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
    377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
    109,
)
# Along the jaw from one angle to the other, left to right.
JAW_LINE = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
LIPS_OUTER = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181,
    91, 146,
)
LIPS_INNER = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178,
    88, 95,
)
EYE_LEFT = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
)
EYE_RIGHT = (
    362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382,
)
# Under each of iBUG's brow points, the brow's lower edge.
LOWER_BROWS = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
# The middle of an iris, and four points of its rim.
IRIS_LEFT, IRIS_RIGHT = tuple(range(468, 473)), tuple(range(473, 478))
IRISES = (*IRIS_LEFT, *IRIS_RIGHT)
# Points over bone: forehead, temples, nose bridge, eye corners, cheekbones.
STABLE = (
    10, 67, 109, 338, 297, 103, 332, 54, 284, 151, 9, 8, 108, 337, 69, 299, 104, 333,
    68, 298, 21, 251, 71, 301, 162, 389, 139, 368, 127, 356, 34, 264, 143, 372, 156,
    383, 168, 6, 197, 195, 5, 4, 122, 351, 193, 417, 188, 412, 196, 419, 174, 399, 3,
    248, 236, 456, 51, 281, 45, 275, 33, 133, 362, 263, 130, 359, 226, 446, 243, 463,
    244, 464, 128, 357, 114, 343, 47, 277, 234, 454, 227, 447, 116, 345, 111, 340,
    117, 346, 118, 347, 35, 265, 31, 261,
)
# fmt: on
INDEX_68 = np.array(MEDIAPIPE_68)


def to_68(mesh: np.ndarray) -> np.ndarray:
    """The iBUG points [..., 68, D] of a mesh [..., 478, D]."""
    return mesh[..., INDEX_68, :]


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """Opening of the inner lips [...] over the mouth's width, of [..., 68, D]."""
    upper, lower = landmarks[..., INNER_UPPER, :], landmarks[..., INNER_LOWER, :]
    gap = np.linalg.norm(upper - lower, axis=-1).mean(-1)
    left, right = (landmarks[..., corner, :] for corner in INNER_CORNERS)
    return gap / np.linalg.norm(left - right, axis=-1)


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """Eye aspect ratio [..., 2] (height over width, left and right), of [..., 68, D]."""

    def distance(a, b):
        return np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1)

    return np.stack(
        [
            (distance(k + 1, k + 5) + distance(k + 2, k + 4)) / (2 * distance(k, k + 3))
            for k in (EYE_LEFT_68.start, EYE_RIGHT_68.start)
        ],
        axis=-1,
    )
