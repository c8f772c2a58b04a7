"""Head and torso as stages of training: what a step draws, and what it is told.

Frames live on the device as uint8, or are picked on the host where they are too many
(stream.py); rays are drawn on the device. A step looks at a few frames only, because
whatever depends on the condition is made once a frame.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.alignment import aligned, flow
from emogene_jax.emotion_to_video.bake import bake, prepare, render_head
from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.encoding import node_points
from emogene_jax.emotion_to_video.head import HeadField, HeadSize, step_back
from emogene_jax.emotion_to_video.march import march, seen_density
from emogene_jax.emotion_to_video.render import over, pixel_place, to_bytes
from emogene_jax.emotion_to_video.rig import HULL, Rig
from emogene_jax.emotion_to_video.torso import NECK, TorsoField, TorsoSize
from emogene_jax.rigid import project
from emogene_jax.signals import NUM_LANDMARKS, Camera, Stage

EYES = slice(36, 48)
MOUTH = slice(48, 68)
SOLID = 0.3  # a ray above this alpha has met something
FOG_DEPTH = 0.3  # cm of ray, by which fog is judged
# What a frame is drawn for: its head, mouth, eyes, or all rows that may show a torso.
HEAD_BOX, MOUTH_BOX, EYES_BOX, TORSO_ROWS = range(4)


def resident_frames(portrait, condition, upper, code):
    """A portrait's frames as arrays for the device.

    Args:
        portrait: data.schema.Portrait.
        condition: [T, C] (rig.condition). upper: [C] (rig.upper_conditions).
        code: [T, P] (torso.pose_code).
    """
    landmarks = np.asarray(
        project(
            portrait.landmarks,
            portrait.pose.rotation,
            portrait.pose.translation,
            portrait.camera,
        )
    )
    return {
        "frames": portrait.frames,
        "head_matte": portrait.head_matte,
        "torso_matte": portrait.torso_matte,
        "background": portrait.background,
        "condition": np.asarray(condition, np.float32),
        "upper": upper,
        "code": np.asarray(code, np.float32),
        "rotation": portrait.pose.rotation.astype(np.float32),
        "translation": portrait.pose.translation.astype(np.float32),
        "turns": frame_turns(condition),
        "neck": _neck_rows(portrait.head_matte, portrait.torso_matte),
        "boxes": np.stack(
            [
                _matte_boxes(portrait.head_matte),
                _point_boxes(landmarks[:, MOUTH], 0.35),
                _point_boxes(landmarks[:, EYES], 0.35),
            ],
            1,
        ),
    }


def frame_turns(condition, most: int = 4):
    """Frame numbers [n] int32 to draw from: rare faces (a blink, a wide-open mouth) come
    up to `most` times as often as usual ones, or they would be learned last."""
    far = np.linalg.norm(condition, axis=-1)
    times = np.clip(np.round((far / np.median(far)) ** 2), 1, most).astype(int)
    return np.repeat(np.arange(len(condition)), times).astype(np.int32)


def head_stage(
    camera: Camera,
    size: HeadSize = HeadSize(),
    frames: int = 8,
    rays: int = 256,
    samples: int = 16,
    matte_weight: float = 0.1,
    fog_weight: float = 3e-4,
    noise: float = 0.15,
    region_share: tuple = (0.625, 0.25, 0.125),
    field: HeadField | None = None,
) -> Stage:
    """The head field, learned against frames in which the head stands before the known
    torso and background.

    `frozen` is {"rig": Rig}. region_share: how many of the frames are looked at as whole
    heads, how many for their mouths, how many for their eyes. noise: see `noisy`.
    field: in place of HeadField(size), one that answers the same calls."""
    field = field or HeadField(size)

    def init(key, batch):
        condition, point = jnp.zeros(batch["condition"][:1].shape), jnp.zeros((1, 1, 3))
        rig = _blank_rig(condition.shape[1])
        params = field.init(key, rig, condition, point, point, method=_whole)["params"]
        return params, {"density": jnp.full((HULL,) * 3, 2.0)}

    def loss(params, aux, frozen, batch, key, step):
        rig = frozen["rig"]
        march_key, density_key, noise_key = jax.random.split(key, 3)
        condition = noisy(batch["condition"], noise, noise_key)
        state = field.apply({"params": params}, rig, condition, method="frame")
        pose = jax.lax.stop_gradient(corrected(params, batch))
        view = pixel_rays(batch["rows"], batch["columns"], *pose, camera)
        density = seen_density(rig, aux["density"])
        colour, alpha, distance = march(
            field, params, rig, density, state, view, samples, march_key
        )
        pixel = colour + (1 - alpha)[..., None] * batch["behind"]
        # What the corrections move is seen in the true picture's slope (alignment.py).
        points = view.origins + distance[..., None] * view.directions
        solid = alpha[..., None] > SOLID
        points = jax.lax.stop_gradient(jnp.where(solid, points, 0.0))
        told = rig, condition, step_back(rig, state, points)
        displaced = field.apply({"params": params}, *told, method="displaced")
        correction = params["pose_correction"], batch["code"]
        moved = flow(*correction, displaced, points, pose, camera)
        moved = jnp.where(solid, moved, 0.0)
        pixel -= jnp.einsum("brcx,brx->brc", batch["slope"], moved)
        colour_loss = jnp.mean((pixel - batch["target"]) ** 2)
        matte_loss = jnp.mean((alpha - batch["matte"]) ** 2)
        grid, fog = _look_again(
            field, params, rig, state, aux["density"], density_key, step
        )
        aux = {"density": grid}
        metrics = {
            "psnr": -10 * jnp.log10(colour_loss),
            "matte": matte_loss,
        }
        loss = colour_loss + matte_weight * matte_loss + fog_weight * fog
        return loss, (aux, metrics)

    regions = np.repeat(np.arange(len(region_share)), _split(frames, region_share))

    def sample(resident, key, step):
        return draw_rays(resident, key, regions, rays)

    def images(params, aux, frozen, batch):
        # A face of the batch, over grey.
        rig = frozen["rig"]
        grid = seen_density(rig, aux["density"])
        baked = bake(field, prepare(field, params, grid), rig, batch["condition"][0])
        pose = tuple(part[0] for part in corrected(params, batch))
        corner = jnp.zeros(2, jnp.int32)
        window = (camera, corner, camera.size, samples)
        layer = render_head(field, params, rig, baked, pose, *window)
        return {"head": np.asarray(to_bytes(over_grey(layer)))}

    return Stage(init, loss, sample, images)


def torso_stage(
    camera: Camera,
    size: TorsoSize = TorsoSize(),
    frames: int = 8,
    rays: int = 512,
    matte_weight: float = 0.03,
    neck_weight: float = 0.1,
    noise: float = 0.2,
) -> Stage:
    """The torso field, learned against whole frames behind a finished head.

    Where the head hides it, the neck goes on as it is below the head's edge: a pose that
    was never filmed bares a strip of it.

    The head is frozen, so it is rendered once and lies beside the frames: resident data
    also has "heads" [T, H, W, 4] uint8, premultiplied colour and alpha."""
    field = TorsoField(size)

    def init(key, batch):
        code = jnp.zeros((1, batch["code"].shape[-1]))
        params = field.init(key, code, jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 4)))
        return params["params"], {}

    def loss(params, aux, frozen, batch, key, step):
        del frozen, step
        code = noisy(batch["code"], noise, key)
        colour, alpha = batch["head"][..., :3], batch["head"][..., 3:]
        place = pixel_place(batch["rows"], batch["columns"], camera)
        torso, opacity = field.apply({"params": params}, code, place, batch["head"])
        behind = over(torso, opacity, batch["background"])
        pixel = colour + (1 - alpha) * behind
        colour_loss = jnp.mean((pixel - batch["target"]) ** 2)
        open_pixel = 1 - batch["matte"]
        matte_loss = jnp.mean(open_pixel * (opacity - batch["torso_matte"]) ** 2)
        bare, cover = field.apply(
            {"params": params}, code, place, jnp.zeros_like(batch["head"])
        )
        neck = jnp.square(bare - batch["neck"]).mean(-1) + (cover - 1) ** 2
        neck_loss = jnp.mean(batch["under_head"] * neck)
        metrics = {"psnr": -10 * jnp.log10(colour_loss), "matte": matte_loss}
        loss = colour_loss + matte_weight * matte_loss + neck_weight * neck_loss
        return loss, (aux, metrics)

    def sample(resident, key, step):
        regions, top = np.full(frames, TORSO_ROWS), size.top(camera.size)
        return draw_rays(resident, key, regions, rays, top)

    def images(params, aux, frozen, batch):
        # A torso of the batch without its head, over grey.
        number = jnp.arange(camera.size**2)[None]
        place = pixel_place(number // camera.size, number % camera.size, camera)
        colour, opacity = field.apply(
            {"params": params}, batch["code"][:1], place, jnp.zeros((*number.shape, 4))
        )
        layer = jnp.concatenate([opacity[..., None] * colour, opacity[..., None]], -1)
        layer = layer.reshape(camera.size, camera.size, 4)
        return {"torso": np.asarray(to_bytes(over_grey(layer)))}

    return Stage(init, loss, sample, images)


def noisy(told, noise, key):
    """Conditions or codes, about as far off as a tracker is: without, a field learns the
    few hundred frames of a short portrait by heart."""
    return told + noise * jax.random.normal(key, told.shape)


def corrected(params, batch):
    """A batch's poses as the head is to be seen under them."""
    return aligned(params["pose_correction"], batch["code"], *batch["pose"], jnp)


