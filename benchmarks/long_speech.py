"""Does an hour of speech take the memory of a minute, and sixty times its time?

    python benchmarks/long_speech.py [--render [--minutes 60] [--size 64]]

From a sound file to motion: load, log-mel, pitch, silence, the VAE of a person's size
(untrained: what it costs does not depend on what was learned). Each length is a process
of its own, whose peak of resident memory is taken.

With --render, from motion to frames instead: the synthetic character (untrained, too)
at a small size, motion made as it is asked for, each frame handed over and dropped. One
line every twelfth of it says what is resident then, and how fast that twelfth was.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import timing

MARKS = 12
STRETCH = 500  # frames of motion at a time


def main(tiny=False):
    """One line a length, or a mark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--render", action="store_true", help="frames, not speech")
    parser.add_argument("--minutes", type=float, default=60.0, help="to render")
    parser.add_argument("--size", type=int, default=64, help="px, to render at")
    parser.add_argument("--only", type=int, metavar="SECONDS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(speak(args.only)))
        return
    if args.render:
        render(round(args.minutes * 60 * 25), 32 if tiny else args.size)
        return
    for seconds in (5, 10) if tiny else (60, 600, 3600):
        call = [sys.executable, __file__, "--only", str(seconds)]
        result = json.loads(
            subprocess.run(call, stdout=subprocess.PIPE, check=True).stdout
        )
        timing.emit("long_speech", result, seconds=seconds)


def render(total: int, size: int) -> None:
    """Renders `total` frames; a line at each of MARKS."""
    import numpy as np
    from render_fps import random_faces, untrained

    from emogene_jax.emotion_to_video.render import Renderer
    from emogene_jax.signals import Pose

    fields, _, pose = untrained(size, STRETCH)
    rng = np.random.default_rng(0)
    # To and fro along one path, so that no head ever jumps.
    there = np.arange(total) % (2 * STRETCH - 2)
    path = Pose(*(part[np.minimum(there, 2 * STRETCH - 2 - there)] for part in pose))
    stretches = (
        random_faces(min(STRETCH, total - start), rng)
        for start in range(0, total, STRETCH)
    )
    began, before = time.perf_counter(), 0
    for done, _ in enumerate(Renderer(fields).frames(stretches, path), 1):
        if done * MARKS // total > (done - 1) * MARKS // total:
            now = time.perf_counter()
            told = {
                "resident_mb": resident_mb(),
                "peak_mb": peak_mb(),
                "fps": round((done - before) / (now - began), 1),  # with what compiles
            }
            timing.emit("long_video", told, size=size, frames=done, of=total)
            began, before = time.perf_counter(), done


def resident_mb() -> int:
    """What this process holds now; at most, where Linux's /proc is absent."""
    table = Path("/proc/self/statm")
    if not table.exists():
        return peak_mb()
    return int(table.read_text().split()[1]) * resource.getpagesize() >> 20


def peak_mb() -> int:
    """The most that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


def speak(seconds: int) -> dict:
    """What `seconds` of speech took."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.audio.load import StoredSound
    from emogene_jax.pipeline import neutral_stretches

    person = untrained()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        write_speech(path, seconds)
        began = time.perf_counter(), time.process_time()
        features = audio_features(StoredSound(path), person.info["content"])
        frames = sum(map(len, neutral_stretches(person, features, 0)))
    assert frames == 25 * seconds
    return {
        "wall_s": round(time.perf_counter() - began[0], 2),
        "cpu_s": round(time.process_time() - began[1], 2),
        "peak_mb": peak_mb(),
    }


def untrained():
    """An avatar that can hear, and has no face."""
    import jax
    import jax.numpy as jnp

    from emogene_jax.audio.features import LOG_MEL
    from emogene_jax.audio_to_motion.initial import initial_variables
    from emogene_jax.audio_to_motion.vae import AudioToMotion, latent_steps
    from emogene_jax.avatar.file import Avatar
    from emogene_jax.recipes.run import stage_config

    sizes = stage_config("audio_to_motion", "person").model.to_dict()
    model, frames = AudioToMotion(**sizes), 8
    content = jnp.zeros((1, 2 * frames, LOG_MEL["channels"]))
    still = jnp.zeros((1, frames, 204)), jnp.ones((1, frames))
    noise = jnp.zeros((1, latent_steps(frames), model.latent))
    params, aux = initial_variables(
        model, jax.random.key(0), content, content[..., 0], *still, noise
    )
    info = {"audio_to_motion": sizes, "content": LOG_MEL}
    return Avatar(None, {"params": params, "aux": aux}, *[None] * 5, info)


def write_speech(path: Path, seconds: int) -> None:
    """A sentence of the synthetic world over and over, as a wav file."""
    import numpy as np

    from emogene_jax.synthetic.takes import make_take

    sentence = (make_take(0, 0, 0).waveform * 32767).astype("<i2")
    left = seconds * 16_000
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        while left > 0:
            out.writeframes(np.ascontiguousarray(sentence[:left]).tobytes())
            left -= len(sentence)


if __name__ == "__main__":
    main()
