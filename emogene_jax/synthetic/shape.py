"""The shape of the synthetic world's figures: signed distances, and a way to meet them.

The head is ellipsoids, bent and corrected by radial basis functions so that its surface
passes through a frame's landmarks. Points are arrays [3, N]. *Template* space is head
space stretched so that all people have the same size of head: cm, x right, y up, z
towards the viewer. `who` is a video.Character.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.signals import Camera

_SIGMA = 2.0  # cm, reach of a landmark on the surface
# The landmarks that shape the surface; upper lids and inner lips only paint it.
_SHAPERS = np.array(
    [*range(17), 17, 19, 21, 22, 24, 26, *range(27, 36)]
    + [36, 39, 40, 41, 42, 45, 46, 47, 48, 51, 54, 57]
)


class Face(NamedTuple):
    """One frame, in template space: the head's own, stretched to one common size."""

    points: jax.Array  # [68, 3] landmarks
    rest: jax.Array  # [68, 3]
    weights: jax.Array  # [C]: correction of the surface at the shapers


class View(NamedTuple):
    """Where a frame is seen from: camera axes = rotation @ head + translation, and
    head = template * scale + offset."""

    camera: Camera
    pixel: float  # a ray's share of a pixel's side
    rotation: jax.Array  # [3, 3]
    translation: jax.Array  # [3]
    scale: jax.Array  # [3]
    offset: jax.Array  # [3]


def smooth_min(a, b, k):
    """The union of two distances, rounded over `k` cm where they meet."""
    return jnp.minimum(a, b) - jnp.square(jnp.maximum(k - jnp.abs(a - b), 0)) / (4 * k)


def smooth_max(a, b, k):
    """The intersection of two distances, rounded likewise."""
    return -smooth_min(-a, -b, k)


def length(p):
    """Of vectors [3, N]: [N], never 0."""
    return jnp.sqrt(jnp.sum(p * p, axis=0) + 1e-9)


def ellipsoid(p, centre, radii):
    """Distance [N] to an ellipsoid, exact near its surface."""
    q = p - jnp.array(centre)[:, None]
    r = jnp.array(radii)[:, None]
    inner = length(q / r)
    return inner * (inner - 1.0) / length(q / (r * r))


def capsule(p, a, b, r_a, r_b):
    """Distance [N] to a rod from a to b whose radius goes from r_a to r_b."""
    pa, ba = p - a[:, None], (b - a)[:, None]
    h = jnp.clip(jnp.sum(pa * ba, 0) / jnp.sum(ba * ba, 0), 0.0, 1.0)
    return length(pa - ba * h) - (r_a + (r_b - r_a) * h)


def mirror(p):
    """Points folded onto the picture's right half, without a crease in the middle."""
    return jnp.stack([jnp.sqrt(p[0] ** 2 + 0.4), p[1], p[2]])


def skin_distance(p, face):
    """Distance [N] to the bare head at rest, of template points p [3, N].

    The numbers are a least squares fit to the 68 landmarks of the canonical face.
    """
    q = mirror(p)
    skull = ellipsoid(p, (0.0, 2.6, -2.2), (7.4, 9.1, 8.3))
    cheeks = ellipsoid(p, (0.0, -1.7, -1.6), (6.8, 9.0, 5.9))
    jaw = ellipsoid(p, (0.0, -7.9, -0.6), (3.4, 2.5, 5.4))
    d = smooth_min(smooth_min(skull, cheeks, 2.0), jaw, 3.0)
    d = smooth_min(d, ellipsoid(p, (0.0, -4.0, 2.7), (2.25, 2.7, 2.9)), 2.0)
    d = smooth_max(d, -ellipsoid(q, (3.2, 2.15, 6.0), (2.8, 2.4, 2.4)), 1.5)
    bridge, tip, wing = face.rest[27], face.rest[30], face.rest[35]
    back = jnp.array((0.0, 0.0, 1.0))
    d = smooth_min(
        d, capsule(p, bridge - 1.45 * back, tip - 1.05 * back, 0.3, 1.08), 1.6
    )
    d = smooth_min(d, length(q - (wing - 0.5 * back)[:, None]) - 0.6, 0.9)
    return smooth_min(d, ear_distance(q), 0.5)


def ear_distance(q):
    """Of points mirrored to the picture's right."""
    out = q[0] - 8.1 - 0.10 * (q[1] - 0.8) + 0.5 * (q[2] + 3.0)
    q = jnp.stack([out, q[1] - 0.8, q[2] + 3.0])
    return ellipsoid(q, (0.0, 0.0, 0.0), (0.8, 2.5, 1.6))


def bend(p, face):
    """Step back into the rest face: (displacement [3, N], correction [N])."""
    shapers = face.points[_SHAPERS]
    square = jnp.sum(p * p, 0)[None] + jnp.sum(shapers**2, 1)[:, None]
    reach = jnp.exp((shapers @ p - 0.5 * square) / _SIGMA**2)  # [C, N]
    moved = (shapers - face.rest[_SHAPERS]).T @ reach
    return moved / (jnp.sum(reach, 0) + 0.15), face.weights @ reach


def hair_window(p, who):
    """Signed distance [N] (negative inside) to the opening the face looks out of."""
    half, top, swoop, curve = who.hairline
    side = p[0] * jnp.sign(who.part)
    height = top - swoop * jnp.tanh(0.5 * side + 0.3) - curve * p[0] ** 2
    beside = jnp.abs(p[0]) - half + 0.02 * (p[1] - 1.0) ** 2
    return smooth_max(p[1] - height, beside, 3.0)


