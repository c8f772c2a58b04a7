"""Does an hour of speech take the memory of a minute, and sixty times its time?

From a sound file to motion: load, log-mel, pitch, silence, the VAE of a person's size
(untrained: what it costs does not depend on what was learned). Each length is a process
of its own, whose peak of resident memory is taken.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import timing


def main(tiny=False):
    """One line a length."""
    for seconds in (5, 10) if tiny else (60, 600, 3600):
        call = [sys.executable, __file__, str(seconds)]
        result = json.loads(
            subprocess.run(call, stdout=subprocess.PIPE, check=True).stdout
        )
        timing.emit("long_speech", result, seconds=seconds)


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
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def untrained():
    """An avatar that can hear, and has no face."""
    import jax
    import jax.numpy as jnp

    from emogene_jax.audio.features import LOG_MEL
    from emogene_jax.audio_to_motion.fit import PERSON_SIZE
    from emogene_jax.audio_to_motion.initial import initial_variables
    from emogene_jax.audio_to_motion.vae import AudioToMotion, latent_steps
    from emogene_jax.avatar import Avatar

    model, frames = AudioToMotion(**PERSON_SIZE), 8
    content = jnp.zeros((1, 2 * frames, LOG_MEL["channels"]))
    still = jnp.zeros((1, frames, 204)), jnp.ones((1, frames))
    noise = jnp.zeros((1, latent_steps(frames), model.latent))
    params, aux = initial_variables(
        model, jax.random.key(0), content, content[..., 0], *still, noise
    )
    info = {"audio_to_motion": PERSON_SIZE, "content": LOG_MEL}
    return Avatar(None, {"params": params, "aux": aux}, *[None] * 4, info)


def write_speech(path: Path, seconds: int) -> None:
    """A sentence of the synthetic world over and over, as a wav file."""
    import numpy as np

    from emogene_jax.data.synthetic import make_take

    sentence = (make_take(0, 0, 0).waveform * 32767).astype("<i2")
    left = seconds * 16_000
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        while left > 0:
            out.writeframes(np.ascontiguousarray(sentence[:left]).tobytes())
            left -= len(sentence)


if __name__ == "__main__":
    print(json.dumps(speak(int(sys.argv[1]))))
