"""The colours of the synthetic world's faces, painted onto points [3, N].

Brows, lids and lips are natural cubic splines through the landmarks, in the (x, y) of
template space (shape.py). `width` is a pixel's width there, in cm: every edge is
a box filter of that width, so that closed lids and lips cover exactly nothing. `who` is
a video.Character.
"""

import jax.numpy as jnp
import numpy as np


def band(low, high, value, width):
    """Share of a pixel at `value` that lies between two edges: a box filter."""
    above = jnp.clip((high - value) / width + 0.5, 0, 1)
    return jnp.clip(above - jnp.clip((low - value) / width + 0.5, 0, 1), 0, 1)


def column(colour):
    """A colour [3] as [3, 1]."""
    return jnp.asarray(colour, jnp.float32)[:, None]


def mix(colour, other, share):
    """`other` laid over `colour`, where share [N] is 1."""
    return colour + share * (other - colour)


def axis(start, end):
    """Coordinates along and above the line between two landmarks, and its length."""
    along = end[:2] - start[:2]
    span = jnp.sqrt(jnp.sum(along * along))
    along = along / span

    def to_axis(p):
        x, y = p[0] - start[0], p[1] - start[1]
        return x * along[0] + y * along[1], y * along[0] - x * along[1]

    return to_axis, span


def curve(points, to_axis, s):
    """Height at s [N] of the natural cubic spline through landmarks [n, 3]."""
    knots, heights = to_axis(points.T)
    n = len(points)
    cubes = jnp.abs(knots[:, None] - knots[None]) ** 3
    border = jnp.stack([jnp.ones(n), knots])
    system = jnp.block([[cubes, border.T], [border, jnp.zeros((2, 2))]])
    solution = jnp.linalg.solve(system, jnp.append(heights, jnp.zeros(2)))
    s = jnp.clip(s, knots[0], knots[-1])
    bends = solution[:n] @ jnp.abs(s[None] - knots[:, None]) ** 3
    return bends + solution[n] + solution[n + 1] * s


def paint_eye(colour, p, points, who, width):
    """An eye whose landmarks [6, 3] go corner, upper lid, corner, lower lid."""
    to_axis, span = axis(points[0], points[3])
    s, h = to_axis(p)
    high = curve(points[:4], to_axis, s)
    low = curve(points[np.array([0, 5, 4, 3])], to_axis, s)
    within = band(0.0, span, s, width)
    ink = column(0.2 * who.hair + 0.05)
    arch = jnp.maximum(jnp.sin(jnp.pi * jnp.clip(s / span, 0.0, 1.0)), 0.0)
    fold = high + 0.42 * arch**0.7
    shadow = band(high, fold, h, width) * within
    colour = mix(colour, 0.80 * colour, 0.6 * shadow)
    line = band(fold - 0.04, fold + 0.04, h, width) * within
    colour = mix(colour, 0.55 * colour, 0.8 * line)
    x, y = s - 0.5 * span, h - 0.07 * span
    radius, size = jnp.sqrt(x * x + y * y), 0.265 * span
    shade = jnp.exp(-jnp.clip(high - h, 0.0, 9.0) / 0.16)
    ball = column((0.98, 0.96, 0.95)) - 0.35 * shade - 0.08 * (x / span) ** 2
    tone = column(who.iris) * (0.8 + 0.55 * jnp.clip(-y / size, -0.5, 1.0))
    ball = mix(ball, column(0.3 * who.iris), band(-9.0, size, radius, width))
    ball = mix(ball, tone - 0.3 * shade, band(-9.0, 0.85 * size, radius, width))
    ball = mix(ball, 0.03, band(-9.0, 0.46 * size, radius, width))
    spot = jnp.sqrt((x + 0.38 * size) ** 2 + (y - 0.36 * size) ** 2)
    ball = mix(ball, 1.0, band(-9.0, 0.27 * size, spot, width))
    spot = jnp.sqrt((x - 0.4 * size) ** 2 + (y + 0.45 * size) ** 2)
    ball = mix(ball, 1.0, 0.5 * band(-9.0, 0.13 * size, spot, width))
    colour = mix(colour, ball, band(low, high, h, width) * within)
    line = band(high - 0.05, high + 0.08 + 0.12 * arch, h, width)
    colour = mix(colour, ink, line * band(-0.12, span + 0.12, s, width))
    return mix(colour, ink, 0.45 * within * band(low - 0.06, low, h, width))


def paint_brow(colour, p, points, who, width):
    """A brow along landmarks [5, 3] from the outer end to the inner."""
    to_axis, span = axis(points[0], points[4])
    s, h = to_axis(p)
    middle = curve(points, to_axis, s)
    along = jnp.clip(s / span, 0.0, 1.0)
    end = jnp.clip(9.0 * (1.04 - along), 0.05, 1.0)
    thick = (0.10 + 0.30 * along**0.6) * end**0.5
    share = band(middle - thick, middle + thick, h, width)
    share = share * band(-0.1, span + 0.2, s, width)
    return mix(colour, column(0.75 * who.hair), 0.92 * share)


