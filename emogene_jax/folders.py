"""What folders hold beside arrays: JSON files that say what a folder is, of which format
and made of what; and the folder of things that can be had again."""

import hashlib
import json
import os
import zipfile
from collections.abc import Collection
from pathlib import Path

from emogene_jax.signals import UserError

UNPACKED_FREE = 64_000_000  # bytes that any archive may unpack to
UNPACKED_RATIO = 30  # times its size that it may unpack to beyond


def cache_folder() -> Path:
    """Where model files and compiled programs are kept: $EMOGENE_CACHE, else emogene_jax
    in the user's cache; it may not exist yet."""
    given = os.environ.get("EMOGENE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emogene_jax"


def must_be_new(folder: Path, ours: Collection[str] = ()) -> None:
    """Raises UserError where a folder holds anything but files of the names in `ours`."""
    if folder.is_dir() and any(path.name not in ours for path in folder.iterdir()):
        raise UserError(f"{folder}: found other files, expected a new folder")


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: dict) -> None:
    """A JSON file, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict:
    """A JSON file that this program wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def read_header(path: Path, version: int, what: str) -> dict:
    """What the header of a folder says; its "format" is `version`.

    Args:
        what: the folder should be, in words: `an avatar`.

    Raises:
        UserError: it is absent, damaged, or of another format.
    """
    path = Path(path)
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        found = header["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent}: found no {path.name}, expected {what}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}): make it again") from None
    if found != version:
        raise UserError(f"{path}: found format {found}, expected {version}")
    return header


def digest(*parts: bytes | Path) -> str:
    """SHA-256, 16 hexadecimal digits, of bytes and of the contents of files."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            found.update(part)
            continue
        with Path(part).open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()[:16]


def must_unpack_sanely(path: Path) -> None:
    """Raises UserError for a zip archive that is a bomb: it unpacks to far more than it
    is, which arrays of numbers never do. Other files pass."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return  # whoever reads it says what is wrong with it
    size = Path(path).stat().st_size
    if unpacked > UNPACKED_FREE + UNPACKED_RATIO * size:
        raise UserError(
            f"{path}: {size / 1e6:.1f} MB that unpack to {unpacked / 1e6:.0f} MB: refused"
        )
