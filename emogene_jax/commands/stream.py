"""What `emogene talk --stream` does: sound on stdin, a video on stdout, as it is said."""

import os
import sys
import threading

import numpy as np

from emogene_jax.commands.session import Intake, live
from emogene_jax.commands.talk import open_avatar, open_background
from emogene_jax.live.acting import Mood
from emogene_jax.media.live import LiveVideo
from emogene_jax.pipeline import AHEAD, live_renderer, look_ahead, stream
from emogene_jax.signals import SAMPLE_RATE, UserError

READ = 4096  # bytes at a time


def talk_live(avatar, track, rate=SAMPLE_RATE, seed=0, background=None):
    """Raw sound (16 bit, mono, little endian, `rate` Hz) on stdin -> fragmented mp4 on
    stdout, until stdin ends or nobody reads any more.

    Raises:
        UserError: stdout is a terminal, or the avatar can't be live.
    """
    if sys.stdout.isatty():
        raise UserError("--stream: stdout is a terminal, expected a player or a file")
    person, picture = open_avatar(avatar), open_background(background)
    size = person.fields.camera.size
    picture = picture and np.asarray(picture.resize((size, size)))
    ahead = look_ahead(person.info["content"])
    intake, renderer = Intake(rate), warm_renderer(person)
    print(f"{avatar}: ready; pictures follow {ahead:.2f} s later", file=sys.stderr)
    reader = threading.Thread(
        target=_read, args=(sys.stdin.buffer, intake), daemon=True
    )
    reader.start()
    video, number = LiveVideo(sys.stdout.buffer, size, rate), -1
    try:
        for clip in live(person, intake, Mood(track), seed, picture, renderer):
            video.write(*clip)
            sys.stdout.buffer.flush()
            number = clip.number
        if number < 0:
            raise UserError("--stream: no sound on stdin, expected some")
        video.close()
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever watched has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        intake.stop()


def warm_renderer(person):
    """A renderer for `live` with all compiled that live speech needs; of a person who
    can't be live, a renderer."""
    renderer = live_renderer(person)
    if person.info["content"]["type"] not in AHEAD:
        return renderer
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)
    noise[: len(noise) // 2] = 0  # so that the rest is speech
    for _ in stream(person, [noise.astype(np.float32)], renderer=renderer):
        pass
    return renderer


def _read(source, intake: Intake) -> None:
    """Gives all of a file of 16 bit samples to an intake."""
    rest = b""
    while data := source.read1(READ):
        data = rest + data
        whole = len(data) // 2 * 2
        intake.give(np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768)
        rest = data[whole:]
    intake.end()
