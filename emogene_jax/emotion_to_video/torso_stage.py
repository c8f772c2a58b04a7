"""The torso field as a stage of training, behind a finished head."""

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.emotion_to_video.camera import over, pixel_place, to_bytes
from emogene_jax.emotion_to_video.draw import TORSO_ROWS, draw_rays, noisy, over_grey
from emogene_jax.emotion_to_video.torso import TorsoField, TorsoSize
from emogene_jax.pose.code import CODES
from emogene_jax.pose.torso import MOTION
from emogene_jax.signals import Camera, Stage


def torso_stage(
    camera: Camera,
    size: TorsoSize,
    *,
    frames: int,
    rays: int,
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
        del batch
        told = jnp.zeros((1, CODES)), jnp.zeros((1, MOTION))
        params = field.init(key, *told, jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 4)))
        return params["params"], {}

    def loss(params, aux, frozen, batch, key, step):
        del frozen, step
        told = noisy(batch["torso_code"], noise, key), batch["torso"]
        colour, alpha = batch["head"][..., :3], batch["head"][..., 3:]
        place = pixel_place(batch["rows"], batch["columns"], camera)
        torso, opacity = field.apply({"params": params}, *told, place, batch["head"])
        behind = over(torso, opacity, batch["background"])
        pixel = colour + (1 - alpha) * behind
        colour_loss = jnp.mean((pixel - batch["target"]) ** 2)
        open_pixel = 1 - batch["matte"]
        matte_loss = jnp.mean(open_pixel * (opacity - batch["torso_matte"]) ** 2)
        bare, cover = field.apply(
            {"params": params}, *told, place, jnp.zeros_like(batch["head"])
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
        told = batch["torso_code"][:1], batch["torso"][:1]
        return {"torso": np.asarray(shown(params, *told))}

    @jax.jit
    def shown(params, *told):
        number = jnp.arange(camera.size**2)[None]
        place = pixel_place(number // camera.size, number % camera.size, camera)
        head = jnp.zeros((*number.shape, 4))
        colour, opacity = field.apply({"params": params}, *told, place, head)
        layer = jnp.concatenate([opacity[..., None] * colour, opacity[..., None]], -1)
        return to_bytes(over_grey(layer.reshape(camera.size, camera.size, 4)))

    return Stage(init, loss, sample, images)