def over_grey(layer):
    """A premultiplied layer [H, W, 4] over middle grey, [H, W, 3]."""
    return layer[..., :3] + 0.5 * (1 - layer[..., 3:])


def draw_rays(resident, key, regions, rays, top=0):
    """Random pixels of random frames, with all that the losses want to know of them.

    Args:
        resident: resident_frames, or the batch of them that the host picked: rows, and
            beside them "others" [B, C], the conditions of as many more.
        regions: [B] HEAD_BOX, MOUTH_BOX, EYES_BOX or TORSO_ROWS: what each frame is
            drawn for.
        rays: of each frame. top: the first of the TORSO_ROWS.
    """
    frame_key, other_key, place_key = jax.random.split(key, 3)
    if "others" in resident:
        t, others = jnp.arange(len(regions)), resident["others"]
    else:
        t, other = (
            jax.random.choice(k, resident["turns"], regions.shape)
            for k in (frame_key, other_key)
        )
        others = resident["condition"][other]
    return _draw_pixels(resident, t, others, place_key, regions, rays, top)


def _draw_pixels(resident, t, others, key, regions, rays, top):
    """Random pixels of the frames t [B].

    A frame that is drawn for its mouth is told another one's brows and eyes (of others,
    [B, C]), and one that is drawn for its eyes another mouth: what half of a face does is
    not to be read off the other half, or a blink would change the lips.
    """
    _, height, width = resident["head_matte"].shape
    below = jnp.broadcast_to(jnp.array([top, 0.0, height, width]), (len(t), 1, 4))
    boxes = jnp.concatenate([resident["boxes"][t], below], 1)
    box = boxes[jnp.arange(len(t)), regions][:, None]  # [B, 1, 4]
    u = jax.random.uniform(key, (len(t), rays, 2))
    place = box[..., :2] + u * (box[..., 2:] - box[..., :2])
    limit = jnp.array([height - 1, width - 1])
    place = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, limit)
    rows, columns = place[..., 0], place[..., 1]
    upper, region = resident["upper"], regions[:, None]
    own = ~((region == MOUTH_BOX) & upper | (region == EYES_BOX) & ~upper)
    condition = jnp.where(own, resident["condition"][t], others)
    index = (t[:, None], rows, columns)

    def unit(pixels):
        return pixels.astype(jnp.float32) / 255

    def beside(down, right):
        row = jnp.clip(rows + down, 0, height - 1)
        column = jnp.clip(columns + right, 0, width - 1)
        return unit(resident["frames"][t[:, None], row, column])

    target = unit(resident["frames"][index])
    across, down = beside(0, 1) - beside(0, -1), beside(1, 0) - beside(-1, 0)
    torso_matte = unit(resident["torso_matte"][index])
    background = unit(resident["background"][rows, columns])
    batch = {
        "rows": rows,
        "columns": columns,
        "target": target,
        "slope": jnp.stack([across, down], -1) / 2,  # [B, R, 3, 2] per pixel
        "matte": unit(resident["head_matte"][index]),
        "torso_matte": torso_matte,
        "background": background,
        # Behind the head stands the torso where it can be seen, else the background.
        "behind": over(target, torso_matte, background),
        "condition": condition,
        "code": resident["code"][t],
        "pose": (resident["rotation"][t], resident["translation"][t]),
    }
    if "heads" in resident:
        batch["head"] = unit(resident["heads"][index])
        edge = resident["neck"][t[:, None], columns]
        batch["neck"] = unit(resident["frames"][t[:, None], edge, columns])
        near = (rows < edge) & (rows >= edge - NECK * height)
        batch["under_head"] = near & (batch["matte"] > 0.5)
    return batch


