"""Makes the built-in audio-to-motion model and lip-sync expert (docs/generic_voice.md):

    python launch/generic_voice.py FOLDER --work DIR [--face-model FILE]

FOLDER holds talking people as emogene_jax/corpora/portrait_videos.py says, train/ and
validation/. First the principal components of what is heard in train/ are found. Then, in
three rounds, clips are extracted, and `lip_sync:generic` and `audio_to_motion:generic` are
trained on their records: of clips as they were filmed; with sound brought to its picture
where the first round's models find it two frames off or more; to the frame. (At once to the
frame, and what most clips are off by is kept.) The results replace
speech_embedding_components.safetensors in emogene_jax/audio/, generic.safetensors and
lip_sync.safetensors in emogene_jax/audio_to_motion/.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from emogene_jax.audio.load import load_audio
from emogene_jax.audio.speech_embedding import write_components
from emogene_jax.audio_to_motion.generic import EXPERT_FILE, FILE, write_built_in
from emogene_jax.corpora.corpus import find_clips
from emogene_jax.corpora.portrait_videos import CORPUS
from emogene_jax.recipes.audio_to_motion import expert_of, voice_of

# Frames from which on a round corrects; in the first there is no model to tell.
LATE_FROM = (1, 2, 1)


def main(folder: str, work: Path, more: list[str]) -> None:
    """Components, and all rounds. more: further arguments of the extraction."""
    shutil.rmtree(work, ignore_errors=True)
    for file in (FILE, EXPERT_FILE):
        file.unlink(missing_ok=True)
    clips = [path for path in find_clips(CORPUS, folder) if path.startswith("train/")]
    write_components(load_audio(Path(folder, path)) for path in clips)
    for number, late_from in enumerate(LATE_FROM, 1):
        clips = work / f"clips-{number}"
        asked = ["portrait_videos", folder, "--out", clips, "--late-from", late_from]
        asked += ["--content", "speech_embedding", *more]
        if number > 1:
            asked += ["--seen", work / "clips-1"]
        run("emogene_jax.corpora.extract", *asked)
        data = clips / "records"
        for stage, file, read in (
            ("lip_sync", EXPERT_FILE, expert_of),
            ("audio_to_motion", FILE, voice_of),
        ):
            trained = work / f"{stage}-{number}"
            asked = ["--config", f"{stage}:generic", f"--config.data={data}"]
            run("emogene_jax.cli", "train", *asked, "--workdir", trained)
            write_built_in(read(trained), file)
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, round {number}")


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
