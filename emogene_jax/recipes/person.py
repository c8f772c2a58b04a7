"""One person out of a prepared portrait, as the fields of head and torso see them, and how
good a rendering of the held-out end is."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.emotion_to_video.torso import torso_rows
from emogene_jax.evaluate.reconstruction import before_the_truth, rerender, scores
from emogene_jax.face.rig import Rig, fit_rig, head_box, visual_hull
from emogene_jax.portrait.cut import some_frames, spread_rows
from emogene_jax.portrait.schema import Portrait
from emogene_jax.pose.code import PoseCode, fit_pose_code
from emogene_jax.signals import landmarks_to_motion

HULL_FRAMES = 60  # frames that vote on the visual hull


class Person(NamedTuple):
    """What is measured before anything is learned."""

    rig: Rig
    code: PoseCode
    # [N, 68, 3] eye distances, of the augmented frames; None = there are none.
    varied_motion: np.ndarray | None


def measure(training: Portrait, varied: Portrait | None) -> Person:
    """The person of a portrait's training frames, and of `varied` ones (augmented, that
    show what was never filmed)."""
    some = some_frames(training, spread_rows(len(training.clip), HULL_FRAMES))
    seen = (some.head_matte, some.pose, some.camera)
    low, high = head_box(some.rest_mesh, *seen)
    hull = visual_hull(*seen, low, high)
    both = [training] if varied is None else [training, varied]
    motion = [landmarks_to_motion(part.landmarks, training.rest) for part in both]
    rig = fit_rig(
        np.concatenate(motion),
        np.concatenate([part.mesh for part in both]),
        training.rest_mesh,
        training.rest,
        low,
        high,
        hull,
    )
    code = fit_pose_code(training.pose, training.torso)
    return Person(rig, code, None if varied is None else motion[1])


def to_arrays(person: Person) -> dict:
    """As a tree of arrays, to be kept with what is learned (train.checkpoint)."""
    arrays = {"rig": person.rig._asdict(), "code": person.code._asdict()}
    if person.varied_motion is not None:
        arrays["varied_motion"] = person.varied_motion
    return arrays


def from_arrays(arrays: dict) -> Person:
    """What `to_arrays` gave."""
    parts = Rig(**arrays["rig"]), PoseCode(**arrays["code"])
    return Person(*parts, arrays.get("varied_motion"))


def rows_of(training: Portrait) -> int:
    """TorsoSize.rows: a torso is drawn in those rows alone that may show it."""
    return torso_rows(training.torso_matte)


def reconstruction(
    held: Portrait | None, most: int, fields_of: Callable, regions: tuple[str, ...]
) -> Callable | None:
    """(params, aux) -> {"val_psnr_…"} of some regions, on the held-out end.

    Args:
        most: frames of it, evenly spread.
        fields_of: (params, aux) -> Fields.
    """
    if held is None:
        return None
    rows = spread_rows(len(held.clip), most)
    some = some_frames(held, rows)

    def validate(params, aux) -> dict[str, float]:
        fields: Fields = fields_of(params, aux)
        rendered, heads = rerender(Renderer(fields), held, rows)
        if fields.torso is None:
            rendered = before_the_truth(heads, some)
        found = scores(some, rendered, heads)["psnr"]
        return {f"val_psnr_{name}": found[name] for name in regions}

    return validate
