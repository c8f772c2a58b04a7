"""How good is an avatar by the protocol of the field: a person's last frames, never seen?

    python benchmarks/reconstruct.py [VIDEO|PORTRAIT] [--size N] [-- MORE FOR create]
    python benchmarks/reconstruct.py --made AVATAR PORTRAIT

The first 10/11 train and the last 1/11 (at most 20 s) tests, under its true head and torso
poses (AD-NeRF's protocol, which RAD-NeRF, ER-NeRF, TalkingGaussian and others keep). Two
rows: `speech`, lips from the test's sound, which is what those papers report; `tracked`,
lips from the test's own landmarks: what the field can show at best. All numbers of `emogene
evaluate` with intervals, PSNR of the head before the true torso and background (`head`),
seconds of training, frames a second, and megabytes.

Then a table for people with the published rows, protocol by protocol. They are of other
people's videos, of other trackers and other GPUs: read them down, not across.
"""

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import create
import numpy as np
import portraits
import timing

from emogene_jax.avatar.file import load_avatar
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.evaluate import tables
from emogene_jax.evaluate.compare import (
    Clip,
    Reference,
    compare,
    load_tools,
    watch_reference,
)
from emogene_jax.evaluate.metrics import frame_maps, frame_scores
from emogene_jax.evaluate.reconstruction import before_the_truth, rerender
from emogene_jax.folders import read_json
from emogene_jax.pipeline import neutral_motion
from emogene_jax.portrait.cut import parted
from emogene_jax.portrait.pack import load_portrait
from emogene_jax.signals import (
    FPS,
    SAMPLE_RATE,
    AudioFeatures,
    motion_to_landmarks,
)

# Of the methods' own papers and of later ones that ran them; "–" = not told there.
PUBLISHED = {
    "TalkingGaussian (arXiv 2404.15264): mean of four people, 512 px, RTX 3080 Ti": (
        ("method", "PSNR", "LPIPS", "SSIM", "LMD", "Sync-C", "training", "FPS"),
        ("AD-NeRF", "31.87", ".0942", ".877", "2.791", "5.353", "18.7 h", "0.11"),
        ("RAD-NeRF", "33.07", ".0530", ".887", "2.761", "5.052", "5.3 h", "28.7"),
        ("ER-NeRF", "32.83", ".0289", ".889", "2.676", "5.295", "2.1 h", "31.2"),
        ("TalkingGaussian", "33.61", ".0259", ".910", "2.586", "6.516", "0.5 h", "108"),
    ),
    "GGTalker's comparison: one A100": (
        ("method", "PSNR", "LPIPS", "SSIM", "LMD", "LSE-C", "training", "FPS"),
        ("ER-NeRF", "30.438", ".0408", ".9331", "4.014", "5.008", "5 h", "38.2"),
        ("SyncTalk", "32.545", ".0334", ".9630", "2.963", "7.693", "5 h", "31.9"),
        ("GaussianTalker", "32.941", ".0531", ".9531", "3.061", "6.109", "1 h", "72.8"),
        ("GGTalker", "35.203", ".0281", ".9816", "2.328", "8.210", "0.3 h", "120"),
    ),
    "PD-GS (arXiv 2608.05218)": (
        ("method", "PSNR", "LPIPS", "LMD", "Sync-C", "MB"),
        ("AD-NeRF", "27.13", ".152", "3.02", "4.69", "30"),
        ("RAD-NeRF", "31.85", ".069", "2.98", "4.93", "28"),
        ("ER-NeRF", "33.01", ".031", "3.01", "5.11", "50"),
        ("GeneFace", "33.22", ".029", "2.70", "7.84", "25"),
        ("SyncTalk", "33.15", ".030", "2.85", "7.95", "800"),
        ("TalkingGaussian", "33.45", ".033", "2.97", "8.67", "30"),
        ("PD-GS", "33.55", ".027", "2.66", "8.85", "24"),
        ("Wav2Lip", "27.12", ".068", "5.96", "9.13", "50"),
    ),
    "EmoGene (arXiv 2410.17262, Table I): own videos, poses of others": (
        ("method", "SSIM", "PSNR", "LMD", "FID"),
        ("EAT", ".479", "16.940", "12.371", "142.655"),
        ("GeneFace++", ".729", "19.687", "11.815", "128.659"),
        ("Wav2Lip", ".623", "19.428", "10.429", "96.935"),
        ("EmoGene", ".730", "19.698", "11.687", "128.743"),
        ("EmoGene without deformation", ".730", "19.691", "11.894", "129.403"),
    ),
}


