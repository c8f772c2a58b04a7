"""A portrait's pictures between tracker and codec: on disk, in stretches, never all in
memory (5 minutes at 512 px are 6 GB, and as much again with mattes)."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax.face.segmentation import open_segmenter
from emogene_jax.portrait.matting import background_rows, cut_out
from emogene_jax.portrait.pack import stretches
from emogene_jax.signals import UserError

MATTE_SIZE = 256  # px at least, where mattes are made


def must_fit(folder: Path, frames: int, size: int) -> None:
    """Raises UserError where a FrameStore of a portrait of `size` px would not find room
    in a folder, which need not be there yet."""
    there = next(
        place for place in (folder, *folder.absolute().parents) if place.exists()
    )
    needed, free = (
        frames * max(size, MATTE_SIZE) ** 2 * 3,
        shutil.disk_usage(there).free,
    )
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB are needed while its pictures are read, "
            f"{free / 1e9:.1f} GB are free: a smaller --size or less video fits"
        )


class FrameStore:
    """Frames [T, S, S, 3] uint8 in a file without a name, gone when it is closed or the
    program ends, however it does. Not mapped into memory: mapped pages count as used."""

    def __init__(self, folder: Path, size: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)
        self.shape = (0, size, size, 3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __len__(self) -> int:
        return self.shape[0]

    def append(self, frame: np.ndarray) -> None:
        """Adds a frame [S, S, 3] uint8; OSError where the disk is full."""
        self._file.seek(len(self) * frame.size)
        self._file.write(np.ascontiguousarray(frame))
        self.shape = (len(self) + 1, *frame.shape)

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """One frame, or those of a slice without a step."""
        if not isinstance(which, slice):
            return self[which : which + 1][0]
        start, stop, _ = which.indices(len(self))
        frames = np.empty((stop - start, *self.shape[1:]), np.uint8)
        self._file.seek(start * frames[:1].size)
        self._file.readinto(frames)
        return frames


class Picked:
    """Frames `rows` [N] of a store, in their order, as if there were no others."""

    def __init__(self, frames: FrameStore, rows: np.ndarray):
        self._frames, self._rows = frames, rows
        self.shape = (len(rows), *frames.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """One frame, or those of a slice without a step."""
        rows = self._rows[which]
        if not isinstance(which, slice):
            return self._frames[int(rows)]
        # One visit to the disk for each run of neighbours.
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        parts = [self._frames[int(r[0]) : int(r[-1]) + 1] for r in runs if len(r)]
        return np.concatenate(parts) if parts else self._frames[0:0]


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """[size, size, ...] uint8 by area averaging (or cubic, where it must grow)."""
    if len(picture) == size:
        return picture
    way = Image.Resampling.BOX if len(picture) > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((size, size), way))


def cut_out_clips(
    frames, points, lengths, known: int, size: int, seen: list
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames [n, size, size, 3], head and torso mattes [n, size, size], all uint8, of
    every stretch of a portrait (pack.stretches).

    Args:
      frames: a FrameStore, Picked of one, or an array, [T, S, S, 3].
      points: [T, 478, 2] px of these frames.
      lengths: frames of every clip.
      known: how many frames at the start may be learned from; the rest is held out.
      seen: gets a (frame, head, torso), of S px, of each of the known frames by which the
        longest clip's background is to be found.
    """
    clip = np.repeat(np.arange(len(lengths)), lengths)
    begins = np.cumsum(lengths) - lengths
    usable = np.clip(known - begins, 0, lengths)
    longest = int(np.argmax(usable))
    samples = {begins[longest] + row for row in background_rows(usable[longest])}
    parts = stretches(clip, len(clip) - known)
    with open_segmenter() as segment:
        for _, run in groupby(parts, lambda p: (clip[p[0]], p[0] >= known)):
            run = list(run)
            cut = cut_out(segment, frames, points, run)
            for (start, _), layers in zip(run, cut, strict=True):
                for number, layer in enumerate(zip(*layers, strict=True), start):
                    if number in samples:  # copies: a view would hold the whole stretch
                        seen.append([picture.copy() for picture in layer])
                yield _at_size(*layers, size)


def _at_size(frames, heads, torsos, size):
    """The three at `size` px; head and torso together never exceed 255."""
    if frames.shape[1] == size:
        return frames, heads, torsos
    whole = np.stack([resize(picture, size) for picture in heads + torsos])
    heads = np.minimum([resize(picture, size) for picture in heads], whole)
    return np.stack([resize(frame, size) for frame in frames]), heads, whole - heads
