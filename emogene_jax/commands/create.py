"""`emogene create`: video of a person -> an avatar, and how good it is.

prepare -> train (each stage as `emogene train` does, in a work directory of its own under
AVATAR/.work) -> assemble -> evaluate. A run that was killed goes on from there; what was
decided when it began is written down, and not decided again.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emogene_jax import parallel
from emogene_jax.audio.features import choose_content, same_content
from emogene_jax.avatar.assemble import Parts, assemble
from emogene_jax.avatar.file import FORMAT
from emogene_jax.commands.assemble import must_be_same, save_and_judge
from emogene_jax.folders import must_be_new, read_json, write_json
from emogene_jax.portrait.cut import held_of, held_out, held_out_seen, parted
from emogene_jax.portrait.pack import is_portrait, load_portrait
from emogene_jax.portrait.takes import takes_of
from emogene_jax.recipes.audio_to_motion import arg_of, voice_of
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import FPS, UserError

DEFAULT_SIZE = 256  # px
DECIDED = "decided.json"


class Request(NamedTuple):
    """What is asked of `create`; of JSON's types."""

    sources: list  # videos, or one prepared portrait
    size: int | None = None
    holdout_seconds: float | None = None
    preset: str = "auto"  # cpu, gpu: the configs' variants
    crop: str | list = "auto"
    audio_to_motion: str | None = None  # work directories
    deformation: str | None = None
    content: str = "auto"
    sound_offset: int | None = None  # frames; None = found out of each clip
    times: list | None = None  # [begin, end or None] s of the video; None = all


def create(sources, out, face_model=None, **options) -> None:
    """An avatar of the person in `sources` (videos, or one prepared portrait), written
    to folder `out`; metrics.json, preview.png and heldout.mkv beside it.

    Args:
        options: the other fields of Request.

    Raises:
        UserError: an input that can't be used. Of a first attempt nothing is left, and
            of one that goes on everything.
    """
    began, out = time.perf_counter(), Path(out)
    asked = Request(list(map(str, sources)), **options)
    if asked.preset == "auto":
        found = "gpu" if parallel.on_accelerator() else "cpu"
        asked = asked._replace(preset=found)
    request = asked._asdict() | {"sources": [_identity(s) for s in asked.sources]}
    if _finished(out, request):
        print(f"{out}: finished before; nothing to do")
        return
    work = out / ".work"
    parallel.enable_compilation_cache()
    with _nothing_left(out, work, request):
        decided = _decide(asked, work)
        portrait = _portrait(asked, work, decided, face_model)
        training = _training(asked, portrait, decided)
    parts, seconds = _train(asked, work, portrait, training, decided)
    avatar, training, held = assemble(parts)
    avatar.info["request"] = request
    avatar.info["content"] = decided["content"] or avatar.info["content"]
    more = {"train_seconds": seconds, "seconds": lambda: time.perf_counter() - began}
    if decided["hindsight"]:
        more["hindsight"] = decided["hindsight"]
    told = save_and_judge(avatar, training, held, out, face_model, more)
    print(f"{out}: done{told}")
    print(
        f"{work}: what it was made of; before you publish the avatar, delete it, "
        "heldout.mp4 and preview.png, which show what was filmed"
    )


# What was asked, and what is decided once.


def _finished(out: Path, request: dict) -> bool:
    """Whether `out` holds the avatar that is asked for, judged and all.

    Raises:
        UserError: it holds something else.
    """
    header = out / "avatar.json"
    if not header.is_file():
        return False
    found = read_json(header)
    before = found.get("info", {}).get("request")
    if not before:
        raise UserError(
            f"{out}: holds an avatar that create did not make; choose another folder"
        )
    if found.get("format") != FORMAT:
        raise UserError(
            f"{out}: holds an avatar of format {found.get('format')}, expected {FORMAT}: "
            f"{_made_again(out)}"
        )
    must_be_same(out, request, before)
    return (out / "metrics.json").is_file()


def _made_again(out: Path) -> str:
    """What makes an avatar again from its kept work, or from its sources."""
    work = out / ".work"
    if not (work / DECIDED).is_file():
        return "delete it, and create it again"
    parts = read_json(work / DECIDED).get("parts", {})
    flags = " ".join(f"--{name.replace('_', '-')} {parts[name]}" for name in parts)
    return f"make it again: emogene assemble {flags} --out NEW_FOLDER"


@contextlib.contextmanager
def _nothing_left(out: Path, work: Path, request: dict):
    """Makes `work` ready, or finds it; a first attempt whose input can't be used leaves
    nothing behind.

    Raises:
        UserError: it is of another request, or `out` holds other files.
    """
    path = work / "request.json"
    again = path.is_file()
    if again:
        must_be_same(out, request, read_json(path))
    else:
        must_be_new(out, {".work"})
    work.mkdir(parents=True, exist_ok=True)
    if not again:
        write_json(path, request)
    try:
        yield
    except UserError:
        if not again:
            shutil.rmtree(work)
            if not any(out.iterdir()):
                out.rmdir()
        raise


def _decide(asked: Request, work: Path) -> dict:
    """What a run decides when it begins (content features, seed), once."""
    path = work / DECIDED
    if path.is_file():
        return read_json(path)
    heard = None  # of a prepared portrait: what it was prepared with
    if asked.audio_to_motion:
        wanted = voice_of(asked.audio_to_motion).content
        heard = heard_content(asked.content, asked.audio_to_motion, wanted)
    elif not is_portrait(asked.sources[0]):
        heard = choose_content(asked.content)
    if asked.deformation:
        from emogene_jax.recipes.motion_to_emotion import load_deformation

        load_deformation(asked.deformation)  # found out now, if it is none
    decided = {"content": heard, "seed": 0}
    write_json(path, decided)
    return decided


