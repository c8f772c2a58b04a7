"""A prepared portrait on disk: portrait.json and portrait.npz, read without TensorFlow.

Pictures are coded once, in stretches of up to 100 frames of one clip, as AVIF sequences
(Pillow's own codec): a fixed camera makes most of a frame equal to the last, so 20 s at
512 px take 4 MB where JPEG takes 29. The TFDS records (records.py) hold the same coded
stretches, none of which reaches into what is held out. Mattes are coded without loss.
"""

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, features

from emogene_jax.folders import digest, read_header, write_json
from emogene_jax.portrait.schema import Portrait
from emogene_jax.signals import Camera, Pose, UserError

FORMAT = 2
STRETCH = 100  # frames
_WAITING = 4  # stretches that may wait to be coded: 130 MB each at 512 px
PICTURES = ("frames", "head_matte", "torso_matte")
# Fields of one row per frame (content and f0: two), as they are on disk.
ROWS = {
    "mesh": np.float16,  # minus rest_mesh: to some .001 cm
    "landmarks": np.float32,
    "rotation": np.float64,
    "translation": np.float64,
    "torso": np.float32,
    "content": np.float16,  # HuBERT's 1024 channels are most of the rest of the file
    "f0": np.float32,
    "speech": np.bool_,
    "clip": np.int32,
    "source_frame": np.int32,
    "emotion": np.int32,
}
WHOLE = {"rest_mesh": np.float32, "rest": np.float32, "waveform": np.int16}


def is_portrait(folder) -> bool:
    """Whether a folder holds a prepared portrait."""
    return (Path(folder) / "portrait.json").is_file()


def refuse_other_files(folder: Path) -> None:
    """
    Raises:
      UserError: `folder` holds something else than a portrait.
    """
    folder = Path(folder)
    if folder.exists() and not is_portrait(folder):
        if not folder.is_dir() or any(folder.iterdir()):
            raise UserError(
                f"{folder}: found other files, expected a new folder or a portrait"
            )


def save_portrait(portrait: Portrait, folder: Path, coded: dict | None = None) -> None:
    """Writes `folder`, whole or not at all; a portrait that it held is replaced.

    Args:
      coded: what code_pictures made of the portrait's pictures, in its stretches; None =
        they are coded now. Of those that the portrait itself has, only the background
        is then looked at.

    Raises:
      UserError: `folder` holds something else.
    """
    folder = Path(folder)
    refuse_other_files(folder)
    if coded is None:
        pictures = [getattr(portrait, name) for name in PICTURES]
        parts = stretches(portrait.clip, portrait.info.get("held_out", 0))
        coded = code_pictures(
            [p[start:stop] for p in pictures] for start, stop in parts
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(temporary, 0o755)  # mkdtemp's is for the owner alone
        np.savez(temporary / "portrait.npz", **coded, **_pack(portrait))
        header = {
            "format": FORMAT,
            "size": portrait.camera.size,
            "frames": len(portrait.clip),
            "camera": portrait.camera._asdict(),
            "info": portrait.info,
        }
        write_json(temporary / "portrait.json", header)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            os.rename(folder, old / "portrait")
            os.rename(temporary, folder)
            shutil.rmtree(old)
        else:
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_portrait(folder: Path, pictures: bool = True) -> Portrait:
    """The portrait in `folder`.

    Args:
      pictures: False = frames and mattes are left out, and are of 0 x 0 px: sound and
        motion alone are read in no time.

    Raises:
      UserError: it holds none, or a file of it is damaged or of another version.
    """
    folder = Path(folder)
    header = read_header(folder / "portrait.json", FORMAT, "a prepared portrait")
    path = folder / "portrait.npz"
    try:
        with np.load(path, allow_pickle=False) as packed:
            arrays = {
                name: packed[name]
                for name in packed.files
                if pictures or not name.startswith(PICTURES)
            }
        shown = no_pictures(len(arrays["clip"]))
        if pictures:
            shown = {name: _decode_all(arrays, name) for name in PICTURES}
        background = np.asarray(Image.open(io.BytesIO(arrays["background"].tobytes())))
        rows = {name: arrays[name] for name in (*ROWS, *WHOLE)}
        pose = Pose(rows.pop("rotation"), rows.pop("translation"))
        rows["content"] = rows["content"].astype(np.float32)
        rows["mesh"] = rows["rest_mesh"] + rows["mesh"].astype(np.float32)
        portrait = Portrait(
            **shown,
            **rows,
            background=background,
            pose=pose,
            camera=Camera(**header["camera"]),
            info=header["info"],
        )
    except FileNotFoundError:
        raise UserError(f"{path}: not found, expected beside portrait.json") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}): prepare it again") from None
    if len(portrait.frames) != header["frames"]:
        raise UserError(
            f"{path}: found {len(portrait.frames)} frames, "
            f"expected {header['frames']}: prepare it again"
        )
    return portrait


def no_pictures(frames: int) -> dict[str, np.ndarray]:
    """PICTURES of so many frames, of 0 x 0 px."""
    empty = np.zeros((frames, 0, 0), np.uint8)
    return {"frames": empty[..., None].repeat(3, -1)} | dict.fromkeys(
        PICTURES[1:], empty
    )


