"""The avatars that are shown, by name. Names come from browsers and are never trusted:
there is nothing to be had but the avatars of one folder."""

import re
import threading
from pathlib import Path
from typing import NamedTuple

from emogene_jax.avatar.file import Avatar
from emogene_jax.commands.stream import warm_renderer
from emogene_jax.commands.talk import open_avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.signals import UserError, listed

OPEN = 2  # avatars that are kept in memory
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ -]{0,39}")


class Person(NamedTuple):
    """An avatar and what shows it, ready for live speech."""

    avatar: Avatar
    renderer: Renderer


class People:
    """The avatars of a folder, or one.

    Raises:
        UserError: `place` is neither an avatar nor a folder.
    """

    def __init__(self, place):
        place = Path(place).resolve()
        self.one = place if (place / "avatar.json").is_file() else None
        self.folder = place.parent if self.one else place
        if not self.folder.is_dir():
            raise UserError(f"{place}: expected an avatar or a folder of avatars")
        self._open: dict[str, Person] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """In order of the alphabet. Links that lead out of the folder are none of them."""
        if self.one:
            return [self.one.name]
        inside = (
            path.name
            for path in self.folder.iterdir()
            if (path / "avatar.json").is_file() and path.resolve().parent == self.folder
        )
        return sorted(inside)

    def must_know(self, name: str) -> None:
        """Raises UserError where there is no avatar of a name."""
        if name not in (known := self.names()):
            raise UserError(f"no avatar of this name; there are: {listed(known)}")

    def person(self, name: str) -> Person:
        """The person of a name.

        Raises:
            UserError: there is none of this name, or it is damaged.
        """
        self.must_know(name)
        with self._lock:
            if name not in self._open:
                while len(self._open) >= OPEN:
                    del self._open[next(iter(self._open))]
                avatar = open_avatar(self.folder / name)
                self._open[name] = Person(avatar, warm_renderer(avatar))
            return self._open[name]

    def new(self, name: str) -> Path:
        """The folder of an avatar that is not there yet.

        Raises:
            UserError: no name for one, or there is one, or there is no folder for it.
        """
        if self.one:
            raise UserError(
                "this page shows one avatar; start it with a folder of them"
            )
        name = name.strip()
        if not _NAME.fullmatch(name):
            raise UserError(
                "name: expected up to 40 letters and digits, blanks, - and _ among them"
            )
        if (self.folder / name).exists():
            raise UserError(f"{name}: there is one already, choose another name")
        return self.folder / name
