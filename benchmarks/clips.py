"""What emotion does the judge's classifier see in filmed clips?

    python benchmarks/clips.py VIDEO ...

Each clip is tracked at 25 fps, and its landmarks, against the usual face, are given to a
classifier that has learned from synthetic people alone (evaluate/emotion.py). The labels
are those of the folders or file names. Of a damaged clip what can be decoded is judged.
Prints a table, and one JSON line: of each clip the mean probability of every emotion.
"""

import argparse
from pathlib import Path

import numpy as np
import timing

from emogene_jax.emotions import emotion_of
from emogene_jax.evaluate import emotion as judge
from emogene_jax.face.tracking import find_model
from emogene_jax.media.video import iter_frames
from emogene_jax.portrait.look import find_videos
from emogene_jax.signals import EMOTIONS

PEOPLE = range(24)  # synthetic, that the classifier learns from


def main():
    """Judges the clips named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    args = parser.parse_args()
    model, classifier = find_model(), judge.fit_classifier(PEOPLE, alone=True)
    usual = judge.usual_face(model)
    votes, lost = {}, {}
    for path in find_videos(args.videos):
        seen = judge.watch(iter_frames(path, whole=False), model, str(path))
        votes[path] = judge.clip_votes(classifier, seen, usual)
        lost[path] = int(np.isnan(seen.landmarks).any((1, 2)).sum())
    print(table(votes))
    timing.emit(
        "clips",
        {
            "labels": [emotion_of(path) for path in votes],
            "named": [max(v, key=v.get) for v in votes.values()],
            "votes": [[round(v[name], 3) for name in EMOTIONS] for v in votes.values()],
            "frames_without_a_face": list(lost.values()),
        },
    )


def table(votes: dict[Path, dict[str, float]]) -> str:
    """One row a clip, one column an emotion."""
    lines = [f"{'clip':24}" + "".join(f"{name:>10}" for name in EMOTIONS)]
    for path, row in votes.items():
        cells = "".join(f"{row[name]:10.2f}" for name in EMOTIONS)
        lines.append(f"{path.stem[:23]:24}{cells}   labelled {emotion_of(path)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
