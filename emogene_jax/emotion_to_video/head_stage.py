"""The head field as a stage of training.

What is seen is compared with filmed (or augmented) frames, before the known torso and
background.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.bake import bake, ready_head, render_head
from emogene_jax.emotion_to_video.camera import pixel_rays, to_bytes
from emogene_jax.emotion_to_video.draw import draw_rays, noisy, over_grey
from emogene_jax.emotion_to_video.encoding import node_points
from emogene_jax.emotion_to_video.head import HeadField, HeadSize, step_back
from emogene_jax.emotion_to_video.volume import march, seen_density
from emogene_jax.face.rig import HULL, Rig
from emogene_jax.parallel import on_accelerator
from emogene_jax.pose.alignment import aligned, flow
from emogene_jax.signals import NUM_LANDMARKS, Camera, Stage

SOLID = 0.3  # a ray above this alpha has met something
FOG_DEPTH = 0.3  # cm of ray, by which fog is judged


def head_stage(
    camera: Camera,
    size: HeadSize,
    *,
    frames: int,
    rays: int,
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
            field, params, rig, condition, state, aux["density"], density_key, step
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
        pose = tuple(part[0] for part in corrected(params, batch))
        told = frozen["rig"], aux["density"], batch["condition"][0], pose
        return {"head": np.asarray(shown(params, *told))}

    @jax.jit
    def shown(params, rig, density, condition, pose):
        head = ready_head(field, params, rig, seen_density(rig, density))
        baked = bake(field, head, rig, condition)
        window = (camera, jnp.zeros(2, jnp.int32), camera.size, samples)
        layer = render_head(field, params, rig, baked, pose, *window)
        return to_bytes(over_grey(layer))

    return Stage(init, loss, sample, images)


def corrected(params, batch):
    """A batch's poses as the head is to be seen under them."""
    return aligned(params["pose_correction"], batch["code"], *batch["pose"], jnp)


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


def _look_again(field, params, rig, condition, state, density, key, step):
    """Refresh one slice of the occupancy grid with what one frame shows there.

    Returns:
        the grid, and how opaque that slice is inside the hull, 0 to 1: what no ray has
        ever seen (under the chin) keeps the fog that it began with unless that costs.
    """
    depth, height, width = density.shape
    frame_key, place_key = jax.random.split(key)
    chosen = jax.random.randint(frame_key, (), 0, len(condition))
    if on_accelerator():
        # Of its condition: a frame's state lies on one device, and would have to be sent.
        chosen = jnp.arange(len(condition))[:, None] == chosen
        chosen = jnp.where(chosen, condition, 0.0).sum(0, keepdims=True)
        one = field.apply({"params": params}, rig, chosen, method="frame")
    else:
        one = jax.tree.map(lambda x: x[chosen][None], state)
    one = jax.lax.stop_gradient(one)
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
