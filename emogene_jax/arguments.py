"""What can be seen of arguments before anything heavy is imported: the values that
argparse reads, and files that must be there, or that must be writable; and the options of
the commands that look at videos, that make some, and that measure."""

import argparse
import math
import re
import tempfile
from pathlib import Path

from emogene_jax.emotions import parse_emotion
from emogene_jax.signals import LARGEST_SEED, UserError

LONGEST_IDLE = 4 * 3600  # s, all of whose poses are in memory


def seconds(text: str) -> float:
    """A duration, finite and >= 0."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a finite number >= 0")
    return value


def time(text: str) -> float:
    """A time in a video in s: `90`, `1:30` or `0:01:30.5`."""
    parts = text.split(":")
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text, re.ASCII) or any(
        float(part) >= 60 for part in parts[1:]
    ):
        raise argparse.ArgumentTypeError(
            f"'{text}'; expected a time in s or [h:]m:s, as 90 or 1:30"
        )
    return sum(60**power * float(part) for power, part in enumerate(reversed(parts)))


def scale(text: str) -> float:
    """A factor, finite and > 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a finite number > 0")
    return value


def sound_offset(text: str) -> int | None:
    """`auto` (None), or by how many frames a sound is late, up to a minute."""
    if text == "auto":
        return None
    value = int(text)
    if abs(value) > 1500:
        raise argparse.ArgumentTypeError(f"'{text}' frames; expected -1500 to 1500")
    return value


def seed(text: str) -> int:
    """A seed that NumPy and JAX both take."""
    value = int(text)
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"'{text}'; expected 0 to {LARGEST_SEED}")
    return value


def port(text: str) -> int:
    """A TCP port; 0 = any that is free."""
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"'{text}'; expected 0 to 65535")
    return value


def size(text: str) -> int:
    """The side of a square video in pixels; even, as H.264 wants it."""
    value = int(text)
    if not 32 <= value <= 2048 or value % 2:
        raise argparse.ArgumentTypeError(
            f"'{text}' px; expected an even number from 32 to 2048"
        )
    return value


def crop(text: str) -> str | tuple[int, int, int]:
    """`auto`, `none`, or the square (x, y, side) in pixels."""
    if text in ("auto", "none"):
        return text
    try:
        x, y, side = (int(part) for part in text.split(","))
    except ValueError:
        x = y = side = -1
    if min(x, y) < 0 or side < 32:
        raise argparse.ArgumentTypeError(
            f"'{text}'; expected auto, none, or x,y,side in pixels with a side >= 32"
        )
    return x, y, side


# Types that argparse names in its messages ("invalid number value: ...").
seconds.__name__ = scale.__name__ = seed.__name__ = size.__name__ = port.__name__ = (
    "number"
)


def must_exist(*paths: str | None, what: str) -> None:
    """Raises UserError for the first of `paths` (None = not given) that is absent."""
    for path in paths:
        if path is not None and not Path(path).exists():
            raise UserError(f"{path}: no such file, expected {what}")


def must_be_avatar(path: str) -> None:
    """Raises UserError if `path` is no folder that holds an avatar."""
    if not (Path(path) / "avatar.json").is_file():
        raise UserError(
            f"{path}: no avatar.json in it, expected a folder made by `emogene create`"
        )


def must_be_writable(path: str, folder: bool) -> None:
    """Finds out now, not after an hour, that `path` can't be written."""
    if "\0" in path:
        raise UserError(f"{path!r}: expected a name without a zero byte")
    out = Path(path)
    if folder and out.exists() and not out.is_dir():
        raise UserError(f"{path}: is a file, expected a folder to write into")
    if not folder and out.is_dir():
        raise UserError(f"{path}: is a folder, expected a file name to write to")
    place = out.absolute() if folder else out.absolute().parent
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror})") from None


