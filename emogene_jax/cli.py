"""The `emogene` command: one parser, and handlers that import what they need when they
need it.

Bad input ends in one line `error: ...` on stderr and exit code 2. All that can be seen
from the arguments alone is checked before anything heavy is imported.
"""

import argparse
import contextlib
import errno
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from emogene_jax import __version__, arguments
from emogene_jax.arguments import must_be_writable, must_exist
from emogene_jax.recipes.config import STAGES, read_config
from emogene_jax.signals import SAMPLE_RATE, UserError

IMPORTABLE = STAGES[:3]
_USER_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see `{self.prog} --help`)")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit code: 0, or 2 for bad input."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TF is imported
    warnings.showwarning = _warn
    try:
        args, overrides = _parser().parse_known_args(argv)
        if overrides and args.handler is not _train:
            raise UserError(f"unrecognized arguments: {' '.join(overrides)}")
        args.overrides = overrides
        with _ended_by_signals():
            args.handler(args)
        return 0
    except UserError as error:
        return _fail(str(error))
    except _USER_ERRORS as error:
        return _fail(_os_message(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    except Exception as error:
        full = _full_disk(error)
        if full is None:
            raise
        return _fail(full)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: nothing half-written stays. Where an interrupt
    meets a library's callback, Python ignores it there: it is sent again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignored(found):
        if not issubclass(found.exc_type, KeyboardInterrupt):
            hook(found)
            return
        # To this thread: another would not wake it.
        where = threading.main_thread().ident, signal.SIGTERM
        again = threading.Timer(0.1, signal.pthread_kill, where)
        again.daemon = True
        again.start()

    hook, sys.unraisablehook = sys.unraisablehook, ignored
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def _warn(message, category, filename, lineno, file=None, line=None):
    """A warning of ours in one line; other libraries' are for developers."""
    if Path(filename).is_relative_to(Path(__file__).parent):
        print("warning:", " ".join(str(message).split()), file=sys.stderr)


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


def _full_disk(error: BaseException | None) -> str | None:
    """What a full disk said, if it is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            return _os_message(error)
        # TensorFlow's own, which writes records.
        words = str(getattr(error, "message", ""))
        if any(words.endswith(os.strerror(number)) for number in _FULL_DISK):
            return words
        error = error.__cause__ or error.__context__
    return None


def _os_message(error: OSError) -> str:
    parts = (error.filename, error.strerror or error)
    return ": ".join(str(part) for part in parts if part)


# Handlers.


def _demo(args):
    must_be_writable(args.out, folder=True)
    from emogene_jax.commands.demo import run_demo

    run_demo(args.out, args.preset, seed=0)


def _prepare(args):
    must_exist(*args.videos, what="a video or a folder of videos")
    must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
    must_be_writable(args.out, folder=True)
    times = arguments.check_times(args, args.videos)
    from emogene_jax.audio.features import choose_content
    from emogene_jax.portrait.prepare import prepare_portrait
    from emogene_jax.portrait.records import write_portrait_records

    folder = Path(args.out)
    prepare_portrait(
        args.videos,
        folder,
        size=args.size,
        crop=args.crop,
        face_model=args.face_model,
        content=choose_content(args.content),
        holdout_seconds=args.holdout_seconds,
        sound_offset=args.sound_offset,
        times=times,
    )
    write_portrait_records(folder)


def _create(args):
    must_exist(*args.sources, what="a video or a prepared portrait")
    must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
    must_exist(args.audio_to_motion, args.deformation, what="a work directory")
    must_be_writable(args.out, folder=True)
    times = arguments.check_times(args, args.sources)
    from emogene_jax.commands.create import create

    create(
        args.sources,
        args.out,
        face_model=args.face_model,
        size=args.size,
        holdout_seconds=args.holdout_seconds,
        preset=args.preset,
        crop=args.crop if isinstance(args.crop, str) else list(args.crop),
        audio_to_motion=args.audio_to_motion,
        deformation=args.deformation,
        content=args.content,
        sound_offset=args.sound_offset,
        times=times and list(times),
    )


def _assemble(args):
    must_exist(args.portrait, what="a prepared portrait")
    must_exist(args.head, args.torso, what="a work directory")
    must_exist(args.audio_to_motion, args.deformation, what="a work directory")
    must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
    must_be_writable(args.out, folder=True)
    from emogene_jax.commands.assemble import assemble_avatar

    assemble_avatar(
        args.portrait,
        args.head,
        args.torso,
        args.out,
        audio_to_motion=args.audio_to_motion,
        deformation=args.deformation,
        face_model=args.face_model,
    )


def _talk(args):
    track = arguments.check_talk(args)
    if args.stream:
        from emogene_jax.commands.stream import talk_live

        rate = args.rate or SAMPLE_RATE
        talk_live(args.avatar, track, rate, args.seed, args.background)
        return
    from emogene_jax.commands.talk import drive, idle, talk
    from emogene_jax.parallel import host_apart

    if args.audio is None and host_apart()[0]:
        return  # it is one video, and the first host's
    common = {"background": args.background, "landmarks_out": args.landmarks_out}
    if args.idle is not None:
        idle(args.avatar, args.idle, args.out, args.seed, **common)
    elif args.drive is not None:
        face_model = args.face_model
        drive(args.avatar, args.drive, args.out, face_model=face_model, **common)
    else:
        talk(args.avatar, args.audio, track, args.out, args.seed, **common)


def _train(args):
    must_be_writable(args.workdir, folder=True)
    config = read_config(args.config, args.overrides)
    from emogene_jax.recipes.run import train_from_config

    train_from_config(config, args.workdir, args.profile)


def _evaluate(args):
    arguments.check_evaluate(args)
    if args.provenance is not None:
        from emogene_jax.media.provenance import provenance

        print(json.dumps(provenance(args.provenance), indent=1))
        return
    from emogene_jax.commands.evaluate import evaluate

    evaluate(args.reference, args.generated, args.out, args.face_model, args.weights)


def _study(args):
    arguments.check_study(args)
    from emogene_jax.commands import study

    if args.summarise is None:
        study.make_study(args.methods, args.out, args.seed)
    else:
        study.summarise(args.summarise, args.results, args.out)


def _import(args):
    must_exist(args.checkpoint, what="a checkpoint")
    must_be_writable(args.out, folder=True)
    from emogene_jax.commands.importing import UNIT_PER_EYE_DISTANCE, import_checkpoint

    unit = args.unit_per_eye_distance or UNIT_PER_EYE_DISTANCE
    import_checkpoint(args.checkpoint, args.stage, args.out, unit)


def _app(args):
    _run_server(args, page=True)


def _serve(args):
    _run_server(args, page=False)


def _run_server(args, page):
    must_exist(args.avatar, what="an avatar or a folder of avatars")
    try:
        from emogene_jax.app.server import run
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("emogene_jax"):
            raise
        raise UserError(
            f"{error.name}: not installed, expected it for the page: "
            'pip install "emogene_jax[app]"'
        ) from None
    run(args.avatar, args.host, args.port, page)


def _doctor(args):
    from emogene_jax.commands.doctor import examine

    print(examine())


# The parser.


def _parser() -> _Parser:
    parser = _Parser(
        prog="emogene",
        description="Speech and an emotion in, a video of one person saying it out.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"emogene {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name, handler, about):
        sub = commands.add_parser(
            name, help=about, description=about, allow_abbrev=False
        )
        sub.set_defaults(handler=handler)
        return sub

    _add_avatar_commands(command)
    arguments.add_talk(
        command("talk", _talk, "speech, or nothing, or a video -> a video")
    )
    _add_research_commands(command)
    return parser


def _add_avatar_commands(command):
    demo = command("demo", _demo, "the whole system on a synthetic world, no downloads")
    demo.add_argument("--out", default="demo", metavar="FOLDER")
    demo.add_argument("--preset", choices=("tiny", "full"), default="full")

    prepare = command("prepare", _prepare, "video of a person -> a prepared portrait")
    prepare.add_argument("videos", nargs="+", metavar="VIDEO")
    prepare.add_argument("--out", required=True, metavar="DATA")
    prepare.add_argument(
        "--size", type=arguments.size, default=512, metavar="N", help="px; default 512"
    )
    prepare.add_argument("--holdout-seconds", type=arguments.seconds, metavar="S")
    arguments.add_portrait(prepare)

    create = command("create", _create, "video of a person -> an avatar")
    create.add_argument("sources", nargs="+", metavar="VIDEO|DATA")
    create.add_argument("--out", required=True, metavar="AVATAR")
    create.add_argument(
        "--size", type=arguments.size, metavar="N", help="px; default 256, or DATA's"
    )
    create.add_argument("--holdout-seconds", type=arguments.seconds, metavar="S")
    create.add_argument("--preset", choices=("auto", "cpu", "gpu"), default="auto")
    create.add_argument("--audio-to-motion", metavar="DIR")
    create.add_argument("--deformation", metavar="DIR")
    arguments.add_portrait(create)

    parts = command("assemble", _assemble, "work directories -> an avatar")
    parts.add_argument("--portrait", required=True, metavar="DATA")
    parts.add_argument("--head", required=True, metavar="DIR")
    parts.add_argument("--torso", required=True, metavar="DIR")
    parts.add_argument("--audio-to-motion", metavar="DIR")
    parts.add_argument("--deformation", metavar="DIR")
    parts.add_argument("--out", required=True, metavar="AVATAR")
    parts.add_argument("--face-model", metavar="FILE")


def _add_research_commands(command):
    train = command("train", _train, "one stage, on one or many devices")
    train.add_argument(
        "--config",
        required=True,
        metavar="STAGE[:arg]",
        help=f"{', '.join(STAGES)} or a config file; --config.key=value overrides",
    )
    train.add_argument("--workdir", required=True, metavar="DIR")
    train.add_argument(
        "--profile",
        action="store_true",
        help="leave a trace of some steps in DIR/profile (TensorBoard, Perfetto)",
    )

    arguments.add_evaluate(
        command("evaluate", _evaluate, "videos against true ones, in numbers")
    )

    study = command("study", _study, "a page on which people rate videos; its summary")
    arguments.add_study(study)

    weights = command("import", _import, "official PyTorch weights -> a work directory")
    weights.add_argument("checkpoint", metavar="CHECKPOINT")
    weights.add_argument("--stage", required=True, choices=IMPORTABLE)
    weights.add_argument("--out", required=True, metavar="DIR")
    weights.add_argument(
        "--unit-per-eye-distance",
        type=arguments.scale,
        metavar="X",
        help="the checkpoint's unit of motion; default 8.9 (centimetres)",
    )

    page = command("app", _app, "the web page")
    agents = command("serve", _serve, "speech in, video out, for voice agents")
    for server, port in ((page, 7860), (agents, 7861)):
        server.add_argument("avatar", metavar="AVATAR|FOLDER")
        server.add_argument("--host", default="127.0.0.1", metavar="HOST")
        server.add_argument("--port", type=arguments.port, default=port, metavar="N")

    command("doctor", _doctor, "devices, versions, and what is missing")


if __name__ == "__main__":
    sys.exit(main())
