"""Who renders: one at a time, first come, first served."""

import threading
from collections.abc import Iterator

from emogene_jax.signals import UserError

MOST = 8  # that may wait
LOOK = 0.2  # s between two looks whether somebody who waits has left


class Seats:
    """The queue before a device."""

    def __init__(self, most: int = MOST):
        self._most, self._tickets = most, []
        self._changed = threading.Condition()

    def wait(self) -> Iterator[int]:
        """Yields, a few times a second, how many are before; the seat is had when that is
        0, until this is closed.

        Raises:
            UserError: too many wait already.
        """
        ticket = object()
        with self._changed:
            if len(self._tickets) > self._most:
                raise UserError(
                    f"busy: {self._most} wait already, as many as may; try again later"
                )
            self._tickets.append(ticket)
        try:
            while True:
                with self._changed:
                    place = self._tickets.index(ticket)
                yield place
                with self._changed:
                    if self._tickets.index(ticket) == place:
                        self._changed.wait(LOOK)
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()


DEVICE = Seats()