def hair_distance(p, who):
    """Distance [N] to the hair, of template points p [3, N]."""
    thick, quiff, bob, curls = who.hair_volume
    q = mirror(p)
    d = ellipsoid(p, (0.0, 3.4, -2.7), (7.3, 8.6, 8.4)) - thick
    side = -0.5 * who.part
    lump = ellipsoid(
        p - side * jnp.array((1.0, 0, 0))[:, None], (0.0, 10.0, 1.6), (5.6, 3.2, 5.0)
    )
    d = smooth_min(d, lump + 1.5 - 1.2 * quiff, 2.0)
    sides = ellipsoid(q, (3.4, -2.6, -3.0), (6.0, 7.6, 6.0))
    d = smooth_min(d, sides + 6.0 * (1.0 - bob), 2.5)
    curl = jnp.prod(jnp.sin(jnp.array(((1.7,), (1.6,), (1.5,))) * p), 0)
    d = d - curls * (0.25 + 0.5 * curl)
    window = smooth_max(hair_window(p, who), -1.5 - p[2], 0.8)
    d = smooth_max(d, -window, 1.0)
    front, rear = who.hair_cut
    cut = front + (rear - front) * jnp.clip((1.0 - p[2]) / 7.0, 0.0, 1.0)
    d = smooth_max(d, cut - p[1], 1.0)
    bare = ellipsoid(q, (8.9, 0.2, -3.0), (3.4, 3.4, 3.2)) + 6.0 * bob + 6.0 * curls
    return smooth_max(d, -bare, 0.6)


def clothes_distance(p):
    """Distance [N] to the clothes, camera axes around the torso's origin."""
    torso = ellipsoid(p, (0.0, -36.0, -5.0), (16.5, 17.0, 8.5))
    a, b = jnp.array((-12.3, -23.4, -6.0)), jnp.array((12.3, -23.4, -6.0))
    d = smooth_min(torso, capsule(p, a, b, 5.0, 5.0), 5.0)
    slope = ellipsoid(p, (0.0, -19.0, -6.2), (10.0, 4.6, 5.6))
    d = smooth_min(d, slope, 5.0)
    return smooth_min(d, collar_distance(p), 0.3)


def collar_distance(p):
    """Distance [N] to the collar, likewise."""
    q = p - jnp.array((0.0, -15.0, -4.6))[:, None]
    ring = jnp.sqrt(q[0] ** 2 + (1.05 * q[2]) ** 2 + 1e-9) - 5.2
    return length(jnp.stack([ring, 0.7 * (q[1] + 0.30 * q[2])])) - 1.0


def neck_distance(p, nape):
    """Distance [N] to the neck, which ends at `nape` [3] inside the head."""
    return capsule(p, nape, jnp.array((0.0, -19.0, -5.4)), 3.9, 5.2)


def march(distance, origin, direction, t, bend=None, rounds=3, steps=4):
    """Sphere-trace: (t [N] where the ray meets a surface or passes it closest, distance
    there). `bend` is what changes slowly along a ray: it is renewed once a round."""
    speed = length(direction)

    def stride(_, state, bent, counts):
        t, best, best_t = state
        p = origin[:, None] + t * direction
        d = distance(p - bent[0]) - bent[1] if bend else distance(p)
        closer = (jnp.abs(d) < jnp.abs(best)) & counts
        best, best_t = jnp.where(closer, d, best), jnp.where(closer, t, best_t)
        return t + 1.2 * d / speed, best, best_t

    def walk(index, state):
        bent = bend(origin[:, None] + state[0] * direction) if bend else None
        counts = (index > 0) | (bend is None)  # the first bend is that of elsewhere
        go = functools.partial(stride, bent=bent, counts=counts)
        return jax.lax.fori_loop(0, steps, go, state)

    state = (t, jnp.full_like(t, 1e3), t)
    _, best, t = jax.lax.fori_loop(0, rounds, walk, state)
    return t, best


def normal(distance, p):
    """Outward gradients [3, N] by a tetrahedron of samples."""
    ends = jnp.array(((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)), jnp.float32)
    return ends.T @ jax.vmap(lambda e: distance(p + 0.06 * e[:, None]))(ends)


def turn(n, view):
    """Unit normals in camera axes, of gradients [3, N] in template space."""
    n = view.rotation @ (n / view.scale[:, None])
    return n / length(n)


def fit_template(rest):
    """(scale [3], offset [3]): head space = template * scale + offset."""
    half = np.mean(np.abs(rest[[0, 16], 0])) / 7.45
    tall = (rest[27, 1] - rest[8, 1]) / 12.2
    depth = np.mean(rest[[8, 27, 36, 45], 2]) - half * 3.95
    offset = (np.mean(rest[[0, 16], 0]), rest[8, 1] + 9.15 * tall, depth)
    return np.float32((half, tall, half)), np.float32(offset)


def shape(points, rest):
    """The face whose surface passes through landmarks [68, 3] in template space."""
    face = Face(points, rest, jnp.zeros(len(_SHAPERS)))
    shapers = points[_SHAPERS]
    target = skin_distance(shapers.T - bend(shapers.T, face)[0], face)
    square = jnp.sum((shapers[:, None] - shapers[None]) ** 2, -1)
    system = jnp.exp(-0.5 * square / _SIGMA**2) + 0.03 * jnp.eye(len(_SHAPERS))
    return face._replace(weights=jnp.linalg.solve(system, target))


def covered(miss, width):
    """Share [N] of a pixel covered by what its ray misses by so many cm."""
    return jnp.clip(1.2 - miss / width, 0.0, 1.0)


def to_template(ray, view):
    """Camera rays in template space: (origin [3], directions [3, N], pixel in cm)."""
    origin = (view.rotation.T @ -view.translation - view.offset) / view.scale
    direction = (view.rotation.T @ ray) / view.scale[:, None]
    width = view.pixel * -view.translation[2] / view.camera.focal / view.scale[0]
    return origin, direction, width
