"""The torso field: neck and clothes, a 2-D image that the head's pose moves.

Paper: Eq. 8 (arXiv:2410.17262). It lives in the picture plane, is deformed by the pose,
and sees the head's colour, so that the neck can meet the jaw without a seam. The torso's
own motion (pose.torso) is undone first; what then still depends on the pose of head and
torso acts once a frame: a coarse grid of 2-D displacements and a bias, both linear in a
small code.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.encoding import read_planes
from emogene_jax.parallel import full_precision
from emogene_jax.pose.torso import undone
from emogene_jax.precision import Dense

NECK = 0.12  # how far it goes on under the head, in heights of the picture


class TorsoSize(NamedTuple):
    """What fixes the shapes of a torso field; stored with an avatar."""

    coarse: int
    fine: int
    features: int
    warp: int  # nodes a side of the displacement grid
    hidden: int
    rows: int = 1 << 16  # of the picture, from below, that may show it (torso_rows)

    def top(self, height: int) -> int:
        """The first row of a picture that may show it."""
        return max(0, height - self.rows)


class TorsoField(nn.Module):
    """Colour and opacity of the torso at pixels."""

    size: TorsoSize

    @nn.compact
    def __call__(self, code, motion, place, head):
        """Colour [B, P, 3] and opacity [B, P] of frames with codes [B, C] and motions
        [B, 6] (code.torso_code), at places [B, P, 2] in [0, 1] (column, row), where the
        head shows colour and alpha [B, P, 4]."""
        s = self.size
        warp = self.param(
            "warp", nn.initializers.zeros, (code.shape[-1], s.warp, s.warp, 2)
        )
        small = nn.initializers.normal(0.1)
        coarse = self.param("coarse_planes", small, (s.coarse, s.coarse, s.features))
        fine = self.param("fine_planes", small, (s.fine, s.fine, s.features))
        place = undone(motion, place)
        shift = full_precision(jnp.tensordot)(code, warp, 1)
        moved = place + 0.05 * read_planes(shift, place)
        read = [read_planes(planes, moved) for planes in (coarse, fine)]
        features = jnp.concatenate([*read, head], -1)
        bias = Dense(s.hidden, use_bias=False, name="pose_bias")(code)
        hidden = nn.relu(Dense(s.hidden, name="first")(features) + bias[:, None])
        hidden = nn.relu(Dense(s.hidden, name="second")(hidden))
        out = Dense(4, name="last")(hidden)
        return nn.sigmoid(out[..., :3]), nn.sigmoid(out[..., 3])


def torso_rows(torso_matte: np.ndarray) -> int:
    """How many rows of the picture, from below, may show the torso of mattes [T, H, W]:
    as far up as it was seen, and the neck under the head."""
    height = torso_matte.shape[1]
    seen = (torso_matte > 127).any((0, 2))
    above = int(seen.argmax()) if seen.any() else height - 1
    return min(height, height - above + math.ceil(NECK * height))
