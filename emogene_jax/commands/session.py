"""A live session: sound comes in as it comes, sound and picture go out by one clock.

Block k of the sound, 40 ms, is frame k's. It is due (k + 1) / 25 s after the session
began; what has not come shortly after that is taken for silence, and comes later. A frame
that could not leave in time is left out, its sound never is; one a second is shown anyway.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from emogene_jax.avatar.file import Avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.live.acting import Mood
from emogene_jax.pipeline import look_ahead, stream
from emogene_jax.signals import FPS, SAMPLE_RATE, UserError

SLACK = 0.1  # s that sound may come late before there is silence in its place
LATE = 0.1  # s after its look-ahead from which on a frame is left out
WAITING = 10.0  # s of sound that may wait; who gives more has to wait as well
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz: whole frames
SAID_EVERY = 5.0  # s between two lines on frames that were left out


class Clip(NamedTuple):
    """A frame and its sound."""

    number: int
    frame: np.ndarray | None  # uint8 [H, W, 3]; None = left out
    sound: np.ndarray  # [rate / 25] float32


class Intake:
    """Where sound is given, from any thread, and taken in blocks of 40 ms.

    Args:
        rate: Hz, one of RATES.
        lead: s by which blocks may be taken before they are due; None = whenever they
            are there, for whoever writes a file.
        clock: s, as time.monotonic.

    Raises:
        UserError: another rate.
    """

    def __init__(
        self,
        rate: int = SAMPLE_RATE,
        lead: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        if rate not in RATES:
            known = ", ".join(map(str, RATES))
            raise UserError(f"{rate} Hz: expected one of {known}")
        self.rate, self.lead = rate, lead
        self._size = rate // FPS
        self._clock, self._began = clock, None
        self._parts, self._samples = deque(), 0
        self._ended, self._stopped, self._taken = False, False, 0
        self._changed = threading.Condition()

    def give(self, samples: np.ndarray) -> None:
        """More sound: [n] float32. Waits where much is waiting already."""
        with self._changed:
            if self._began is None:
                self._began = self._clock()
            self._changed.wait_for(lambda: self._stopped or not self.full)
            self._parts.append(np.asarray(samples, np.float32))
            self._samples += len(samples)
            self._changed.notify_all()

    def forget(self) -> None:
        """Sound that is waiting is not said any more."""
        with self._changed:
            self._parts.clear()
            self._samples = 0
            self._changed.notify_all()

    def end(self) -> None:
        """There will be no more sound; what waits is still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing is taken any more, either."""
        with self._changed:
            self._ended = self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether nothing is taken any more."""
        return self._stopped

    @property
    def full(self) -> bool:
        """Whether whoever gives more has to wait."""
        return self._samples >= WAITING * self.rate

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks [rate / 25] float32 of what is given, and of silence, until the end."""
        while True:
            with self._changed:
                if self._began is None:
                    self._changed.wait_for(lambda: self._ended or self._began)
                while not self._ready():
                    self._changed.wait(self._until())
                if self._stopped or (self._ended and not self._samples):
                    return
                block = self._next()
                self._taken += 1
                self._changed.notify_all()
            yield block

    def late(self, number: int, after: float) -> bool:
        """Whether frame `number` should have left `after` s after its sound was due."""
        due = (self._began or 0.0) + (number + 1) / FPS
        return self._clock() > due + after

    def _ready(self) -> bool:
        if self._stopped or self._began is None:  # it ended before it began
            return True
        now = self._clock() - self._began
        if self.lead is not None and now < self._taken / FPS - self.lead:
            return False
        due = (self._taken + 1) / FPS + SLACK
        return self._ended or self._samples >= self._size or now >= due

    def _until(self) -> float:
        """s until time alone makes a block ready."""
        now = self._clock() - self._began
        enough = self._ended or self._samples >= self._size
        at = self._taken / FPS - (self.lead or 0)
        if not enough:
            at = max(at, (self._taken + 1) / FPS + SLACK)
        return max(0.001, at - now)

    def _next(self) -> np.ndarray:
        block, filled = np.zeros(self._size, np.float32), 0
        while self._parts and filled < self._size:
            part = self._parts.popleft()
            count = min(len(part), self._size - filled)
            block[filled : filled + count] = part[:count]
            filled += count
            if count < len(part):
                self._parts.appendleft(part[count:])
        self._samples -= filled
        return block


def live(
    avatar: Avatar,
    intake: Intake,
    mood: Mood | None = None,
    seed: int = 0,
    background: np.ndarray | None = None,
    renderer: Renderer | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Clip]:
    """Frames with their sound, as an intake takes it, until that is stopped or ends.

    Args:
        say: told, now and then, how many frames were left out; by default on stderr.
    """
    waiting: deque[np.ndarray] = deque()
    after = look_ahead(avatar.info["content"]) + LATE
    silent = np.zeros(intake.rate // FPS, np.float32)

    def heard():
        for block in intake.blocks():
            waiting.append(block)
            yield block

    shown_last = -1

    def skip(number):
        # A picture a second, however late: a face that stands still looks broken.
        nonlocal shown_last
        if intake.late(number, after) and number - shown_last < FPS:
            return True
        shown_last = number
        return False

    told = _Told(say or (lambda line: print(line, file=sys.stderr)))
    shown = stream(
        avatar,
        resampled(heard(), intake.rate),
        mood,
        seed,
        background,
        renderer,
        skip=skip,
    )
    try:
        for part in shown:
            if part.number == 0 and not waiting:
                return  # a recording has one frame at least, nothing at all has none
            told.count(part)
            sound = waiting.popleft() if waiting else silent
            yield Clip(part.number, part.frame, sound)
    finally:
        told.close()


def resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks [n] float32 at 16 kHz, of blocks at another rate, sample 0 where it was."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    import av

    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    for block in blocks:
        frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate = rate
        for out in resampler.resample(frame):
            yield out.to_ndarray()[0]
    for out in resampler.resample(None):
        yield out.to_ndarray()[0]


class _Told:
    """Counts frames that were left out, and says so now and then."""

    def __init__(self, say):
        self._say, self._left_out, self._all, self._said = say, 0, 0, None

    def count(self, part) -> None:
        self._all += 1
        if part.frame is None:
            self._left_out += 1
            now = time.monotonic()
            if self._said is None or now - self._said > SAID_EVERY:
                self._said = now
                self.close()

    def close(self) -> None:
        if self._left_out:
            self._say(
                f"warning: rendering is behind: {self._left_out} of {self._all} frames "
                "were left out, their sound was not"
            )
