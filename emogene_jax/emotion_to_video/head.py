"""The head field F(x, d, l_E) -> (c, density). Paper: Eq. 5 (arXiv:2410.17262).

A landmark condition is constant over a frame, so it acts once a frame and not once a
sample, in two ways: as a *warp* (displacements on a coarse grid, by which a sample steps
back into the rest face), and as *basis planes* blended by it (what no warp can make: the
inside of the mouth, wrinkles). Those act only where that half of the face moves: hair
would else be learned by heart, frame by frame, and a blink would move the lips. A frame
is then rendered at nearly the price of a static scene, and an expression that was never
filmed moves the face instead of cross-fading it.
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from emogene_jax.emotion_to_video.encoding import (
    made_once,
    read_grid,
    read_planes,
    resized,
    sum_planes,
)
from emogene_jax.face.rig import Rig, upper_conditions
from emogene_jax.parallel import full_precision, on_accelerator
from emogene_jax.pose.code import CODES
from emogene_jax.precision import Dense, product

# How far each round of looking for where a sample has come from goes. Where lips part,
# the warp is steeper than 1: whole steps would jump to and fro, farther each time.
STEPS = (1.0, 0.5, 0.5)


# Nodes (D, H, W) of what is learned of the warp on top of the rig's: coarser than the
# rig's own, whose nodes would be learned from a few samples each.
CORRECTION = (11, 18, 16)
CORRECTION_UNIT = 0.4  # cm


class HeadSize(NamedTuple):
    """What fixes the shapes of a head field; stored with an avatar."""

    coarse: int  # nodes a side of the coarse planes, blended per frame
    coarse_features: int
    refine: int  # cells of the static fine planes in one of the coarse
    fine_features: int
    basis: int  # planes blended by the condition
    features: int  # of a sample: what a ray gathers
    hidden: int

    @property
    def fine(self):
        """Nodes a side of the fine planes: every coarse node is one of them."""
        return self.refine * (self.coarse - 1) + 1


class FrameState(NamedTuple):
    """What a frame's condition makes of the field, ready to be sampled."""

    warp: jax.Array  # [B, D, H, W, 4] cm; the last is nothing: four are read as one
    planes: jax.Array  # [B, 3, coarse, coarse, F]


