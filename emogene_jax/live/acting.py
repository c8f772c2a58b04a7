"""What goes on from frame to frame while a person is live: how they hold their head, what
they feel, when they blink. All of it in constant memory, and, for as long as the speech is
known ahead, what the pipeline makes of a recording."""

import functools

import numpy as np

from emogene_jax.emotions import FADE, emotion_curve
from emogene_jax.motion_to_emotion.blink import natural_blinks
from emogene_jax.pose.sampler import EASE, idle_path, poses_along
from emogene_jax.signals import FPS, Posture

SHORTEST_IDLE = 15  # frames of silence until a head that talked idles
SMOOTH = 20  # frames on either side of a pose that its code is of (pose.code)
LONGEST = 5 * 60 * FPS  # frames of idling, and an hour of blinks, until they repeat
BLINKS = 60 * 60 * FPS


def talking(speech: np.ndarray, silent: int = SHORTEST_IDLE) -> np.ndarray:
    """[T] bool of speech [T] bool: whether somebody talks or makes a short pause in it.

    silent: frames of silence before the first.
    """
    number = np.arange(len(speech))
    last = np.maximum.accumulate(np.where(speech, number, -1 - silent))
    return number - last < SHORTEST_IDLE


class LivePosture:
    """pose.sampler.head_path, a few frames at a time."""

    def __init__(self, source: Posture, seed: int):
        self._source, self._seed = source, seed
        self._frame, self._silent = 0, SHORTEST_IDLE
        self._start = 0  # of the stretch that the last frame was in
        # What was before the first frame: the same, without movement.
        self._speeds, self._kinds = np.zeros(EASE), None
        self._ways = np.zeros(SMOOTH)
        self._idle = functools.lru_cache(maxsize=2)(self._idle_speeds)

    def advance(self, speech: np.ndarray, frames: int, left: int | None) -> Posture:
        """The next `frames` poses, and SMOOTH more on either side.

        Args:
            speech: [n] bool from the next frame on, at least EASE more than `frames`.
            left: frames until the end; None = nobody knows.
        """
        count = frames + SMOOTH + EASE
        left = None if left is None or left >= count else left
        speech = np.pad(speech, (0, max(0, count - len(speech))), "edge")[:count]
        talks = talking(speech, self._silent)
        speeds = self._raw_speeds(talks)
        if left is not None:  # it stays as it is
            speeds[left:] = speeds[left - 1]
        if self._kinds is None:
            self._kinds = np.full(EASE, talks[0])
        kinds = np.concatenate([self._kinds, talks])
        around = np.concatenate([self._speeds, speeds])
        window = np.ones(2 * EASE + 1) / (2 * EASE + 1)
        eased = np.convolve(around, window, "valid")
        joints = np.r_[False, kinds[1:] != kinds[:-1]].astype(float)
        if left is not None:
            joints[EASE + left :] = 0
        near = np.convolve(joints, np.r_[np.ones(2 * EASE), 0], "valid") > 0
        if self._frame == 0:
            near[0] = False
        way = self._ways[-1] + np.cumsum(
            np.where(near, eased, speeds[: len(eased)])[: frames + SMOOTH]
        )
        if left is not None and left < len(way):
            way[left:] = way[left - 1]
        ways = np.concatenate([self._ways, way])
        self._remember(frames, speech, kinds, around, ways)
        return poses_along(self._source, ways)

    def _raw_speeds(self, talks: np.ndarray) -> np.ndarray:
        """How fast (in poses of the source a frame) the head goes, not eased."""
        speeds, start = np.ones(len(talks)), self._start
        before = talks[0] if self._kinds is None else self._kinds[-1]
        for number, talk in enumerate(talks):
            if talk != before:
                before, start = talk, self._frame + number
            if not talk:
                since = self._frame + number - start
                speeds[number] = self._idle(start)[since % LONGEST]
        if self._frame == 0:
            speeds[0] = 0  # it begins where the source does
        return speeds

    def _idle_speeds(self, start: int) -> np.ndarray:
        path = idle_path(self._source, LONGEST, self._seed + start)
        return np.diff(path, prepend=path[:1])

    def _remember(self, frames, speech, kinds, around, ways) -> None:
        changes = np.flatnonzero(np.diff(kinds[EASE - 1 : EASE + frames]))
        if len(changes):
            self._start = self._frame + int(changes[-1])
        spoken = np.flatnonzero(speech[:frames])
        since = frames - 1 - spoken[-1] if len(spoken) else self._silent + frames
        self._silent = int(min(since, SHORTEST_IDLE))
        self._frame += frames
        self._kinds = kinds[frames : frames + EASE]
        self._speeds = around[frames : frames + EASE]
        self._ways = ways[frames : frames + SMOOTH]


class Mood:
    """An emotion track that can be changed while it is acted.

    track: of emotions.parse_emotion.
    """

    def __init__(self, track: list[tuple]):
        self._track, self._wanted = list(track), None

    def change(self, track: list[tuple]) -> None:
        """From now on another track, whose second 0 is now; from any thread."""
        self._wanted = track

    def curve(self, start: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """(weights [n, 8], intensity [n]) of frames from `start` on (emotion_curve);
        starts never go back."""
        now = start / FPS
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            first, *later = wanted
            self._track = [step for step in self._track if step[0] <= now]
            self._track += [(now + FADE / 2, *first[1:])]
            self._track += [(now + step[0], *step[1:]) for step in later]
        while len(self._track) > 1 and self._track[1][0] + FADE / 2 <= now:
            del self._track[0]
        shifted = [(step[0] - now, *step[1:]) for step in self._track]
        return emotion_curve(shifted, frames)


@functools.lru_cache(maxsize=4)
def _blinks(seed: int) -> np.ndarray:
    return natural_blinks(BLINKS, np.random.default_rng([seed, 1]))


def live_blinks(seed: int, start: int, frames: int) -> np.ndarray:
    """natural_blinks [n] of a seed, from frame `start` on."""
    return _blinks(seed)[np.arange(start, start + frames) % BLINKS]