def paint_mouth(colour, p, points, who, chin, width):
    """Lips and what is between them, of landmarks 48 to 67; the jaw sank by `chin`."""
    to_axis, span = axis(points[0], points[6])
    s, h = to_axis(p)
    top = curve(points[:7], to_axis, s)
    bottom = curve(points[np.array([0, 11, 10, 9, 8, 7, 6])], to_axis, s)
    upper = curve(points[12:17], to_axis, s)
    lower = curve(points[np.array([12, 19, 18, 17, 16])], to_axis, s)
    within = band(0.0, span, s, width)
    lips = column(who.lips)
    colour = mix(colour, 0.86 * lips, within * band(upper, top, h, width))
    height = jnp.clip((h - bottom) / (lower - bottom + 0.05), -1.0, 2.0)
    gleam = jnp.exp(-18 * (height - 0.55) ** 2 - 1.2 * (s / span - 0.45) ** 2 * 9)
    lip = lips * (0.92 + 0.16 * height) + 0.16 * gleam
    colour = mix(colour, lip, within * band(bottom, lower, h, width))
    middle = 0.5 * (upper + lower)
    seam = within * band(middle - 0.06, middle + 0.06, h, width)
    colour = mix(colour, 0.42 * lips, seam)
    inside = column((0.25, 0.06, 0.08)) + 0.0 * p
    tongue = jnp.sqrt((p[0] / 1.35) ** 2 + ((p[1] + 5.45 - chin) / 0.85) ** 2)
    pink = column((0.84, 0.40, 0.40)) - 0.12 * tongue
    inside = mix(inside, pink, band(-9.0, 1.0, tongue, 2 * width))
    edge = -4.72 + 0.05 * p[0] ** 2
    inside = mix(inside, column((0.98, 0.96, 0.92)), band(edge, 9.0, p[1], width))
    inside = inside * (1.0 - 0.30 * jnp.exp(-jnp.clip(upper - h, 0.0, 9.0) / 0.15))
    inside = inside * jnp.clip(1.1 - 0.10 * p[0] ** 2, 0.35, 1.0)
    left, right = to_axis(points[12])[0], to_axis(points[16])[0]
    share = band(lower, upper, h, width) * band(left, right, s, width)
    return mix(colour, inside, share)


def blob(p, x, y, rx, ry):
    """A soft spot [N] on the surface."""
    return jnp.exp(-(((p[0] - x) / rx) ** 2) - ((p[1] - y) / ry) ** 2)


def light(n):
    """(diffuse, rim) of unit normals [3, N] in camera axes."""
    key = jnp.clip((jnp.array((-0.45, 0.50, 0.74)) @ n + 0.3) / 1.3, 0.0, 1.0)
    edge = jnp.clip(1.0 - n[2], 0.0, 1.0) ** 3
    return 0.22 + 0.16 * (1 + n[1]) + 0.66 * key, edge * jnp.clip(0.2 + n[0], 0.0, 1.0)


def paint_skin(p, rest, n, face, who, width):
    """Colour [3, N] of the bare head: p now, rest at rest, n lit normals."""
    at = face.points
    skin = column(who.skin) + 0.0 * p
    smile = [
        jnp.clip((at[i, 1] - face.rest[i, 1]) + s * (at[i, 0] - face.rest[i, 0]), 0, 1)
        for i, s in ((48, -1), (54, 1))
    ]
    for x, glad in zip((-4.5, 4.5), smile, strict=True):
        blush = blob(rest, x, -1.0 + 0.5 * glad, 2.1, 1.7)
        skin = mix(skin, skin * column((1.0, 0.72, 0.70)), (0.4 + 0.3 * glad) * blush)
    dark = 0.30 * blob(p, 0.0, at[33, 1] - 0.25, 1.5, 0.45)
    dark = dark + 0.28 * blob(p, 0.0, at[57, 1] - 0.45, 1.2, 0.4)
    for i in (32, 34):
        dark = dark + 0.8 * blob(p, 1.15 * at[i, 0], at[i, 1] + 0.15, 0.36, 0.2)
    for i, wing, sign, glad in ((48, 31, -1, smile[0]), (54, 35, 1, smile[1])):
        a = at[wing] + jnp.array((0.5 * sign, 0.2, 0.0))
        to_axis, span = axis(a, at[i] + jnp.array((0.75 * sign, 0.1, 0.0)))
        s, h = to_axis(p)
        h = h + 0.25 * sign * jnp.sin(jnp.pi * jnp.clip(s / span, 0.0, 1.0))
        crease = jnp.exp(-((h / 0.22) ** 2)) * band(0.0, span, s, 0.8)
        dark = dark + 0.34 * glad * crease
    frown = jnp.clip(
        1.6 * (face.rest[21, 1] + face.rest[22, 1] - at[21, 1] - at[22, 1]), 0, 1
    )
    for x in (-0.45, 0.45):
        dark = dark + 0.35 * frown * blob(p, x, at[21, 1] - 0.1, 0.14, 0.75)
    skin = skin * (1.0 - jnp.clip(dark, 0, 0.85) * column((0.55, 0.78, 0.80)))
    skin = paint_mouth(skin, p, at[48:68], who, at[8, 1] - face.rest[8, 1], width)
    for ids in (np.r_[36:42], np.r_[42:48]):
        skin = paint_eye(skin, p, at[ids], who, width)
    for ids in (np.r_[17:22], np.r_[26:21:-1]):
        skin = paint_brow(skin, p, at[ids], who, width)
    return skin
