"""What the page's buttons do, without the page: renders that say how far they are, and
can be left at any frame."""

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emogene_jax.app.people import People
from emogene_jax.app.pictures import STRIP
from emogene_jax.app.seats import DEVICE
from emogene_jax.audio.features import audio_features
from emogene_jax.audio.load import StoredSound
from emogene_jax.commands.talk import open_background
from emogene_jax.emotions import never_reached
from emogene_jax.media.video import video_info, write_video
from emogene_jax.pipeline import perform_idle, perform_in_stretches
from emogene_jax.signals import FPS, SAMPLE_RATE, UserError, motion_to_landmarks

LONGEST = 600.0  # s of speech
LONGEST_FILM = 3600.0  # s of a video that an avatar is made of
LARGEST_BYTES = 500_000_000  # of an upload
SHOWN_EVERY = 0.2  # s between two pictures of a render
TOLD_EVERY = 0.5  # s between two looks at how far an avatar is
CREATE = ["-u", "-m", "emogene_jax.cli", "create"]  # its words come as they are said


class Progress(NamedTuple):
    """How far a render is."""

    said: str
    frame: np.ndarray | None = None  # the newest, [H, W, 3] uint8
    landmarks: np.ndarray | None = None  # [68, 3] cm, of the newest
    frames: tuple = ()  # those of the strip that are rendered
    video: Path | None = None  # once it is done


def must_be_short(path, most: float = LONGEST) -> None:
    """Raises UserError where a file says that it is longer than `most` s."""
    import av

    from emogene_jax.media.files import open_media

    try:
        with open_media(path) as container:
            seconds = (container.duration or 0) / av.time_base
    except (av.error.FFmpegError, UnicodeDecodeError):
        return  # whoever reads it says what is wrong with it
    if seconds > most:
        raise UserError(
            f"{Path(path).name}: {seconds / 60:.0f} minutes long; at most "
            f"{most / 60:.0f} are taken here"
        )


def speak(people: People, name, speech, track, out: Path, seed=0, background=None):
    """Yields Progress until a video of the person is at `out`.

    Args:
        speech: a sound file, or how many seconds to be idle for.
        track: of emotions.parse_emotion. background: a picture's file, or None.

    Raises:
        UserError: in one line, what of it is wrong.
    """
    try:
        sound = _sound(speech)
        picture = open_background(background)
        with contextlib.closing(DEVICE.wait()) as turn:
            while place := next(turn):
                yield Progress(f"{place} before you")
            yield Progress("opening the avatar")
            person = people.person(name)
            yield from _spoken(person, sound, speech, track, out, seed, picture)
    except UserError as error:  # where uploads lie is nobody's business
        line = str(error).replace(str(speech), Path(str(speech)).name)
        raise UserError(line) from None


def _sound(speech) -> StoredSound | None:
    """What is to be said; None = only so many seconds of idling.

    Raises:
        UserError: it is no sound, or longer than what is taken.
    """
    if isinstance(speech, str | Path):
        must_be_short(speech)
        sound = StoredSound(speech)
        if len(sound) > LONGEST * SAMPLE_RATE:
            raise UserError(f"{speech}: longer than the {LONGEST / 60:g} minutes taken")
        return sound
    if not 0 < speech <= LONGEST:
        raise UserError(f"idle: found {speech} s, expected up to {LONGEST:.0f}")
    return None


def _spoken(person, sound, speech, track, out, seed, picture) -> Iterator[Progress]:
    said, size = "", person.avatar.fields.camera.size
    if picture is not None:
        picture = np.asarray(picture.resize((size, size), Image.LANCZOS))
    if sound is None:
        acted = perform_idle(person.avatar, max(1, round(speech * FPS)), seed)
        acted, speech = acted._replace(motion=iter([acted.motion])), None
    else:
        yield Progress("listening")
        features = audio_features(sound, person.avatar.info["content"])
        said = never_reached(track, len(features.speech))
        acted = perform_in_stretches(person.avatar, features, track, seed)
    yield from _rendered(person, acted, picture, out, speech, said)


