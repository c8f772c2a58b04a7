"""The 68 iBUG landmarks: which of them form what. The one place that numbers them.

Order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner lips 60-67.
The first of a row lies at the left of the picture (low x). What is one run of numbers is
a slice; `rows` gives the numbers of some of them.
"""

import numpy as np

JAW, BROWS, NOSE = slice(0, 17), slice(17, 27), slice(27, 36)
EYES, MOUTH = slice(36, 48), slice(48, 68)
BROW_LEFT, BROW_RIGHT = slice(17, 22), slice(22, 27)
BRIDGE, NOSE_BASE = slice(27, 31), slice(31, 36)
EYE_LEFT, EYE_RIGHT = slice(36, 42), slice(42, 48)
LIPS_OUTER, LIPS_INNER = slice(48, 60), slice(60, 68)
FACE = slice(0, 68)

# The outer eye corners, whose distance is the unit of motion.
OUTER_EYE_CORNERS = (36, 45)
CHIN, UNDER_NOSE = 8, 33
INNER_BROWS, OUTER_BROWS = (21, 22), (17, 26)
EYE_CORNERS = (36, 39, 42, 45)
LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower
UPPER_LIDS = np.array([37, 38, 43, 44])
LOWER_LIDS = np.array([41, 40, 47, 46])  # each below its partner in UPPER_LIDS
UPPER_LIP = np.array([49, 50, 51, 52, 53, 61, 62, 63])
LOWER_LIP = np.array([55, 56, 57, 58, 59, 65, 66, 67])
MOUTH_CORNERS = (48, 54)  # of the outer lips
INNER_CORNERS = (60, 64)
CORNERS = np.array([*MOUTH_CORNERS, *INNER_CORNERS])
UPPER_RIM = np.arange(49, 54)  # the outer contour of the upper lip
LOWER_RIM = np.arange(55, 60)
INNER_UPPER = np.array([61, 62, 63])
INNER_LOWER = np.array([67, 66, 65])  # each below its partner in INNER_UPPER
# Upper and lower, in the middle of the mouth.
INNER_MIDDLE, OUTER_MIDDLE = (62, 66), (51, 57)

# Of a line drawing, (points, closed).
CONTOURS = (
    *((JAW, False), (BROW_LEFT, False), (BROW_RIGHT, False)),
    *((BRIDGE, False), (NOSE_BASE, False)),
    *((EYE_LEFT, True), (EYE_RIGHT, True)),
    *((LIPS_OUTER, True), (LIPS_INNER, True)),
)


def rows(*parts: slice) -> np.ndarray:
    """The numbers of the landmarks in some parts of the face."""
    return np.r_[parts]


# The landmark at the mirrored place: MIRROR[36] = 45.
MIRROR = np.r_[
    16:-1:-1,
    26:16:-1,
    27:31,
    35:30:-1,
    [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],
    54:47:-1,
    59:54:-1,
    64:59:-1,
    67:64:-1,
]

# Halves of a face that move by themselves.
UPPER_FACE = rows(BROWS, BRIDGE, EYES)
LOWER_FACE = rows(JAW, NOSE_BASE, MOUTH)
