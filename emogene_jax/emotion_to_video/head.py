"""The head field F(x, d, l_E) -> (c, density). Paper: Eq. 5 (arXiv:2410.17262).

A landmark condition is constant over a frame, so it acts once a frame and not once a
sample, in three ways: as a *warp* (displacements on a coarse grid, by which a sample
steps back into the rest face), as *basis planes* blended by it (what no warp can make:
the inside of the mouth, wrinkles), and as a *bias* of the first layer. A frame is then
rendered at nearly the price of a static scene, and an expression that was never filmed
moves the face instead of cross-fading it.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video.encoding import read_grid, read_planes
from emogene_jax.emotion_to_video.rig import Rig

# How far each round of looking for where a sample has come from goes. Where lips part,
# the warp is steeper than 1: whole steps would jump to and fro, farther each time.
STEPS = (1.0, 0.5, 0.5)


class HeadSize(NamedTuple):
    """What fixes the shapes of a head field; stored with an avatar."""

    coarse: int = 64  # nodes a side of the coarse planes, blended per frame
    coarse_features: int = 8
    fine: int = 160  # nodes a side of the static fine planes
    fine_features: int = 8
    basis: int = 12  # planes blended by the condition
    hidden: int = 64


class FrameState(NamedTuple):
    """What a frame's condition makes of the field, ready to be sampled."""

    warp: jax.Array  # [B, D, H, W, 3] cm
    planes: jax.Array  # [B, 3, coarse, coarse, F]
    bias: jax.Array  # [B, hidden]


class BiasedRows(nn.Module):
    """A dense layer of which the last rows of the kernel are given: [x, y] @ [W; rows]."""

    width: int

    @nn.compact
    def __call__(self, x, rows):
        """[P, width] of x [P, F + len(rows)] and rows [n, width]."""
        shape = (x.shape[-1] - len(rows), self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return x @ jnp.concatenate([kernel, rows])


class HeadField(nn.Module):
    """Parameters of the head field; `frame` once a frame, then `__call__` per sample."""

    size: HeadSize

    def setup(self):
        s = self.size
        small = nn.initializers.uniform(0.2)

        def planes(key, shape):
            return small(key, shape) - 0.1

        self.coarse_planes = self.param(
            "coarse_planes", planes, (3, s.coarse, s.coarse, s.coarse_features)
        )
        self.fine_planes = self.param(
            "fine_planes", planes, (3, s.fine, s.fine, s.fine_features)
        )
        self.basis_planes = self.param(
            "basis_planes",
            nn.initializers.normal(0.01),
            (s.basis, 3, s.coarse, s.coarse, s.coarse_features),
        )
        self.blend = nn.Dense(s.basis, name="blend")
        self.condition_bias = nn.Dense(
            s.hidden, kernel_init=nn.initializers.normal(0.02), name="condition_bias"
        )
        self.first = BiasedRows(s.hidden, name="first")
        self.second = nn.Dense(s.hidden, name="second")
        self.last = nn.Dense(13, name="last")

    def frame(self, rig: Rig, condition) -> FrameState:
        """The field of frames with conditions [B, C]."""
        warp = rig.warp_rest + jnp.tensordot(condition, rig.warp, 1)
        mix = self.blend(condition)
        planes = self.coarse_planes + jnp.tensordot(mix, self.basis_planes, 1)
        return FrameState(warp, planes, self.condition_bias(condition))

    def __call__(self, rig: Rig, state: FrameState, points, directions):
        """Density [B, P] per cm and colour [B, P, 3] at points [B, P, 3] in cm of the
        frames' own head space, P / R successive ones on each ray, seen along the rays'
        directions [B, R, 3]."""
        return self.rest_face(rig, state, step_back(rig, state, points), directions)

    def rest_face(self, rig, state, points, directions):
        """The same at points [B, P, 3] of the rest face."""
        unit = (points - rig.low) / (rig.high - rig.low)
        sides = [unit[..., axes] for axes in (slice(0, 2), slice(1, 3), slice(0, 3, 2))]

        def read(_, plane):
            coarse, fine, side = plane
            coarse, fine = (
                read_planes(coarse, side),
                read_planes(fine, side.reshape(-1, 2)),
            )
            return None, (coarse.reshape(fine.shape[0], -1), fine)

        # A loop: XLA:CPU fuses the reads of one plane, and makes those of three, and
        # their gradients, again and again.
        planes = jnp.moveaxis(state.planes, 1, 0), self.fine_planes, jnp.stack(sides)
        _, read_all = jax.lax.scan(read, None, planes)
        features = [part[plane] for plane in range(3) for part in read_all]
        # Which frame a sample is of, as features: the bias of a frame is then a row of
        # the first product, and so is its gradient.
        frames, count = points.shape[:2]
        frame = jnp.arange(frames * count) // count
        features.append(jax.nn.one_hot(frame, frames))
        # Flat: the gradients of a batched product take three times as long on a CPU.
        hidden = nn.relu(self.first(jnp.concatenate(features, -1), state.bias))
        hidden = nn.relu(self.second(hidden))
        out = self.last(hidden).reshape(frames, directions.shape[1], -1, 13)
        # Colour is linear in the direction: spherical harmonics up to degree 1.
        turn = out[..., 4:].reshape(*out.shape[:-1], 3, 3)
        look = (turn * directions[:, :, None, None]).sum(-1)
        colour = nn.sigmoid(out[..., 1:4] + look).reshape(frames, count, 3)
        out = out.reshape(frames, count, 13)
        # 2 / cm at the start: a ray that is new to a place can see into it.
        density = jnp.exp(jnp.clip(out[..., 0] + 0.7, -12.0, 6.0))
        return density, colour


def step_back(rig: Rig, state: FrameState, points):
    """Points [B, P, 3] of the frames' head space -> where they lie in the rest face.

    The displacement is that of a place of the rest face, which is what is looked for: a
    fixed point. Taken where the sample is, it would fall short (brows by half).
    """

    steps = jnp.array(STEPS)

    def again(number, at):
        found = points - displacement(rig, state.warp, at)
        return at + steps[number] * (found - at)

    # A loop that is one: unrolled, XLA:CPU makes each round again for the next.
    return jax.lax.fori_loop(0, len(STEPS), again, points)


def displacement(rig: Rig, grid, points, read=read_grid):
    """What grids [B, D, H, W, 3] over the warp's box hold at points [B, P, 3]; 0 outside
    of it.

    Args:
        read: read_grid, or read_nearest for a look into a coarse grid.
    """
    unit = (points - rig.warp_low) / (rig.warp_high - rig.warp_low)
    inside = jnp.all((unit >= 0) & (unit <= 1), -1, keepdims=True)
    return jnp.where(inside, read(grid, unit), 0.0)