def heard_content(choice: str, audio_to_motion, wanted: dict) -> dict:
    """Which content features an avatar hears: those that work directory `audio_to_motion`
    has learned from (`wanted`), as far as `choice` finds them (audio.features).

    Raises:
        UserError: it finds others.
    """
    if wanted["type"] != "hubert":
        return wanted
    found = choose_content(choice)
    told = same_content(found, wanted)
    if told:
        raise UserError(
            f"{audio_to_motion}: {told}: name the checkpoint that it learned from with "
            "--content or $EMOGENE_HUBERT"
        )
    return found


def _portrait(asked: Request, work: Path, decided: dict, face_model) -> Path:
    """The folder of the prepared portrait among the sources, or of one that is prepared
    now, once."""
    need_sound, folder = not asked.audio_to_motion, Path(asked.sources[0])
    if is_portrait(folder):
        if len(asked.sources) > 1:
            raise UserError(f"{folder}: one prepared portrait, or videos; found both")
        portrait = load_portrait(folder, pictures=False)
        if asked.size not in (None, portrait.camera.size):
            raise UserError(
                f"{folder}: prepared at {portrait.camera.size} px, --size asks for "
                f"{asked.size}: leave it out, or prepare again"
            )
        if asked.sound_offset is not None:
            raise UserError(
                f"{folder}: prepared before; --sound-offset {asked.sound_offset} is for "
                "videos"
            )
        if asked.times is not None:
            raise UserError(
                f"{folder}: prepared before; --from and --to are for videos"
            )
        if need_sound and not len(portrait.waveform):
            raise UserError(f"{folder}: no sound track, expected speech")
        return folder
    if not is_portrait(work / "portrait"):
        from emogene_jax.portrait.prepare import prepare_portrait

        prepare_portrait(
            asked.sources,
            work / "portrait",
            asked.size or DEFAULT_SIZE,
            asked.crop if isinstance(asked.crop, str) else tuple(asked.crop),
            face_model,
            decided["content"],
            need_sound,
            asked.holdout_seconds,
            asked.sound_offset,
            asked.times and tuple(asked.times),
        )
    return work / "portrait"


# Training.


def _training(asked: Request, folder: Path, decided: dict):
    """What there is to learn from, without pictures; how much is held out is decided."""
    portrait = load_portrait(folder, pictures=False)
    held = held_of(portrait, asked.holdout_seconds)
    held_out(len(portrait.clip), held / FPS)  # or too little is left
    told = held_out_seen(portrait, held)
    decided.update(held_out=held, hindsight=told)
    if told:
        print(f"warning: {told}")
    return parted(portrait, held)[0]


def _train(asked: Request, work: Path, portrait: Path, training, decided: dict):
    """(assemble.Parts, {stage: seconds}): trains what is not given."""
    size, frames = training.camera.size, len(training.clip)
    takes, seconds = takes_of(training), {}
    if takes.told:
        print(takes.told)
    decided["configs"] = {}

    def run(stage: str, arg: str, frozen: dict | None = None) -> Path:
        decided["configs"][stage] = f"{stage}:{arg}"
        write_json(work / DECIDED, decided)
        print(f"{stage}: config {stage}:{arg}")
        changes = {
            "seed": decided["seed"],
            "data": str(portrait),
            "holdout_seconds": decided["held_out"] / FPS,
        }
        changes |= {
            f"frozen.{name}": str(place) for name, place in (frozen or {}).items()
        }
        result = train_from_config(stage_config(stage, arg, changes), work / stage)
        seconds[stage] = round(result.seconds, 1)
        return work / stage

    deformation = asked.deformation and Path(asked.deformation)
    if takes.filmed:
        generic = {"generic": deformation or ""}
        deformation = run("motion_to_emotion", "person", generic)
    voice = _voice(asked, training, run)
    arg = f"{asked.preset},size={size},frames={frames}"
    head = run("head", arg, {"deformation": deformation or ""})
    torso = run("torso", arg, {"head": head})
    parts = Parts(portrait, head, torso, voice, deformation or None)
    named = {name: str(place) for name, place in parts._asdict().items() if place}
    write_json(work / DECIDED, decided | {"parts": named})
    return parts, seconds


def _voice(asked: Request, training, run: Callable) -> Path:
    """The person's audio-to-motion model, adapted from the one that is given, if that
    hears what the portrait holds."""
    generic = asked.audio_to_motion
    if not generic:
        return run("audio_to_motion", arg_of(training))
    told = same_content(training.info["content"], voice_of(generic).content)
    if not len(training.waveform):
        told = "no sound track"
    if told:
        print(f"{generic}: used as it is: of the portrait's content {told}")
        return Path(generic)
    return run("audio_to_motion", "adapted", {"generic": generic})


def _identity(source) -> list:
    """Name and content of a source, so that another one is not mistaken for it."""
    path = Path(source)
    files = [path]
    if is_portrait(path):
        files = [path / "portrait.json", path / "portrait.npz"]
    elif path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode())
        digest.update(str(file.stat().st_size).encode())
        with file.open("rb") as content:
            digest.update(content.read(1 << 20))
    return [path.name, digest.hexdigest()[:16]]
