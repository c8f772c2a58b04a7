"""Whether tracked faces are one person's, by their shape: what comes after a cut may be
somebody else.
"""

from collections.abc import Sequence

import numpy as np

from emogene_jax.face.pose_fit import similarity

# cm rms over the mesh: .06 to .15 between stretches of one person, .16 (two men of a kind)
# to .5 between people.
SAME = 0.2
# Whoever hands over several files says that they show one person, who may laugh in one and
# frown in another: .07 to .32 between takes of six emotions.
SAME_BY_FILE = 0.35
_LOOKED_AT = 40  # frames of a stretch


def face_shape(points: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """The usual shape [M, 3] cm of tracked points [T, 478, 3] px (column, row, depth), by
    the canonical face [M, 3] cm."""
    some = np.unique(np.linspace(0, len(points) - 1, _LOOKED_AT).round().astype(int))
    upright = points[some, : len(canonical)] * [1.0, -1.0, -1.0]
    wanted = np.broadcast_to(canonical, upright.shape)
    scale, rotation, shift = similarity(upright, wanted)
    turned = upright @ np.swapaxes(rotation, 1, 2)
    return np.median(scale[:, None, None] * turned + shift[:, None], axis=0)


def of_one_person(
    shapes: Sequence[np.ndarray], frames: Sequence[int], files: Sequence[int]
) -> np.ndarray:
    """[N] bool: which of N stretches, with face shapes [M, 3] and so many frames each, show
    the person who is there for most of them; files: the number of the file of each."""
    groups: list[list[int]] = []

    def same(one: int, other: int) -> bool:
        limit = SAME if files[one] == files[other] else SAME_BY_FILE
        return _apart(shapes[one], shapes[other]) < limit

    for number in np.argsort(frames, kind="stable")[::-1]:
        # The longest stretch of a group is its face.
        near = [group for group in groups if same(group[0], number)]
        if near:
            near[0].append(int(number))
        else:
            groups.append([int(number)])
    most = max(groups, key=lambda group: sum(frames[i] for i in group))
    return np.isin(np.arange(len(shapes)), most)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((one - other) ** 2).sum(-1).mean()))