def read_stretches(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """The portrait in `folder` in its coded stretches, for records.

    Yields:
      `start` (), the index of the first frame; `camera` [4]; PICTURES as uint8 [bytes],
      an AVIF sequence each; ROWS cut to the stretch, as they are on disk.
    """
    folder = Path(folder)
    header = read_header(folder / "portrait.json", FORMAT, "a prepared portrait")
    camera = np.array(Camera(**header["camera"]), np.float64)
    with np.load(folder / "portrait.npz", allow_pickle=False) as packed:
        arrays = {name: packed[name] for name in packed.files}
    coded = {name: _split(arrays, name) for name in PICTURES}
    parts = stretches(arrays["clip"], header["info"].get("held_out", 0))
    for index, (start, stop) in enumerate(parts):
        rows = {name: arrays[name][start:stop] for name in ROWS}
        for name in ("content", "f0"):
            rows[name] = arrays[name][2 * start : 2 * stop]
        pictures = {name: coded[name][index] for name in PICTURES}
        yield {"start": np.int32(start), "camera": camera, **pictures, **rows}


def decode_pictures(coded: np.ndarray, grey: bool) -> np.ndarray:
    """Pictures [T, H, W] (grey) or [T, H, W, 3] uint8, of an AVIF sequence's bytes."""
    with Image.open(io.BytesIO(coded.tobytes())) as sequence:
        images = [np.asarray(image) for image in ImageSequence.Iterator(sequence)]
    # The codec gives RGB for grey, too: three equal channels.
    return np.stack([image[..., 0] for image in images] if grey else images)


def code_pictures(parts: Iterable) -> dict[str, np.ndarray]:
    """The arrays of portrait.npz that hold PICTURES: bytes [n] and where stretches end in
    them.

    Args:
      parts: (frames [T, H, W, 3], head_matte [T, H, W], torso_matte [T, H, W]) of one
        stretch after the other. They are coded while the next ones are made.
    """
    if not features.check("avif"):
        raise UserError("Pillow: found no AVIF codec, expected Pillow >= 11.3's wheel")
    jobs = {name: [] for name in PICTURES}
    with _coders() as pool:
        for part in parts:
            for mine, pictures in zip(jobs.values(), part, strict=True):
                mine.append(pool.submit(_encode, pictures))
                if len(mine) > _WAITING:
                    mine[-1 - _WAITING].result()
    arrays = {}
    for name, mine in jobs.items():
        coded = [job.result() for job in mine]
        arrays[name] = np.concatenate(coded)
        arrays[f"{name}_ends"] = np.cumsum([len(part) for part in coded])
    return arrays


def _pack(portrait: Portrait) -> dict[str, np.ndarray]:
    """The other arrays of portrait.npz."""
    fields = portrait._asdict() | portrait.pose._asdict()
    fields["mesh"] = portrait.mesh - portrait.rest_mesh
    kinds = ROWS | WHOLE
    arrays = {name: np.asarray(fields[name], dtype) for name, dtype in kinds.items()}
    png = io.BytesIO()
    Image.fromarray(portrait.background).save(png, "PNG")
    arrays["background"] = np.frombuffer(png.getvalue(), np.uint8)
    return arrays


def stretches(clip: np.ndarray, held_out: int = 0) -> list[tuple[int, int]]:
    """[(start, stop)] of up to STRETCH frames, never across from clip to clip nor into the
    last `held_out` frames: how a frame is coded depends on its neighbours."""
    cuts = {*(np.flatnonzero(np.diff(clip)) + 1).tolist(), len(clip) - held_out}
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(clip)), len(clip)]
    return [
        (start, min(start + STRETCH, last))
        for first, last in zip(edges, edges[1:])
        for start in range(first, last, STRETCH)
    ]


def _coders() -> ThreadPoolExecutor:
    """Threads that code and decode pictures. Pillow finds its codecs when the first picture
    asks, and a thread that asks meanwhile finds half of them: so before."""
    Image.init()
    return ThreadPoolExecutor(os.cpu_count())


def _encode(pictures: np.ndarray) -> np.ndarray:
    """Bytes [n] uint8 of an AVIF sequence of pictures [T, H, W] or [T, H, W, 3]."""
    # Grey at 100 is without loss. Colour at 100 (47 dB) is affordable up to 160 px;
    # at 512 px, quality 92 still is 43 dB at a quarter of the bytes.
    size = pictures.shape[1]
    quality = 100 if pictures.ndim == 3 or size <= 160 else 99 if size <= 320 else 92
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    target = io.BytesIO()
    first.save(
        target,
        "AVIF",
        save_all=True,
        append_images=rest,
        quality=quality,
        subsampling="4:4:4",
        speed=9,
        max_threads=1,
    )
    return np.frombuffer(target.getvalue(), np.uint8)


def _decode_all(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    parts = _split(arrays, name)
    grey = [name.endswith("matte")] * len(parts)
    pictures, done = None, 0
    with _coders() as pool:
        # Each to its place as it comes: 5 minutes at 512 px are 6 GiB, held once.
        for part in pool.map(decode_pictures, parts, grey):
            if pictures is None:
                shape = len(arrays["clip"]), *part.shape[1:]
                pictures = np.empty(shape, np.uint8)
            pictures[done : done + len(part)] = part
            done += len(part)
    return pictures[:done]


def _split(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return np.split(arrays[name], arrays[f"{name}_ends"][:-1])


def portrait_digest(folder: Path) -> str:
    """What tells a prepared portrait from others, 16 hexadecimal digits: of its rows, its
    background and its sound. Not of the file: coded pictures hold the time of day.

    Raises:
      UserError: it is damaged.
    """
    path = Path(folder) / "portrait.npz"
    try:
        with np.load(path, allow_pickle=False) as packed:
            names = (*ROWS, *WHOLE, "background")
            return digest(*(packed[name].tobytes() for name in names))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}): prepare it again") from None