class Still(NamedTuple):
    """What all frames of a person have in common (HeadField.still)."""

    planes: jax.Array  # [2, fine, fine, features], into the first layer, with its bias
    third: jax.Array  # [fine, fine, features], all of the plane that is never blended
    warp: jax.Array  # [C, D, H, W, 3] cm, the rig's with its correction
    moving: jax.Array  # [2, 2, coarse, coarse, 1], the rig's at the coarse nodes


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
        # Not of the third plane, (x, z): there hair lies over the face.
        self.basis_planes = self.param(
            "basis_planes",
            nn.initializers.normal(0.01),
            (s.basis, 2, s.coarse, s.coarse, s.coarse_features),
        )
        self.blend = nn.Dense(s.basis, False, name="blend")
        rows = 3 * (s.coarse_features + s.fine_features)
        kernel, zero = nn.initializers.lecun_normal(), nn.initializers.zeros
        self.first = self.param("first", kernel, (rows, s.features))
        self.first_bias = self.param("first_bias", zero, (s.features,))
        # Of the tracker's mistakes (alignment.py).
        self.pose_correction = self.param("pose_correction", zero, (CODES, 6))
        self.warp_correction = nn.Dense(
            3 * math.prod(CORRECTION), False, kernel_init=zero, name="warp_correction"
        )
        self.opacity = nn.Dense(1, name="opacity")
        self.second = Dense(s.hidden, name="second")
        self.third = Dense(s.hidden, name="third")
        self.last = Dense(12, name="last")

    def frame(self, rig: Rig, condition, still: Still | None = None) -> FrameState:
        """The field of frames with conditions [B, C]. `still` spares a person's frames
        what they have in common."""
        moving = self._moving(rig) if still is None else still.moving
        planes = self.coarse_planes + self._blended(rig, condition, moving)
        warp = self._warp if still is None else functools.partial(_warped, still)
        warp = warp(rig, condition)
        return FrameState(jnp.pad(warp, [(0, 0)] * 4 + [(0, 1)]), planes)

    @full_precision
    def _warp(self, rig: Rig, condition):
        warp = rig.warp_rest + jnp.tensordot(condition, rig.warp, 1)
        # Its gradient comes by another way (alignment.flow).
        correction = jax.lax.stop_gradient(self._correction(rig, condition))
        return warp + resized(correction, rig.warp_rest.shape[:3])

    def _moving(self, rig: Rig):
        """Still.moving."""
        shape = (self.size.coarse,) * 2
        moving = resized(rig.moving.reshape(4, *rig.moving.shape[2:], 1), shape)
        return moving.reshape(2, 2, *shape, 1)

    def _blended(self, rig: Rig, condition, moving):
        """What conditions [B, C] add to the coarse planes, [B, 3, coarse, coarse, F]."""
        upper = upper_conditions(rig)
        told = [jnp.where(half, condition, 0.0) for half in (upper, ~upper)]
        if on_accelerator():  # of two products XLA could not compile the gradient
            mix = self.blend(jnp.stack(told))
            added = moving[:, None] * jnp.tensordot(mix, self.basis_planes, 1)
        else:
            mixes = map(self.blend, told)
            added = [
                where * jnp.tensordot(mix, self.basis_planes, 1)
                for where, mix in zip(moving, mixes, strict=True)
            ]
        added = sum(added)
        return jnp.pad(added, ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))

    def displaced(self, rig: Rig, condition, points):
        """By how much the warp's correction moves points [B, P, 3] cm of the rest face:
        [B, P, 3] cm."""
        return displacement(rig, self._correction(rig, condition), points)

    @full_precision
    def _correction(self, rig: Rig, condition):
        # Of what the lower half of the face does: a blink would learn to move the lips.
        lower = jnp.where(upper_conditions(rig), 0.0, condition)
        flat = CORRECTION_UNIT * self.warp_correction(lower)
        return flat.reshape(len(condition), *CORRECTION, 3)

    def __call__(self, rig: Rig, state: FrameState, points):
        """Density [B, P] per cm and features [B, P, F] at points [B, P, 3] in cm of the
        frames' own head space."""
        return self.rest_face(rig, state, step_back(rig, state, points))

    def rest_face(self, rig: Rig, state: FrameState, points):
        """The same at points [B, P, 3] of the rest face."""
        planes = jnp.moveaxis(state.planes, 1, 0), self.fine_planes, sides(rig, points)
        features = (_read_at_once if on_accelerator() else _read_in_turn)(*planes)
        hidden = nn.relu(product(features, self.first) + self.first_bias)
        return self._sample(hidden, points.shape[:2])

    def still(self, rig: Rig, precision=jnp.float16) -> Still:
        """What all frames have in common; planes in half precision, which is half of the
        memory to read."""
        coarse_kernel, kernel = self._kernels()
        put = jnp.einsum("prcf,pfn->prcn", self.fine_planes, kernel)
        put = put.at[0].add(self.first_bias)
        third = put[2] + self._refined(self.coarse_planes[2:], coarse_kernel[2:])[0]
        # A correction is linear in the condition, and none of it is without one.
        each = jnp.eye(rig.project.shape[1])
        correction = resized(self._correction(rig, each), rig.warp_rest.shape[:3])
        return Still(
            put[:2].astype(precision),
            third.astype(precision),
            rig.warp + correction,
            self._moving(rig),
        )

    def bake(self, state: FrameState, still: Still):
        """All that the first layer gets of the one frame of `state`: three planes [fine,
        fine, features]."""
        kernel, _ = self._kernels()

        def both():
            coarse = self._refined(state.planes[0, :2], kernel[:2])
            return (coarse + still.planes).astype(still.planes.dtype)

        return *made_once(both, state.planes), still.third

    def _refined(self, coarse, kernel):
        """What coarse planes [N, coarse, coarse, F] put into the first layer by kernels
        [N, F, features], at the fine planes' nodes, [N, fine, fine, features]."""
        put = jnp.einsum("prcf,pfn->prcn", coarse, kernel)
        place = jnp.arange(self.size.fine)
        low = jnp.minimum(place // self.size.refine, self.size.coarse - 2)
        high = (place / self.size.refine - low)[:, None]
        rows = put[:, low] * (1 - high[:, None]) + put[:, low + 1] * high[:, None]
        return rows[:, :, low] * (1 - high) + rows[:, :, low + 1] * high

    def baked_face(self, rig: Rig, planes, points):
        """As rest_face, of the one frame whose planes were baked, at points [1, P, 3]:
        12 reads and no first product."""

        def then(read):
            if not on_accelerator():  # it would be slow to make half precision
                return nn.relu(read)
            # What is written and read again is much of a frame's price. Without a barrier
            # XLA writes it in both precisions.
            return jax.lax.optimization_barrier(nn.relu(read).astype(planes[0].dtype))

        hidden = sum_planes(planes, sides(rig, points[0]), then)
        return self._sample(hidden, points.shape[:2])

    def _kernels(self):
        """The first layer's kernel, as the coarse and the fine planes meet it: [3, F,
        features] each."""
        kernel = self.first.reshape(3, -1, self.size.features)
        return jnp.split(kernel, [self.size.coarse_features], 1)

    def _sample(self, hidden, shape):
        """Density [B, P] and features [B, P, F] of what the first layer gave, flat."""
        density = density_of(self.opacity(hidden)[:, 0])
        return density.reshape(shape), hidden.reshape(*shape, -1)

    def colour(self, seen, alpha, directions):
        """Premultiplied colour [B, R, 3] of rays along directions [B, R, 3] that have
        gathered features [B, R, F] and opacity alpha [B, R]."""
        frames, count = alpha.shape
        seen = (seen / (alpha[..., None] + 1e-4)).reshape(frames * count, -1)
        hidden = nn.relu(self.third(nn.relu(self.second(seen))))
        out = self.last(hidden).reshape(frames, count, 12)
        # Colour is linear in the direction: spherical harmonics up to degree 1.
        turn = out[..., 3:].reshape(frames, count, 3, 3)
        # Written out: XLA:CPU takes longer for a sum over three than for all else here.
        look = sum(turn[..., k] * directions[..., k, None] for k in range(3))
        return alpha[..., None] * nn.sigmoid(out[..., :3] + look)


@full_precision
def _warped(still: Still, rig: Rig, condition):
    """HeadField._warp, of what is common to all frames."""
    return rig.warp_rest + jnp.tensordot(condition, still.warp, 1)


def density_of(opacity):
    """Density [...] per cm of what the layer of that name says, [...]."""
    # 2 / cm at the start: a ray that is new to a place can see into it.
    return jnp.exp(jnp.clip(opacity + 0.7, -12.0, 6.0))


def sides(rig: Rig, points):
    """Where points [..., 3] lie on the three planes, [3, ..., 2]."""
    unit = (points - rig.low) / (rig.high - rig.low)
    return jnp.stack([unit[..., :2], unit[..., 1:], unit[..., ::2]])


def _read_in_turn(coarse, fine, sides):
    """What three planes each, coarse [3, B, …] of frames and fine [3, …], hold at sides
    [3, B, P, 2]: [B * P, 3 * (coarse and fine features)].

    A loop: XLA:CPU fuses the reads of one plane, and makes those of three, and their
    gradients, again and again."""

    def read(_, plane):
        coarse, fine, side = plane
        fine = read_planes(fine, side.reshape(-1, 2))
        return None, (read_planes(coarse, side).reshape(len(fine), -1), fine)

    _, read_all = jax.lax.scan(read, None, (coarse, fine, sides))
    return jnp.concatenate([part[plane] for plane in range(3) for part in read_all], -1)


def _read_at_once(coarse, fine, sides):
    """The same without a loop, frames first, as devices share them."""
    coarse = read_planes(*(jnp.moveaxis(part, 0, 1) for part in (coarse, sides)))
    fine = jnp.moveaxis(jnp.stack([*map(read_planes, fine, sides)]), 0, 1)
    both = jnp.moveaxis(jnp.concatenate([coarse, fine], -1), 1, 2)
    return both.reshape(-1, math.prod(both.shape[2:]))


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
    unroll = len(STEPS) if on_accelerator() else 1
    return jax.lax.fori_loop(0, len(STEPS), again, points, unroll=unroll)


def displacement(rig: Rig, grid, points, read=read_grid):
    """What grids [B, D, H, W, 3 or more] over the warp's box hold at points [B, P, 3]; 0
    outside of it.

    Args:
        read: read_grid, or read_nearest for a look into a coarse grid.
    """
    unit = (points - rig.warp_low) / (rig.warp_high - rig.warp_low)
    inside = jnp.all((unit >= 0) & (unit <= 1), -1).astype(unit.dtype)
    return read(grid, unit, inside)[..., :3]
