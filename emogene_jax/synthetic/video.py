"""The picture of the synthetic world: a small 3-D head and shoulders, ray-traced.

Landmarks drive the picture exactly: the head's surface passes through them
(shape.py) and brows, lids and lips are curves through them (paint.py).
Face, hair and torso are three layers, each with a depth and a coverage along every ray,
from which the picture and its true masks are put together. A picture is traced in tiles
so that a layer is left out where it cannot be seen.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.signals import Camera, Pose
from emogene_jax.synthetic.paint import (
    column,
    light,
    mix,
    paint_skin,
)
from emogene_jax.synthetic.shape import (
    View,
    bend,
    clothes_distance,
    collar_distance,
    covered,
    ear_distance,
    fit_template,
    hair_distance,
    length,
    march,
    mirror,
    neck_distance,
    normal,
    shape,
    skin_distance,
    to_template,
    turn,
)

DISTANCE = 60.0  # cm from the camera to the head
HOME = (0.0, 0.0, -DISTANCE)
FOLLOWS = 0.3  # of the head's shifts, by which the torso goes along


class Character(NamedTuple):
    """Colours in [0, 1] RGB and shape parameters of one figure, float32."""

    skin: np.ndarray  # [3]
    lips: np.ndarray  # [3]
    hair: np.ndarray  # [3]
    iris: np.ndarray  # [3]
    clothes: np.ndarray  # [3]
    collar: np.ndarray  # [3]
    backdrop: np.ndarray  # [3]
    hairline: np.ndarray  # [4]: half-width, height, swoop, fringe curve, cm
    hair_cut: np.ndarray  # [2]: lower end at the front and at the back, cm
    hair_volume: np.ndarray  # [4]: thickness, quiff, bob, curls, cm
    part: np.ndarray  # []: which side the hair is parted on, cm


class Rendering(NamedTuple):
    """A video and its true masks."""

    frames: np.ndarray  # [T, H, W, 3] uint8, sRGB
    head_matte: np.ndarray  # [T, H, W] uint8, 255 = head (face, hair, ears)
    torso_matte: np.ndarray  # [T, H, W] uint8, 255 = neck, clothes
    background: np.ndarray  # [H, W, 3] uint8


_SKINS = (
    (0.98, 0.80, 0.69),
    (0.93, 0.71, 0.56),
    (0.80, 0.56, 0.40),
    (0.62, 0.41, 0.29),
    (0.52, 0.34, 0.26),
    (0.99, 0.84, 0.75),
)
_HAIRS = (
    (0.25, 0.14, 0.10),
    (0.46, 0.25, 0.12),
    (0.13, 0.11, 0.14),
    (0.86, 0.62, 0.30),
    (0.70, 0.28, 0.13),
    (0.56, 0.36, 0.22),
)
_IRISES = (
    (0.24, 0.48, 0.66),
    (0.36, 0.22, 0.12),
    (0.27, 0.50, 0.32),
    (0.42, 0.32, 0.2),
)
# Clothes, collar, backdrop.
_OUTFITS = (
    ((0.88, 0.42, 0.30), (0.97, 0.93, 0.86), (0.45, 0.67, 0.72)),
    ((0.20, 0.36, 0.55), (0.95, 0.95, 0.93), (0.93, 0.76, 0.57)),
    ((0.93, 0.70, 0.26), (0.30, 0.33, 0.42), (0.55, 0.62, 0.80)),
    ((0.24, 0.50, 0.45), (0.96, 0.90, 0.80), (0.92, 0.72, 0.66)),
    ((0.55, 0.30, 0.48), (0.95, 0.90, 0.92), (0.62, 0.74, 0.62)),
)
# hairline, hair_cut, hair_volume
_STYLES = (
    ((6.7, 7.6, 1.2, 0.05), (1.0, -4.5), (1.0, 1.6, 0.0, 0.0)),  # short, swept
    ((6.5, 6.9, 1.0, 0.03), (-8.0, -8.0), (1.3, 0.4, 1.0, 0.0)),  # bob
    ((6.8, 7.6, 0.0, 0.06), (0.5, -4.0), (1.75, 0.6, 0.0, 1.0)),  # curls
)


def character(seed: int) -> Character:
    """A figure drawn from `seed`: the same seed gives the same figure."""
    rng = np.random.default_rng(seed)
    skin = np.array(_SKINS[rng.integers(len(_SKINS))])
    hair = _HAIRS[rng.integers(3 if skin[0] < 0.7 else len(_HAIRS))]
    clothes, collar, backdrop = _OUTFITS[rng.integers(len(_OUTFITS))]
    hairline, cut, volume = _STYLES[rng.integers(len(_STYLES))]
    fields = dict(
        skin=skin,
        lips=skin * (0.86, 0.56, 0.58) + (0.03, 0.0, 0.02),
        hair=hair,
        iris=_IRISES[rng.integers(len(_IRISES))],
        clothes=clothes,
        collar=collar,
        backdrop=backdrop,
        hairline=hairline,
        hair_cut=cut,
        hair_volume=np.array(volume) * rng.uniform(0.9, 1.1, 4),
        part=rng.choice((-2.6, 2.6)),
    )
    return Character(**{k: np.asarray(v, np.float32) for k, v in fields.items()})


def camera(size: int) -> Camera:
    """A head and shoulders view, `size` px square, of a head 60 cm away."""
    return Camera(focal=1.5 * size, cx=0.5 * size, cy=0.41 * size, size=size)


def _skin_layer(ray, face, view, who):
    """Depth [N], coverage [N] and colour [3, N] of face and ears."""
    origin, direction, width = to_template(ray, view)
    bare = functools.partial(skin_distance, face=face)
    start = (4.5 - origin[2]) / direction[2]
    depth, miss = march(
        bare, origin, direction, start, functools.partial(bend, face=face)
    )
    p = origin[:, None] + depth * direction
    rest = p - bend(p, face)[0]
    n = turn(normal(bare, rest), view)
    skin = paint_skin(p, rest, n, face, who, width)
    diffuse, rim = light(n)
    near_hair = jnp.exp(-jnp.clip(hair_distance(p, who), 0.0, 9.0) / 0.9)
    ear = jnp.clip(0.5 - ear_distance(mirror(rest)) / 0.8, 0.0, 1.0)
    lit = jnp.clip(diffuse - 0.35 * near_hair - 0.15 * ear, 0.0, 1.2)
    shade = column((0.62, 0.42, 0.42)) + column((0.05, 0.0, 0.03)) / column(who.skin)
    gloss = jnp.clip(jnp.array((-0.30, 0.42, 0.86)) @ n, 0.0, 1.0) ** 24
    return (
        depth,
        covered(miss, width),
        skin * mix(shade, 1.0, lit) + 0.10 * rim + 0.07 * gloss,
    )


def _hair_layer(ray, face, view, who):
    origin, direction, width = to_template(ray, view)
    hair = functools.partial(hair_distance, who=who)
    start = (9.5 - origin[2]) / direction[2]
    depth, miss = march(hair, origin, direction, start, rounds=7, steps=2)
    p = origin[:, None] + depth * direction
    n = turn(normal(hair, p), view)
    diffuse, rim = light(n)
    bob = who.hair_volume[2]
    angle = jnp.arctan2(p[0] - who.part, p[1] - 5.0 - 7.5 * jnp.clip(bob, 0, 1))
    strands = jnp.sin(17 * angle + 1.5 * jnp.sin(5 * angle)) + 0.7 * jnp.sin(41 * angle)
    smooth = jnp.clip(1.0 - who.hair_volume[3], 0.1, 1.0)
    strands = strands * smooth
    ring = jnp.exp(-(((n[1] - 0.62 + 0.04 * strands) / 0.16) ** 2)) * n[2]
    tone = column(who.hair) * (0.42 + 0.72 * diffuse + 0.07 * strands)
    glow = column(0.5 * who.hair + 0.12)
    colour = tone + glow * (0.55 * jnp.clip(ring, 0, 1) * smooth + 0.8 * rim)
    return depth, covered(miss, width), colour


def _torso_layer(ray, face, view, who):
    home = jnp.array(HOME)
    base = home + FOLLOWS * (view.translation - home)
    nape = view.rotation @ jnp.array((0.0, -3.0, -3.6)) + view.translation - base
    chin = view.rotation @ (face.points[8] * view.scale + view.offset)
    chin = chin + view.translation - base
    width = view.pixel * DISTANCE / view.camera.focal

    def torso(p):
        return jnp.minimum(clothes_distance(p), neck_distance(p, nape))

    start = (5.0 + base[2]) / ray[2]
    depth, miss = march(torso, -base, ray, start, rounds=6, steps=2)
    q = depth * ray - base[:, None]
    n = normal(torso, q)
    n = n / length(n)
    diffuse, rim = light(n)
    neck = clothes_distance(q) - neck_distance(q, nape)
    neck = jnp.clip(0.5 + neck / width, 0.0, 1.0)
    collar = jnp.clip(0.5 - (collar_distance(q) - 0.08) / width, 0.0, 1.0)
    ribs = 1.0 + 0.06 * jnp.sin(26 * jnp.arctan2(q[0], q[2] + 4.6))
    knit = 1.0 + 0.025 * jnp.sin(9 * q[1] + 0.2 * q[0] ** 2 * 0.1)
    cloth = mix(column(who.clothes) * knit, column(who.collar) * ribs, collar)
    under = 0.75 * jnp.exp(
        -(length((q - chin[:, None]) / column((7.5, 4.6, 9.0))) ** 2)
    )
    skin = column(who.skin) * (1.0 - under * column((0.55, 0.75, 0.75)))
    crease = jnp.exp(-jnp.abs(collar_distance(q)) / 0.5) * (1 - collar)
    colour = mix(cloth * (1 - 0.25 * crease), skin * (1 - 0.3 * crease), neck)
    shade = jnp.where(neck > 0.5, column((0.62, 0.45, 0.45)), 0.45)
    return depth, covered(miss, width), colour * mix(shade, 1.0, diffuse) + 0.08 * rim


def _backdrop(x, y, who):
    """Studio backdrop [3, N] at picture coordinates in [0, 1], lit behind the head."""
    glow = jnp.exp(-((x - 0.45) ** 2 + (y - 0.42) ** 2) / 0.20)
    return column(who.backdrop) * (0.66 + 0.40 * glow - 0.06 * y) + 0.07 * glow


def _tile(columns, rows, face, view, who):
    """Colour [3, N], head and torso coverage [N] of a tile's rays [N].

    Layers that cannot touch the tile are not traced.
    """
    focal, cx, cy, size = view.camera
    ray = jnp.stack([(columns - cx) / focal, (cy - rows) / focal, -jnp.ones_like(rows)])

    def layer(draw, centre, radius):
        where = view.rotation @ (jnp.array(centre) * view.scale) + view.translation
        x, y = cx - focal * where[0] / where[2], cy + focal * where[1] / where[2]
        reach = -radius * view.scale[0] * focal / where[2]
        dx = jnp.maximum(jnp.abs(x - jnp.mean(columns)) - jnp.ptp(columns) / 2, 0)
        dy = jnp.maximum(jnp.abs(y - jnp.mean(rows)) - jnp.ptp(rows) / 2, 0)
        nothing = (jnp.full_like(rows, 1e3), jnp.zeros_like(rows), jnp.zeros_like(ray))
        return jax.lax.cond(
            dx**2 + dy**2 < reach**2,
            lambda: draw(ray, face, view, who),
            lambda: nothing,
        )

    layers = [
        layer(_skin_layer, (0.0, -0.5, -1.0), 13.0),
        layer(_hair_layer, (0.0, 2.0, -2.0), 14.0),
        layer(_torso_layer, (0.0, -36.0, -3.0), 32.0),
    ]
    seen = []
    for depth, share, _ in layers:
        for other, hides, _ in layers:
            share = share * (1.0 - hides * (other < depth))
        seen.append(share)
    bare = jnp.clip(1.0 - sum(seen), 0.0, 1.0) * _backdrop(
        columns / size, rows / size, who
    )
    picture = bare + sum(s * c for s, (_, _, c) in zip(seen, layers, strict=True))
    return jnp.concatenate([picture, jnp.stack([seen[0] + seen[1], seen[2]])])


@functools.partial(jax.jit, static_argnames=("size", "fine"))
def _frame(points, rest, view, who, size, fine):
    """One frame uint8 [H, W, 5]: RGB, head, torso."""
    face = shape((points - view.offset) / view.scale, (rest - view.offset) / view.scale)
    tile = next(t for t in (32, 16, 8) if size * fine % t == 0)
    tiles = size * fine // tile
    inner = (jnp.arange(tile * tile) + 0.0) // tile, jnp.arange(tile * tile) % tile

    def draw(index):
        rows = ((index // tiles) * tile + inner[0] + 0.5) / fine
        columns = ((index % tiles) * tile + inner[1] + 0.5) / fine
        return _tile(columns, rows, face, view, who)

    picture = jax.lax.map(draw, jnp.arange(tiles * tiles))  # [tiles², 5, tile²]
    picture = picture.reshape(tiles, tiles, 5, tile, tile).transpose(0, 3, 1, 4, 2)
    picture = jnp.mean(picture.reshape(size, fine, size, fine, 5), (1, 3))
    picture = jnp.round(jnp.clip(picture, 0.0, 1.0) * 255.0)
    picture = picture.at[..., 4].min(255.0 - picture[..., 3])  # rounding adds up
    return picture.astype(jnp.uint8)


def render(
    landmarks: np.ndarray,
    rest: np.ndarray,
    pose: Pose,
    camera: Camera,
    character: Character,
    supersample: int = 2,
) -> Rendering:
    """Pictures and true masks of a talking figure.

    Args:
        landmarks: [T, 68, 3] cm, head space; the picture follows them exactly.
        rest: [68, 3] cm, the same person's neutral face with closed lips.
        pose: T head poses; the torso hardly follows them.
        camera: where the picture is taken from; `size` is a multiple of 8.
        character: what the figure looks like.
        supersample: rays per pixel and axis.
    """
    rest, size = np.asarray(rest, np.float32), camera.size
    rotation, translation = (np.asarray(x, np.float32) for x in pose)
    pictures = np.empty((len(landmarks), size, size, 5), np.uint8)
    for index, points in enumerate(np.asarray(landmarks, np.float32)):
        view = View(
            camera,
            1.0 / supersample,
            rotation[index],
            translation[index],
            *fit_template(rest),
        )
        pictures[index] = _frame(points, rest, view, character, size, supersample)
    rows, columns = (np.mgrid[:size, :size].reshape(2, -1) + 0.5) / size
    backdrop = np.clip(_backdrop(columns, rows, character), 0.0, 1.0).T
    background = np.round(backdrop * 255.0).astype(np.uint8).reshape(size, size, 3)
    return Rendering(pictures[..., :3], pictures[..., 3], pictures[..., 4], background)
