"""JSON files that say what a folder is: of which format, made of what."""

import json
import os
from pathlib import Path

from emogene_jax.signals import UserError


def write_json(path: Path, value: dict) -> None:
    """A JSON file, whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}): make it again") from None
    if found != version:
        raise UserError(f"{path}: found format {found}, expected {version}")
    return header
