"""`emogene import`: an official PyTorch checkpoint -> a work directory of ours.

A checkpoint is a safetensors file, or what PyTorch saved: a state dict, plain or
anywhere inside what the official trainer writes ({"state_dict": {"model": {...}, ...},
"global_step": ..., ...}), or a folder of such (the newest `model_ckpt_steps_N.ckpt`).
"""

import importlib
import importlib.util
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emogene_jax.audio.features import content_of
from emogene_jax.audio_to_motion.import_weights import (
    import_audio_to_motion,
    import_lip_sync,
)
from emogene_jax.folders import must_be_new, must_unpack_sanely
from emogene_jax.motion_to_emotion.import_weights import import_deformation
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint

# The official unit of motion is 10 x the displacement of a face model whose unit is the
# decimetre (BFM 2009 in micrometres / 1e5, in Microsoft's Deep3DFaceReconstruction and
# in GeneFace's Face3DHelper), hence the centimetre; its axes (x right, y up, z towards
# the viewer) are ours. The model's file may not be passed on, so the distance of its
# mean face's outer eye corners is taken from MediaPipe's canonical face (8.89 cm),
# whose eyes stand as far apart as the model's (6.3 cm); it may be off by a few percent.
UNIT_PER_EYE_DISTANCE = 8.9
# Where the names of a stage's model begin.
_MARKS = {
    "lip_sync": r"(.*\.)?(?:hubert|mouth)_encoder\.\d+\.",
    "audio_to_motion": r"(.*\.)?vae\.(?:encoder|decoder|prior_flow)\.",
    "motion_to_emotion": r"(.*\.)?(?:emotion_embedding|regressor\.\d+)\.",
}


def import_checkpoint(
    path,
    stage: str,
    out,
    unit_per_eye_distance: float = UNIT_PER_EYE_DISTANCE,
) -> None:
    """Write the checkpoint at `path` as work directory `out`.

    Its parameters speak eye distances; the config says what they were converted by,
    and, for models that hear, which content features they want.

    Args:
        stage: lip_sync, audio_to_motion or motion_to_emotion.
        unit_per_eye_distance: the checkpoint's unit of motion.

    Raises:
        UserError: no such checkpoint, or one of something else; `out` is as it was.
    """
    path, out = _newest(Path(path)), Path(out)
    must_be_new(out)
    state = state_of(path, stage)
    try:
        config, params, aux = _convert(state, stage, unit_per_eye_distance)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{path}: shapes that fit no model of {stage} ({_line(error)})"
        ) from None
    config["motion_unit"] = {"per_eye_distance": unit_per_eye_distance}
    record = {"config": {"name": stage, **config}, "imported": path.name}
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    # Made beside `out` and moved there when whole.
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as place:
        made = Path(place) / "made"
        checkpoint.write(made, params, aux, record)
        os.replace(made, out)
    print(f"{out}: {stage} of {path.name}")


def _convert(state, stage: str, unit: float) -> tuple[dict, Any, Any]:
    """(config, params, aux) of a state dict."""
    if stage == "motion_to_emotion":
        params = import_deformation(state, unit)
        return {"model": {"hidden": params["layer_0"]["kernel"].shape[1]}}, params, {}
    if stage == "lip_sync":
        model, params, aux = import_lip_sync(state, unit)
        channels = state["hubert_encoder.0.conv_block.0.weight"].shape[1]
    else:
        model, params, aux = import_audio_to_motion(state, unit)
        if model.motion_channels != 204:
            raise UserError(
                f"makes {model.motion_channels} numbers a frame (those of 64 are "
                "coefficients of a licensed face model), expected 204: 68 landmarks"
            )
        channels = state["mel_encoder.0.weight"].shape[1]
    fields = set(model.__dataclass_fields__) - {"parent", "name"}
    sizes = {name: getattr(model, name) for name in sorted(fields)}
    return {"model": sizes, "content": content_of(channels)}, params, aux


def _newest(path: Path) -> Path:
    """The newest checkpoint of the official trainer in a folder; a file as it is."""
    if not path.is_dir():
        return path
    steps = {
        int(match.group(1)): file
        for file in path.iterdir()
        if (match := re.fullmatch(r"model_ckpt_steps_(\d+)\.ckpt", file.name))
    }
    if not steps:
        raise UserError(f"{path}: expected a model_ckpt_steps_N.ckpt in this folder")
    return steps[max(steps)]


def state_of(path: Path, stage: str) -> dict[str, np.ndarray]:
    """{official name: array} of a stage's model in the checkpoint at path.

    Raises:
        UserError: it can't be read, or holds no model of this stage.
    """
    arrays = _read(path)
    found = {other: _model(arrays, mark) for other, mark in _MARKS.items()}
    for name, array in found[stage].items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds NaN or infinity, expected numbers")
    if found[stage]:
        return found[stage]
    others = [other for other, state in found.items() if state]
    if others:
        told = f"looks like {' and '.join(others)}"
    else:
        told = f"holds {', '.join(sorted(arrays)[:4]) or 'no tensors'}"
    raise UserError(f"{path}: {told}, expected a model of {stage}")


def _model(arrays: Mapping[str, np.ndarray], mark: str) -> dict[str, np.ndarray]:
    """The arrays of the model that has most names like `mark`, without what stands
    before them (`state_dict.model.`, `module.`)."""
    matches = [match for name in arrays if (match := re.match(mark, name))]
    if not matches:
        return {}
    prefix = Counter(match.group(1) or "" for match in matches).most_common(1)[0][0]
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, named by their places joined with dots."""
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty, expected a checkpoint")
    safe = path.suffix.lower() == ".safetensors"
    arrays = _read_safetensors(path) if safe else _flat(_read_torch(path))
    named = {}
    for name, array in arrays.items():
        # torch.compile, and the newer spelling of weight norm.
        name = name.replace("_orig_mod.", "")
        name = name.replace("parametrizations.weight.original0", "weight_g")
        named[name.replace("parametrizations.weight.original1", "weight_v")] = array
    return named


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read ({_line(error)}), expected a whole safetensors file"
        ) from None


def _read_torch(path: Path) -> Any:
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{path}: needs PyTorch to be read (pip install torch), or a .safetensors "
            "file in its place"
        )
    must_unpack_sanely(path)
    torch = importlib.import_module("torch")
    # The trainer's best score may be a NumPy number, which is as harmless as a tensor.
    numbers = [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        numbers.append((np._core.multiarray.scalar, f"{module}.scalar"))
    try:
        with torch.serialization.safe_globals(numbers):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises what it likes
        raise UserError(
            f"{path}: can't be read ({_line(error)}), expected a whole PyTorch "
            "checkpoint of tensors, without other pickled objects"
        ) from None


def _line(error: Exception) -> str:
    """What an error says, short enough for one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _flat(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """{place: array} of nested dicts of tensors; what is no tensor is left out."""
    if isinstance(value, Mapping):
        parts = [_flat(v, f"{name}.{k}" if name else str(k)) for k, v in value.items()]
        return {place: array for part in parts for place, array in part.items()}
    if not hasattr(value, "detach"):
        return {}
    value = value.detach()
    return {name: (value.float() if value.is_floating_point() else value).numpy()}