def _blank_rig(conditions):
    """A rig of the right arrangement: parameters' shapes depend on nothing else of it."""
    zero, one, grid = jnp.zeros(3), jnp.ones(3), jnp.zeros((2, 2, 2, 3))
    linear = jnp.zeros((3 * NUM_LANDMARKS, conditions)), *[zero] * 3
    warp = jnp.zeros((conditions, *grid.shape))
    whole = grid[..., 0], jnp.ones((2, 2, 2, 2))
    return Rig(*linear, warp, grid, zero, one, zero, one, *whole)


def _whole(field, rig, condition, points, directions):
    state = field.frame(rig, condition)
    density, features = field(rig, state, points)
    return field.colour(features, density, directions)


def _look_again(field, params, rig, state, density, key, step):
    """Refresh one slice of the occupancy grid with what one frame shows there.

    Returns:
        the grid, and how opaque that slice is inside the hull, 0 to 1: what no ray has
        ever seen (under the chin) keeps the fog that it began with unless that costs.
    """
    depth, height, width = density.shape
    frame_key, place_key = jax.random.split(key)
    chosen = jax.random.randint(frame_key, (), 0, len(state.planes))
    one = jax.tree.map(lambda x: jax.lax.stop_gradient(x[chosen][None]), state)
    layer = (step * 7) % depth  # 7 is coprime to usual depths: all slices, spread out
    nodes = node_points((1, height, width)).at[:, 2].set(layer / (depth - 1))
    cell = 1 / jnp.array([width - 1, height - 1, depth - 1])
    nodes = nodes + cell * jax.random.uniform(
        place_key, nodes.shape, minval=-0.5, maxval=0.5
    )
    points = rig.low + nodes * (rig.high - rig.low)
    fresh, _ = field.apply(
        {"params": params},
        rig,
        one,
        points[None],
        method="rest_face",
    )
    fresh = fresh.reshape(height, width)
    fog = jnp.mean(rig.hull[layer] * -jnp.expm1(-FOG_DEPTH * fresh))
    fresh = jax.lax.stop_gradient(fresh)
    return density.at[layer].set(jnp.maximum(0.8 * density[layer], fresh)), fog


