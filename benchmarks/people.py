"""How good are the avatars of other people, and do their pictures have specks?

    python benchmarks/people.py [VIDEO|PORTRAIT ...] [--size 128] [--work DIR]

Of each video `emogene create` makes an avatar, in a process of its own; the last 4 s (a
fifth of a short one) are held out. A line each: scores of the held-out end, seconds, and
specks: pixels of the head, a thousand of them, that stand out from their neighbours and
from the filmed frame, which does not stand out there; and those of the filmed frames by
the same measure against themselves, shifted by a frame. Then a line of the means, and of
the worst, of `halves`: every other person's, for who chooses a setting by one half and
reports the other. DIR keeps the avatars, and those that it has are read. Without videos the
synthetic character.
"""

import argparse
import tempfile
from pathlib import Path

import create
import numpy as np
import portraits
import timing
from scipy.ndimage import median_filter

from emogene_jax.media.video import read_video, video_info
from emogene_jax.portrait.cut import parted
from emogene_jax.portrait.pack import is_portrait, load_portrait
from emogene_jax.signals import FPS

STANDS_OUT = 20  # of 255 grey levels, from the median of 3 x 3 pixels
REGIONS = ("full", "full_predicted_torso", "head_matte", "mouth")


def main(tiny: bool = False):
    """A line a person, and one of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("people", nargs="*", type=Path, metavar="VIDEO|PORTRAIT")
    parser.add_argument("--size", type=int, default=128, help="px")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        size = 32 if tiny else args.size
        people = args.people or [portraits.prepared(None, work, size, tiny)]
        rows = []
        for person in people:
            avatar = work / f"{person.stem}-{size}"
            if not (avatar / "metrics.json").is_file():
                held = min(
                    portraits.HELD_SECONDS, portraits.LARGEST_SHARE * long(person)
                )
                told = ["--holdout-seconds", f"{held:.2f}", "--size", str(size)]
                create.create(person, avatar, told, tiny)
            rows.append(row(avatar, person))
            timing.emit("people", rows[-1], person=person.stem, size=size)
    for half, some in {
        "all": rows,
        "chosen": rows[::2],
        "reported": rows[1::2],
    }.items():
        if some:
            timing.emit("people", pooled(some), half=half, people=len(some), size=size)


def long(person: Path) -> float:
    """Seconds."""
    if is_portrait(person):
        return len(load_portrait(person, pictures=False).clip) / FPS
    return video_info(person)["seconds"]


def row(avatar: Path, person: Path) -> dict:
    """What came out of one."""
    told, sizes = create.read(avatar)
    folder = person if is_portrait(person) else avatar / ".work" / "portrait"
    portrait = load_portrait(folder)
    held = parted(portrait, sizes["held_out_frames"])[1]
    shown, _ = read_video(avatar / "heldout.mkv")
    found = {name: told["psnr"][name] for name in REGIONS}
    if "lmd" in told:
        found["lmd_mouth"] = told["lmd"]["mouth"]
    return found | {
        "specks": specks(shown, held.frames, held.head_matte),
        "specks_filmed": specks(held.frames[1:], held.frames[:-1], held.head_matte[1:]),
        "train_s": round(sum(told["train_seconds"].values()), 1),
    }


def specks(shown, filmed, matte) -> float:
    """Of a thousand pixels of the head, how many stand out where `filmed` has none that
    do. All [T, H, W(, 3)] uint8."""
    out, there = (_stands_out(frames) for frames in (shown, filmed))
    differs = np.abs(_grey(shown) - _grey(filmed)) > STANDS_OUT
    head = matte > 25
    wrong = (
        head & (np.abs(out) > STANDS_OUT) & (np.abs(there) < STANDS_OUT / 2) & differs
    )
    return round(1000 * float(wrong.sum() / max(head.sum(), 1)), 3)


def _grey(frames) -> np.ndarray:
    return frames.astype(np.float32).mean(-1)


def _stands_out(frames) -> np.ndarray:
    grey = _grey(frames)
    return grey - median_filter(grey, (1, 3, 3))


def pooled(rows: list[dict]) -> dict:
    """{column: {"mean", "least", "most"}} of several people."""
    found = {}
    for name in rows[0]:
        values = [row[name] for row in rows if name in row]
        told = {"mean": np.mean(values), "least": min(values), "most": max(values)}
        found[name] = {part: round(float(value), 3) for part, value in told.items()}
    return found


if __name__ == "__main__":
    main()