def main(tiny: bool = False):
    """One line, and tables on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="?", type=Path, metavar="VIDEO|PORTRAIT")
    parser.add_argument("--size", type=int, help="px; default: create's own")
    parser.add_argument("--made", type=Path, metavar="AVATAR")
    parser.add_argument("--weights", metavar="FOLDER", help="as of emogene evaluate")
    args, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        work, avatar, data = Path(folder), args.made, args.portrait
        if avatar is None:
            size = 32 if tiny else args.size
            source = data or portraits.prepared(None, work, size or 128, tiny)
            avatar = work / "avatar"
            sized = ["--size", str(args.size)] if args.size else []
            more = [flag for flag in rest if flag != "--"]
            create.create(source, avatar, [*sized, *more], tiny)
            kept = avatar / ".work" / "portrait"
            data = kept if kept.is_dir() else source
        rows, told = reconstruct(avatar, data, work, load_tools(weights=args.weights))
    name = args.portrait.stem if args.portrait else "synthetic"
    timing.emit("reconstruct", rows | told, portrait=name)
    show(rows, told)


def reconstruct(avatar: Path, data: Path, work: Path, tools) -> tuple[dict, dict]:
    """({row: numbers}, what is of the avatar as a whole), of the frames of prepared
    portrait `data` that the avatar was not learned from."""
    person, metrics = load_avatar(avatar), read_json(avatar / "metrics.json")
    cut = person.info["configs"]["head"]["portrait"]
    held = parted(load_portrait(data), cut["held_out"])[1]
    heard = AudioFeatures(held.content, held.f0, held.speech)
    spoken = motion_to_landmarks(neutral_motion(person, heard, seed=0), held.rest)
    renderer = Renderer(person.fields)
    reference = write(work / "true.mkv", held.frames, held.waveform)
    reference = watch_reference(reference, tools)
    rerender(renderer, held, np.arange(min(4, len(held.clip))))  # compiles
    rows, seconds = {}, []
    driven = {"speech": held._replace(landmarks=spoken), "tracked": held}
    for name, shown in driven.items():
        began = time.perf_counter()
        frames, heads = rerender(renderer, shown)
        seconds.append(time.perf_counter() - began)
        rows[name] = measure(
            reference, frames, heads, held, work / f"{name}.mkv", tools
        )
    files = avatar.glob("*.safetensors")
    told = {
        "reference": tables.clip_values(Clip({}, reference.values, 0, [], [], [])),
        "absent": tools.absent,
        "size": person.fields.camera.size,
        "training_frames": cut["frames"] - cut["held_out"],
        "held_out_frames": len(held.clip),
        "train_s": metrics.get("train_seconds"),
        # With the transfer to the host, without encoding.
        "frames_per_second": round(2 * len(held.clip) / sum(seconds), 2),
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
    }
    return rows, told


def measure(reference: Reference, frames, heads, held, path: Path, tools) -> dict:
    """All numbers of rendered frames [T, H, W, 3] and their heads [T, H, W, 4]."""
    clip = compare(reference, write(path, frames, held.waveform), tools)
    pairs = zip(held.frames, before_the_truth(heads, held), strict=True)
    scores = [frame_scores(frame_maps(*pair), {"head": None})["head"] for pair in pairs]
    for metric in ("psnr", "ssim"):
        clip.curves[metric]["head"] = np.array([score[metric] for score in scores])
    return tables.summarise([clip]) | {"notes": clip.notes}


def write(path: Path, frames: np.ndarray, waveform: np.ndarray) -> Path:
    """A video without any loss (FFV1, PCM): what is encoded is measured as worse."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("ffv1", rate=FPS)
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt = "bgr0"
        if len(waveform):
            sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
            block = av.AudioFrame.from_ndarray(waveform[None], "s16", "mono")
            block.sample_rate, block.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            block.pts = 0
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(picture.encode(None))
        if len(waveform):
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def show(rows: dict, told: dict) -> None:
    """Tables for people: ours, then each block of published ones."""
    text = [f"## Here: {told['held_out_frames']} frames of {told['size']} px"]
    text.append(tables.markdown(*tables.all_numbers(rows, told["reference"])))
    speed, large = told["frames_per_second"], told["megabytes"]
    trained = told["train_s"] or "–"
    text.append(f"training {trained} s; {speed} frames a second; {large} MB")
    for title, (header, *block) in PUBLISHED.items():
        text += [f"## {title}", tables.markdown(header, block)]
    print("\n\n".join(text), file=sys.stderr)


if __name__ == "__main__":
    main()