def _rendered(person, acted, picture, out, sound, said) -> Iterator[Progress]:
    """On a thread of its own, which ends at its next frame when nobody listens."""
    news: queue.Queue = queue.Queue()
    left = threading.Event()

    def work():
        try:
            frames = _told(person, acted, picture, news, left)
            write_video(out, frames, sound)
            news.put(None)
        except BaseException as error:  # raised where it is waited for, below
            news.put(error)

    thread = threading.Thread(target=work, name="render", daemon=True)
    thread.start()
    last = None
    try:
        while (told := news.get()) is not None:
            if isinstance(told, BaseException):
                raise told
            last = told
            if news.empty():  # of several that wait, the newest is enough
                yield told
    finally:
        left.set()
        thread.join()
    yield last._replace(said=f"{last.said}. {said}".rstrip(" ."), video=Path(out))


def _told(person, acted, picture, news, left) -> Iterator[np.ndarray]:
    """The frames of a performance; now and then, and at the end, `news` are told."""
    total, rest = len(acted.pose.rotation), person.avatar.rest
    newest, first, kept = np.zeros((1, 1)), 0, ()
    chosen = np.linspace(1, total, STRIP).astype(int).tolist()
    began = shown = time.monotonic()

    def motion():
        nonlocal newest, first
        for stretch in acted.motion:
            first += len(newest) if newest.ndim == 3 else 0
            newest = stretch
            yield stretch

    def landmarks(number):
        row = np.clip(number - first, 0, len(newest) - 1)
        return motion_to_landmarks(newest[row], rest)

    frames = person.renderer.frames(motion(), acted.pose, acted.torso, picture)
    for number, frame in enumerate(frames, 1):
        if left.is_set():
            raise Left
        yield frame
        kept += (frame,) * chosen.count(number)
        now = time.monotonic()
        if now - shown > SHOWN_EVERY:
            shown = now
            more = (now - began) / number * (total - number)
            line = f"frame {number} of {total}, about {more:.0f} s left"
            news.put(Progress(line, frame, landmarks(number - 1), kept))
    seconds = time.monotonic() - began
    line = f"{total} frames in {seconds:.1f} s ({total / seconds:.0f} a second)"
    news.put(Progress(line, frame, landmarks(total - 1), kept))


class Left(Exception):
    """Nobody waits for it any more."""


class Made(NamedTuple):
    """How far an avatar is."""

    said: str
    preview: Path | None = None
    scores: dict | None = None


def make(people: People, video, name: str, size: int) -> Iterator[Made]:
    """Yields Made until the folder of `people` holds an avatar of the person in a video;
    what was begun is deleted if it is left or fails.

    Raises:
        UserError: in one line, what is wrong.
    """
    out = people.new(name)
    must_be_short(video, LONGEST_FILM)
    try:
        video_info(video)  # what is no video is told at once
    except UserError as error:
        raise UserError(str(error).replace(str(video), Path(video).name)) from None
    # A process of its own: it can be ended at once, and gives its memory back.
    command = [sys.executable, *CREATE, str(video), "--out", str(out)]
    command += ["--size", str(int(size))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        while reader.is_alive():  # and not line by line: it can be left at any time
            reader.join(TOLD_EVERY)
            yield Made(_tail(lines, video, out))
        if process.wait() != 0:
            told = _tail(lines, video, out).rpartition("error: ")[2].partition("\n")[0]
            raise UserError(told or "it ended without a word")
        shutil.rmtree(out / ".work", ignore_errors=True)  # the person's pictures
        scores = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        yield Made(_tail(lines, video, out), out / "preview.png", scores)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        if not (out / "metrics.json").is_file():
            shutil.rmtree(out, ignore_errors=True)


def _read(stdout, lines: list[str]) -> None:
    for line in stdout:
        lines.append(line.rstrip())


def _tail(lines: list[str], video, out: Path) -> str:
    """The last lines, without the places that files have here."""
    text = "\n".join(lines[-12:])
    return text.replace(str(video), Path(video).name).replace(str(out), out.name)