def _split(total, shares):
    counts = [int(total * share) for share in shares]
    counts[0] += total - sum(counts)
    return counts


def _neck_rows(head_matte, torso_matte):
    """[T, W] int32: the first row of clear torso below the head in each column; 0 = the
    head does not end in torso there."""
    height = head_matte.shape[1]
    head = head_matte > 127
    last = height - 1 - head[:, ::-1].argmax(1)  # of the head, where there is any
    row = np.minimum(last + 2, height - 1)
    below = np.take_along_axis(torso_matte, row[:, None], 1)[:, 0]
    return np.where(head.any(1) & (below > 127), row, 0).astype(np.int32)


def _matte_boxes(matte, margin=0.06):
    """[T, 4] (top, left, bottom, right) around mattes [T, H, W], with a margin."""
    boxes = []
    for picture in matte:
        rows, columns = np.nonzero(picture > 64)
        if not len(rows):
            rows = columns = np.array([0, len(picture) - 1])
        edge = margin * len(picture)
        boxes.append(
            [
                rows.min() - edge,
                columns.min() - edge,
                rows.max() + 1 + edge,
                columns.max() + 1 + edge,
            ]
        )
    return np.clip(np.array(boxes, np.float32), 0, matte.shape[1])


def _point_boxes(points, margin):
    """[T, 4] (top, left, bottom, right) around points [T, P, 2], grown by a share."""
    low, high = points.min(1)[:, ::-1], points.max(1)[:, ::-1]
    edge = margin * (high - low) + 1
    return np.concatenate([low - edge, high + edge], -1).astype(np.float32)
