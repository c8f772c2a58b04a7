"""Frames as the stages of head and torso draw from them, and rays drawn inside jit.

Frames live on the device as uint8, or are picked on the host where they are too many
(input/frames.py); rays are drawn on the device. A step looks at a few frames only,
because whatever depends on the condition is made once a frame.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.camera import over
from emogene_jax.emotion_to_video.torso import NECK
from emogene_jax.face.rig import Rig, condition, upper_conditions
from emogene_jax.landmarks import EYES, MOUTH
from emogene_jax.portrait.schema import Portrait
from emogene_jax.pose.code import PoseCode, pose_code, torso_code
from emogene_jax.rigid import project
from emogene_jax.signals import landmarks_to_motion

# What a frame is drawn for: its head, mouth, eyes, or all rows that may show a torso.
HEAD_BOX, MOUTH_BOX, EYES_BOX, TORSO_ROWS = range(4)


def drawable(portrait: Portrait, rig: Rig, code: PoseCode) -> dict:
    """A portrait's frames as arrays for the device: pictures, and of each frame all that
    the losses want to know."""
    motion = landmarks_to_motion(portrait.landmarks, portrait.rest)
    conditions, codes = condition(rig, motion), pose_code(code, portrait.pose)
    torso_codes, torso_motion = torso_code(code, codes, portrait.torso)
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
        "condition": np.asarray(conditions, np.float32),
        "upper": upper_conditions(rig),
        "code": codes,
        "torso_code": torso_codes,
        "torso": torso_motion,
        "rotation": portrait.pose.rotation.astype(np.float32),
        "translation": portrait.pose.translation.astype(np.float32),
        "turns": frame_turns(conditions),
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


def draw_rays(resident, key, regions, rays, top=0):
    """Random pixels of random frames, with all that the losses want to know of them.

    Args:
        resident: of `drawable`, or the batch of them that the host picked: rows, and
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
    box = resident["boxes"][t, np.minimum(regions, EYES_BOX)]
    below = jnp.array([top, 0.0, height, width])
    box = jnp.where(regions[:, None] == TORSO_ROWS, below, box)[:, None]  # [B, 1, 4]
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
        **{name: resident[name][t] for name in ("code", "torso_code", "torso")},
        "pose": (resident["rotation"][t], resident["translation"][t]),
    }
    if "heads" in resident:
        batch["head"] = unit(resident["heads"][index])
        edge = resident["neck"][t[:, None], columns]
        batch["neck"] = unit(resident["frames"][t[:, None], edge, columns])
        near = (rows < edge) & (rows >= edge - NECK * height)
        batch["under_head"] = near & (batch["matte"] > 0.5)
    return batch


def noisy(told, noise, key):
    """Conditions or codes, about as far off as a tracker is: without, a field learns the
    few hundred frames of a short portrait by heart."""
    return told + noise * jax.random.normal(key, told.shape)


def over_grey(layer):
    """A premultiplied layer [H, W, 4] over middle grey, [H, W, 3]."""
    return layer[..., :3] + 0.5 * (1 - layer[..., 3:])


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