def must_be_apart(written: list, read: list) -> None:
    """Raises UserError where a file (None = none) would be written over one that is read,
    or two into one."""
    taken = {Path(path).resolve() for path in read if path is not None}
    for path in written:
        if path is None:
            continue
        if (place := Path(path).resolve()) in taken:
            raise UserError(
                f"{path}: would be written over, expected another name to write to"
            )
        taken.add(place)


def add_portrait(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that look at videos of a person."""
    parser.add_argument(
        "--crop", type=crop, default="auto", metavar="auto|none|x,y,side"
    )
    for name, end in (("from", "beginning"), ("to", "end")):
        parser.add_argument(
            f"--{name}",
            type=time,
            metavar="TIME",
            help=f"of one video, the {end} of what is used, in s or [h:]m:s",
        )
    parser.add_argument("--face-model", metavar="FILE")
    parser.add_argument(
        "--sound-offset",
        type=sound_offset,
        metavar="auto|FRAMES",
        help="how late the sound is, in frames of 1/25 s (early: below 0); auto finds "
        "out of each clip",
    )
    parser.add_argument(
        "--content",
        default="auto",
        metavar="auto|speech_embedding|log_mel|HUBERT",
        help="features of speech: HuBERT where its weights can be had, else a speech "
        "embedding that is always there; or a HuBERT checkpoint's folder or name",
    )


def check_times(
    args: argparse.Namespace, sources: list[str]
) -> tuple[float, float | None] | None:
    """(--from, --to or None) in s; None where neither is given.

    Raises:
        UserError: there is not one video alone, or they are not in it.
    """
    begin, end = getattr(args, "from"), args.to
    if begin is None and end is None:
        return None
    begin = begin or 0.0
    if end is not None and end <= begin:
        raise UserError(f"--to {end:g} s: expected more than --from {begin:g} s")
    if len(sources) > 1 or Path(sources[0]).is_dir():
        found = "a folder" if len(sources) == 1 else f"{len(sources)} sources"
        raise UserError(f"--from and --to go with one video, found {found}")
    from emogene_jax.media.stretch import stretch_of
    from emogene_jax.media.video import video_info

    stretch_of(sources[0], (begin, end), video_info(sources[0])["seconds"])
    return begin, end


def add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    """The options of `emogene evaluate`."""
    evaluate.add_argument("--reference", metavar="VIDEO|FOLDER")
    evaluate.add_argument(
        "--generated",
        nargs="+",
        metavar="VIDEO|FOLDER",
        help="one a method; videos in a folder are called like their references",
    )
    evaluate.add_argument(
        "--out",
        metavar="FILE.json|FOLDER",
        help="a folder gets a page, tables (.md), every clip (.csv) and metrics.json",
    )
    evaluate.add_argument("--face-model", metavar="FILE")
    evaluate.add_argument(
        "--weights",
        metavar="FOLDER",
        help="with pt_inception-2015-12-05-6726825d.pth (FID), syncnet_v2.model",
    )
    evaluate.add_argument(
        "--provenance", metavar="FILE", help="what a video says of where it comes from"
    )


def check_evaluate(args: argparse.Namespace) -> None:
    """Raises UserError where what `emogene evaluate` is given is not there or amiss."""
    if args.provenance is not None:
        if args.reference or args.generated:
            raise UserError("--provenance goes alone: it compares nothing")
        return
    if not (args.reference and args.generated):
        raise UserError("expected --reference and --generated, or --provenance")
    must_exist(args.reference, *args.generated, what="a video or a folder of videos")
    must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
    must_exist(args.weights, what="a folder of parameters")
    if args.out is not None:
        must_be_writable(args.out, folder=Path(args.out).suffix != ".json")


def add_study(study: argparse.ArgumentParser) -> None:
    """The options of `emogene study`."""
    study.add_argument(
        "methods", nargs="*", metavar="VIDEO|FOLDER", help="one a method, names unseen"
    )
    study.add_argument("--out", metavar="FOLDER|FILE.json")
    study.add_argument("--seed", type=seed, default=0, metavar="N")
    study.add_argument("--summarise", metavar="STUDY", help="the folder of a study")
    study.add_argument(
        "--results", nargs="+", metavar="FILE|FOLDER", help="what people saved of it"
    )


def check_study(args: argparse.Namespace) -> None:
    """Raises UserError where `emogene study` is asked for neither thing it does."""
    summary = args.summarise is not None
    if summary != (args.results is not None) or summary == bool(args.methods):
        raise UserError("expected methods and --out, or --summarise with --results")
    if args.out is None and not summary:
        raise UserError("expected --out FOLDER, for the page")
    must_exist(*args.methods, what="a video or a folder of videos")
    must_exist(args.summarise, *args.results or (), what="a study and results of it")
    if args.out is not None:
        must_be_writable(args.out, folder=not summary)


def add_talk(talk: argparse.ArgumentParser) -> None:
    """The options of `emogene talk`."""
    talk.add_argument("avatar", metavar="AVATAR")
    source = talk.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--audio", nargs="+", metavar="SPEECH", help="of several, OUT is a folder"
    )
    source.add_argument("--idle", type=seconds, metavar="SECONDS")
    source.add_argument("--drive", metavar="VIDEO|LANDMARKS.npz")
    source.add_argument(
        "--stream",
        action="store_true",
        help="raw 16-bit mono sound on stdin, fragmented mp4 on stdout, as it is said",
    )
    talk.add_argument("--rate", type=int, metavar="HZ", help="of --stream; 16000")
    talk.add_argument(
        "--emotion",
        metavar="EMOTION",
        help="happy, happy:0.7, a mixture happy*2+surprise:0.7, or a track "
        "0s=neutral,3s=happy:0.8; default neutral",
    )
    talk.add_argument("--out", metavar="OUT.mp4|FOLDER")
    talk.add_argument("--seed", type=seed, default=0, metavar="N")
    talk.add_argument("--background", metavar="IMAGE")
    talk.add_argument("--landmarks-out", metavar="FILE.npz")
    talk.add_argument("--face-model", metavar="FILE")


def check_talk(args) -> list[tuple[float, str, float]]:
    """The emotion track of `talk`, once all its arguments are found to be good."""
    if args.emotion is not None and args.audio is None and not args.stream:
        raise UserError(
            "--emotion goes with --audio or --stream, not with --idle or --drive"
        )
    if args.rate is not None and not args.stream:
        raise UserError("--rate goes with --stream: files know theirs")
    if args.stream and (args.out or args.landmarks_out):
        raise UserError(
            "--stream writes to stdout; --out and --landmarks-out do not go"
        )
    if not args.stream and args.out is None:
        raise UserError("--out: expected the name of the video")
    several = len(args.audio or ()) > 1
    if args.landmarks_out is not None and several:
        raise UserError("--landmarks-out goes with one speech file, not with several")
    if args.idle is not None and not 0 < args.idle <= LONGEST_IDLE:
        raise UserError(
            f"--idle {args.idle:g}: expected more than 0 seconds, {LONGEST_IDLE} at most"
        )
    track = parse_emotion("neutral" if args.emotion is None else args.emotion)
    must_be_avatar(args.avatar)
    must_exist(*args.audio or (), what="a sound file")
    must_exist(args.drive, what="a video or saved landmarks (.npz)")
    must_exist(args.background, what="a picture")
    must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
    if args.stream:
        return track
    if not several and Path(args.out).suffix.lower() != ".mp4":
        raise UserError(f"{args.out}: expected a file name that ends in .mp4")
    must_be_writable(args.out, folder=several)
    if args.landmarks_out is not None:
        must_be_writable(args.landmarks_out, folder=False)
    videos = [args.out]
    if several:
        videos = [Path(args.out) / f"{Path(path).stem}.mp4" for path in args.audio]
    must_be_apart(
        [*videos, args.landmarks_out],
        [*(args.audio or ()), args.drive, args.background],
    )
    return track
