"""An avatar on disk: one folder of JSON, safetensors and pictures, loaded without pickle.

    avatar.json                 format version, units, features, sizes, what it was made of
    fields.safetensors          rig, head, torso: what renders the person
    audio_to_motion.safetensors
    deformation.safetensors
    person.safetensors          what the face can do, rest landmarks, head poses

What was decided when it was made stands in avatar.json and is never decided again.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from emogene_jax import trees
from emogene_jax.emotion_to_video.head import HeadSize
from emogene_jax.emotion_to_video.head_stage import head_stage
from emogene_jax.emotion_to_video.render import Fields
from emogene_jax.emotion_to_video.torso import TorsoSize
from emogene_jax.emotion_to_video.torso_stage import torso_stage
from emogene_jax.face.rig import HULL, Rig
from emogene_jax.folders import read_header, write_json
from emogene_jax.motion_to_emotion.deformation import layout as deformation_layout
from emogene_jax.motion_to_emotion.manifold import Manifold
from emogene_jax.pose.code import CODES, PoseCode
from emogene_jax.pose.torso import MOTION
from emogene_jax.signals import NUM_LANDMARKS, Camera, Posture, UserError

FORMAT = 7


class Avatar(NamedTuple):
    """One person, ready to talk."""

    fields: Fields
    audio_to_motion: Any  # {"params", "aux"}
    deformation: Any  # parameters
    manifold: Manifold
    rest: np.ndarray  # [68, 3] cm
    shut: np.ndarray  # [12, 3] eye distances: the motion of lids that are shut
    pose: Posture  # the portrait's, in order
    info: dict  # "audio_to_motion": its sizes; "content"; "request"; ...


def save_avatar(avatar: Avatar, folder: Path) -> None:
    """Write an avatar; avatar.json comes last, so that half an avatar is none."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fields = avatar.fields
    _save(folder / "fields.safetensors", field_arrays(fields))
    _save(folder / "audio_to_motion.safetensors", avatar.audio_to_motion)
    _save(folder / "deformation.safetensors", avatar.deformation)
    person = {
        "manifold": avatar.manifold._asdict(),
        "rest": avatar.rest,
        "shut": avatar.shut,
        "pose": avatar.pose._asdict(),
    }
    _save(folder / "person.safetensors", person)
    header = {
        "format": FORMAT,
        "units": {"landmarks": "cm", "motion": "outer eye corner distance"},
        "camera": fields.camera._asdict(),
        "head_size": fields.head_size._asdict(),
        "torso_size": fields.torso_size._asdict(),
        "samples": fields.samples,
        "info": avatar.info,
    }
    write_json(folder / "avatar.json", header)


def field_arrays(fields: Fields) -> dict:
    """All of it that is learned or measured: a tree of arrays."""
    return {
        "rig": fields.rig._asdict(),
        "head": fields.head,
        "density": fields.density,
        "torso": fields.torso,
        "code": fields.code._asdict(),
        "background": fields.background,
    }


def field_layout(fields: Fields) -> dict:
    """The shapes that `field_arrays` has for this camera, these sizes, this rig's grid."""

    def shape(*dims):
        return jax.ShapeDtypeStruct(dims, np.float32)

    rig, size = fields.rig, fields.camera.size
    count, grid = rig.project.shape[1], rig.warp_rest.shape[:3]
    each, corner, codes = shape(count), shape(3), shape(CODES)
    linear = (shape(3 * NUM_LANDMARKS, count), *[each] * 3, shape(count, *grid, 3))
    planes = shape(*[HULL] * 3), shape(2, 2, *[HULL] * 2)
    usual = shape(MOTION), shape(MOTION), shape(2, MOTION)
    torso = *usual, shape(CODES, MOTION), shape(2, 2)
    boxes = shape(*grid, 3), *[corner] * 4, *planes
    batch = {"condition": shape(1, count)}
    made = [
        jax.eval_shape(stage.init, jax.random.key(0), batch)
        for stage in (
            head_stage(fields.camera, fields.head_size, frames=1, rays=1),
            torso_stage(fields.camera, fields.torso_size, frames=1, rays=1),
        )
    ]
    return {
        "rig": Rig(*linear, *boxes)._asdict(),
        "head": made[0][0],
        "density": made[0][1]["density"],
        "torso": made[1][0],
        "code": PoseCode(shape(3, 3), corner, shape(6), codes, codes, *torso)._asdict(),
        "background": shape(size, size, 3),
    }


