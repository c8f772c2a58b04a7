"""Makes the built-in audio-to-motion model (docs/generic_voice.md):

    python launch/generic_voice.py FOLDER --work DIR [--face-model FILE]

FOLDER holds talking people as emogene_jax/corpora/portrait_videos.py says, train/ and
validation/. Twice: clips are extracted, with their sound brought to their picture as far
as the model of the round before can tell, and `audio_to_motion:generic` is trained on
their records. The result replaces emogene_jax/audio_to_motion/generic.safetensors.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from emogene_jax.audio_to_motion.generic import FILE, write_built_in
from emogene_jax.recipes.audio_to_motion import voice_of

ROUNDS = 2


def main(folder: str, work: Path, more: list[str]) -> None:
    """Both rounds. more: further arguments of the extraction."""
    shutil.rmtree(work, ignore_errors=True)
    FILE.unlink(missing_ok=True)
    for number in range(1, ROUNDS + 1):
        clips, trained = work / f"clips-{number}", work / f"trained-{number}"
        asked = ["portrait_videos", folder, "--out", clips, *more]
        run("emogene_jax.corpora.extract", *asked, "--content", "speech_embedding")
        data = f"--config.data={clips / 'records'}"
        config = "audio_to_motion:generic"
        run("emogene_jax.cli", "train", "--config", config, "--workdir", trained, data)
        write_built_in(voice_of(trained))
        print(f"{FILE}: {FILE.stat().st_size / 1e6:.2f} MB, round {number}")


def run(module: str, *arguments) -> None:
    """A command of the package, in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--face-model", default=None)
    args = parser.parse_args()
    given = ["--face-model", args.face_model] if args.face_model else []
    main(args.folder, args.work, given)
