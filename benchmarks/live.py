"""Does live speech keep its promise: frame k leaves at most look-ahead + 0.3 s after its
sound came in?

    python benchmarks/live.py --avatar AVATAR [--speech FILE] [--seconds 60]

Sound is given in pieces of 20 ms, at the pace of its own clock, as a microphone does;
each frame is encoded (fragmented mp4) and counted when the file has it. One line:
milliseconds from a frame's sound (its last sample) to its bytes, median, p95 and most;
the first frame after the first sound; frames that were left out; how much of that time
the process had a processor, and how many others wanted it (load). Without --speech, the
synthetic voice.
"""

import argparse
import os
import threading
import time

import numpy as np
import timing

PIECE = 320  # samples


def main(tiny=False):
    """One line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--avatar", required=True)
    parser.add_argument("--speech")
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    from emogene_jax.commands.stream import warm_renderer
    from emogene_jax.commands.talk import open_avatar
    from emogene_jax.pipeline import look_ahead

    person = open_avatar(args.avatar)
    began = time.perf_counter()
    renderer = warm_renderer(person)
    warm = time.perf_counter() - began
    sound = said(args.speech, 1.0 if tiny else args.seconds)
    result = follow(person, renderer, sound)
    ahead = look_ahead(person.info["content"])
    timing.emit(
        "live",
        result | {"look_ahead_ms": round(1e3 * ahead), "warm_s": round(warm, 1)},
        size=person.fields.camera.size,
        content=person.info["content"]["type"],
        load=round(os.getloadavg()[0], 1),
    )


def said(speech, seconds: float) -> np.ndarray:
    """So many seconds of speech, said again and again: float32 at 16 kHz."""
    if speech is None:
        from emogene_jax.synthetic.takes import make_take

        sound = make_take(0, 0, 0, "neutral", sentence_seconds=10).waveform
    else:
        from emogene_jax.audio.load import load_audio

        sound = load_audio(speech)
    return np.resize(sound, round(seconds * 16_000)).astype(np.float32)


def follow(person, renderer, sound) -> dict:
    """Milliseconds from the sound of frames to their bytes."""
    from emogene_jax.commands.session import Intake, live
    from emogene_jax.media.live import LiveVideo

    intake, leaves = Intake(), {}
    video = LiveVideo(_Counts(), person.fields.camera.size, intake.rate)

    def speak():
        for start in range(0, len(sound), PIECE):
            due = began + (start + PIECE) / 16_000
            time.sleep(max(0.0, due - time.monotonic()))
            intake.give(sound[start : start + PIECE])
        intake.end()

    process, began = time.process_time(), time.monotonic()
    threading.Thread(target=speak, daemon=True).start()
    left_out = 0
    for clip in live(person, intake, renderer=renderer):
        video.write(*clip)
        left_out += clip.frame is None
        leaves[clip.number] = time.monotonic()
    video.close()
    # The end is pushed out all at once.
    last = len(sound) / 640 - 25
    late = [
        1e3 * (left - began - (number + 1) / 25)
        for number, left in leaves.items()
        if number <= last or len(leaves) < 50
    ]
    return {
        "median_ms": round(float(np.median(late)), 1),
        "p95_ms": round(float(np.percentile(late, 95)), 1),
        "most_ms": round(max(late), 1),
        "first_ms": round(1e3 * (leaves[0] - began), 1),
        "frames": len(leaves),
        "left_out": left_out,
        "cpu_share": round(
            (time.process_time() - process) / (time.monotonic() - began), 2
        ),
    }


class _Counts:
    """Takes bytes."""

    def write(self, data) -> int:
        return len(data)


if __name__ == "__main__":
    main()