def load_avatar(folder: Path) -> Avatar:
    """The avatar in `folder`.

    Raises:
        UserError: it holds none, or a damaged one, or one of another version.
    """
    folder = Path(folder)
    header = read_header(folder / "avatar.json", FORMAT, "an avatar")
    parts = {
        name: _load(folder / f"{name}.safetensors")
        for name in ("fields", "audio_to_motion", "deformation", "person")
    }
    try:
        avatar = _assemble(header, parts)
        told = _misfit(avatar, parts)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        told = str(error)
    except (OverflowError, MemoryError):  # sizes that nothing has
        told = "camera or sizes: numbers far too large"
    if told:
        raise UserError(f"{folder}: damaged avatar ({told}): make it again")
    return avatar


def _assemble(header, parts) -> Avatar:
    fields, person = parts["fields"], parts["person"]
    return Avatar(
        Fields(
            Rig(**fields["rig"]),
            fields["head"],
            fields["density"],
            fields["torso"],
            PoseCode(**fields["code"]),
            typed(Camera, header["camera"]),
            fields["background"],
            typed(HeadSize, header["head_size"]),
            typed(TorsoSize, header["torso_size"]),
            typed(_Samples, {"samples": header["samples"]}).samples,
        ),
        parts["audio_to_motion"],
        parts["deformation"],
        Manifold(**person["manifold"]),
        person["rest"],
        person["shut"],
        Posture(**person["pose"]),
        dict(header["info"]),
    )


def _misfit(avatar: Avatar, parts: dict) -> str | None:
    """In words, what in an avatar does not fit the rest of it; None = all fits. The
    audio-to-motion model is looked at in voice.py."""

    def shape(*dims):
        return jax.ShapeDtypeStruct(dims, np.float32)

    if not avatar.fields.camera.focal > 0:
        return f"camera: found focal {avatar.fields.camera.focal}"
    count, frames = avatar.manifold.basis.shape[1], len(avatar.pose.rotation)
    numbers, flat = shape(count), shape(3 * NUM_LANDMARKS)
    basis = shape(3 * NUM_LANDMARKS, count)
    pose = Posture(shape(frames, 3, 3), shape(frames, 3), shape(frames, MOTION))
    expected = {
        "fields": field_layout(avatar.fields),
        "deformation": deformation_layout(avatar.deformation),
        "person": {
            "manifold": Manifold(flat, basis, numbers, numbers)._asdict(),
            "rest": shape(NUM_LANDMARKS, 3),
            "shut": shape(12, 3),
            "pose": pose._asdict(),
        },
    }
    for name, tree in expected.items():
        told = trees.difference(parts[name], tree)
        if told:
            return f"{name}: {told}"
    place = trees.not_finite(parts)
    return f"{place} holds NaN or infinity" if place else None


class _Samples(NamedTuple):
    samples: int


def typed(kind, values: dict):
    """kind(**values), once every value is of the type that kind's field has; whole
    numbers are above 0.

    Raises:
        TypeError: one is not, or has no field.
    """
    for name, value in values.items():
        expected = kind.__annotations__.get(name)
        whole = expected is float and type(value) is int  # JSON's 20.0 may be 20
        below = expected is int and type(value) is int and value <= 0
        if (type(value) is not expected and not whole) or below:
            raise TypeError(f"{name}: found {value!r}")
    return kind(**values)


def _save(path: Path, tree) -> None:
    """A tree of dicts of arrays, flattened to names with slashes."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays = {
        "/".join(str(key.key) for key in keys): np.ascontiguousarray(leaf)
        for keys, leaf in flat
    }
    temporary = path.with_name(f".{path.name}.part")
    # Not save_file: its files are for their owner alone.
    temporary.write_bytes(save(arrays))
    os.replace(temporary, path)


def _load(path: Path) -> dict:
    try:
        flat = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found, expected beside avatar.json") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    tree: dict = {}
    for name, array in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return tree
