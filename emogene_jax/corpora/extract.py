"""From a corpus' folder to records that `emogene train` reads.

    python -m emogene_jax.corpora.extract CORPUS FOLDER --out DIR [--workers N]
    emogene train --config audio_to_motion --config.data=DIR/records --workdir …

CORPUS is voxceleb2, mead, crema_d or portrait_videos; the module of that name says how
its FOLDER must look. Each clip becomes a small file in DIR/clips (clips.py); a second
run does what the first left undone. Then TFDS records are written into DIR/records.
DIR/skipped.tsv names the clips that could not be used, with reasons.

On a CPU each process does all of a clip. Where there are accelerators, processes leave to
this one what a network makes of a clip's sound: it alone has the devices, and gives each
of them ten minutes of sound at once.

`--beam` runs the same function as an Apache Beam pipeline; further arguments
(`--runner=…`) are that pipeline's. FOLDER and DIR are then on storage that all its
workers see. This is no command of `emogene`, since only who has a corpus needs it.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from pathlib import Path

import numpy as np

from emogene_jax.arguments import must_be_writable, must_exist
from emogene_jax.audio.features import (
    audio_features,
    batched,
    choose_content,
    same_content,
)
from emogene_jax.corpora import clips
from emogene_jax.corpora.clips import Job, Noticed, Outcome, Task
from emogene_jax.corpora.corpus import Corpus, find_clips
from emogene_jax.corpora.watch import try_out
from emogene_jax.folders import must_be_new, write_json
from emogene_jax.parallel import device_count
from emogene_jax.signals import SAMPLE_RATE, UserError
from emogene_jax.train.progress import Progress

CORPORA = ("voxceleb2", "mead", "crema_d", "portrait_videos")
_AT_ONCE = 600  # s of sound whose content a device is asked for at once
_WAITING = 2  # clips handed to each process: it never idles, and few are lost


def extract_corpus(
    corpus: Corpus, job: Job, workers: int | None = None, beam: list[str] | None = None
) -> "Tally":
    """Extracts all clips of a corpus that are not extracted yet.

    Args:
      workers: processes; None = one for each core.
      beam: a Beam pipeline's arguments, to run it there; None = in processes here.

    Raises:
      UserError: no clip in the folder, or `job.out` holds another extraction.
      OSError: of the machine (a full disk). What was extracted stays.
    """
    found = find_clips(corpus, Path(job.corpus))
    _remember(corpus, job)
    clips.sweep(job.out)
    before = set(clips.kept_paths(job.out, clips.DONE))
    bad = set(clips.kept_paths(job.out, clips.SKIPPED))
    todo = [Task(p, corpus.sound(p)) for p in found if p not in before | bad]
    print(
        f"{job.corpus}: {len(found)} clips of {corpus.name}, {len(before)} extracted and "
        f"{len(bad)} skipped before, {len(todo)} to do"
    )
    tally = Tally()
    try:
        if todo and beam is not None:
            run_beam(todo, job, beam)
        elif todo:
            run_pool(todo, job, workers or os.cpu_count(), tally)
    finally:
        skipped = write_skipped(job.out)
    if tally.seconds:
        print(tally)
    print(
        f"{job.out}: {len(clips.kept_paths(job.out, clips.DONE))} clips extracted, "
        f"{skipped} skipped" + (f": see {job.out}/skipped.tsv" if skipped else "")
    )
    return tally


class Tally:
    """Sums over the clips of a run, for people."""

    def __init__(self):
        self.clips = self.skipped = 0
        self.seconds = 0.0  # of video
        self.wall = dict.fromkeys(clips.STAGES, 0.0)
        self.processor = dict.fromkeys(clips.STAGES, 0.0)
        self._began = time.perf_counter()
        self.passed = 0.0  # s since the run began

    def add(self, outcome: Outcome) -> None:
        """Counts a clip."""
        self.passed = time.perf_counter() - self._began
        self.skipped += outcome.reason is not None
        self.clips += outcome.reason is None
        self.seconds += outcome.seconds
        for mine, its in (
            (self.wall, outcome.wall),
            (self.processor, outcome.processor),
        ):
            for stage, seconds in its.items():
                mine[stage] = mine.get(stage, 0.0) + seconds

    def real_time(self) -> float:
        """Seconds of video a second, all processes together, their start included."""
        return self.seconds / max(self.passed, 1e-9)

    def __str__(self):
        parts = [
            f"{stage} {self.seconds / max(seconds, 1e-9):.3g}"
            for stage, seconds in self.wall.items()
        ]
        return (
            f"times real time, in each process: {', '.join(parts)}\n"
            f"all together: {self.seconds:.0f} s of video in {self.passed:.0f} s, "
            f"{self.real_time():.3g} times real time"
        )


def run_pool(todo: list[Task], job: Job, workers: int, tally: Tally) -> None:
    """Extracts clips in `workers` spawned processes.

    A clip that kills its process (a damaged file may, or memory) is tried once more
    while no other runs, and then skipped.
    """
    progress = Progress(len(todo), "extract", unit="clip")
    done = 0

    def count(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        tally.add(outcome)
        if outcome.told:
            print(f"{outcome.path}: {outcome.told}")
        shown = {"x real time": tally.real_time(), "skipped": tally.skipped}
        progress.update(done, shown)

    waiting = []  # for their content

    def take(found: Noticed | Outcome) -> None:
        if isinstance(found, Outcome):
            count(found)
            return
        waiting.append(found)
        seconds = sum(len(clip.waveform) for clip in waiting) / SAMPLE_RATE
        if seconds >= _AT_ONCE * device_count():
            keep()

    def keep() -> None:
        for outcome in clips.keep(waiting, job) if waiting else ():
            count(outcome)
        waiting.clear()

    left = iter(todo)
    while suspects := _run(left, job, workers, take):
        _run_alone(suspects, job, take)
    keep()
    progress.close({"x real time": tally.real_time(), "skipped": tally.skipped})


def _run_alone(suspects: list[Task], job: Job, take) -> None:
    """Extracts the clips of which one has killed a process, one after another, and
    skips those that do it again."""
    while suspects:
        left = iter(suspects)
        suspects = [*_run(left, job, 1, take), *left]
        for task in suspects[:1]:  # one process takes them in order: it was the first
            reason = "the process that read it died, twice"
            clips.skip(job.out, task.path, reason)
            take(Outcome(task.path, reason))
            suspects.remove(task)


def _run(left: Iterator[Task], job: Job, workers: int, take) -> list[Task]:
    """Takes what is found until none is left; or the tasks of a pool that broke."""
    work = clips.notice if batched(job.content) else clips.extract
    # Spawned, not forked: JAX's threads would not live on in a fork.
    context = multiprocessing.get_context("spawn")
    with (
        _many_on_one_machine(),
        ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start_worker
        ) as pool,
    ):
        running, flying = {}, {}
        try:
            while True:
                for task in left:
                    flying[task] = None  # first: what can't be submitted is not lost
                    running[pool.submit(work, task, job)] = task
                    if len(running) >= _WAITING * workers:
                        break
                if not running:
                    return []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    take(future.result())
                    del flying[running.pop(future)]
        except BrokenProcessPool:
            return list(flying)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _many_on_one_machine():
    """Processes that start in here leave room for one another: one thread each for
    linear algebra (there are as many of them as cores), and no accelerator."""
    before = dict(os.environ)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.environ.update(threads | before | {"JAX_PLATFORMS": "cpu"})
    try:
        yield
    finally:
        for name in (*threads, "JAX_PLATFORMS"):
            del os.environ[name]
        os.environ.update(before)


def _start_worker() -> None:
    """Ends this process with the one that started it, even if that one is killed; of
    Ctrl-C it hears nothing, so that the clip at hand is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_beam(todo: Iterable[Task], job: Job, arguments: list[str]) -> None:
    """Extracts clips as an Apache Beam pipeline, with its arguments (`--runner=…`)."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            f"--beam: Apache Beam can't be imported ({error}), expected it by "
            'pip install "emogene_jax[beam]"'
        ) from None
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        tasks = pipeline | "clips" >> beam.Create(list(todo))
        # Else all that one Create made may stay with one worker.
        spread = tasks | "spread" >> beam.Reshuffle()
        spread | "extract" >> beam.Map(clips.extract, job)


def write_skipped(out) -> int:
    """Writes skipped.tsv in `out` anew: path and reason of each clip that was skipped.
    How many these are."""
    lines = [
        f"{path}\t{clips.kept(out, path, clips.SKIPPED).read_text(encoding='utf-8')}\n"
        for path in clips.kept_paths(out, clips.SKIPPED)
    ]
    part = Path(out) / f".skipped.{os.getpid()}.part"
    part.write_text("".join(["clip\treason\n", *lines]), encoding="utf-8")
    os.replace(part, Path(out) / "skipped.tsv")
    return len(lines)


def _remember(corpus: Corpus, job: Job) -> None:
    """Writes down what `job.out` is; UserError if it is something else already."""
    out = Path(job.out)
    if (out / clips.EXTRACTION).exists():
        found = clips.read_extraction(out)
        differs = same_content(found["content"], job.content)
        if found["corpus"] != corpus.name:
            differs = f"found corpus {found['corpus']}, expected {corpus.name}"
        if differs:
            raise UserError(
                f"{out}: holds another extraction: {differs}; name another --out"
            )
        return
    must_be_new(out)
    out.mkdir(parents=True, exist_ok=True)
    said = {"format": clips.FORMAT, "corpus": corpus.name, "content": job.content}
    write_json(out / clips.EXTRACTION, said)


def _content(out, choice: str) -> dict:
    """The content features by their choice; of an extraction that goes on, its own."""
    if choice == "auto" and (Path(out) / clips.EXTRACTION).exists():
        return clips.read_extraction(out)["content"]
    return choose_content(choice)


def _try_out(job: Job) -> None:
    """Raises UserError for what would else be found wrong with every clip, and have all
    of them skipped: no face model, a HuBERT that is no longer there."""
    if job.seen:
        clips.read_extraction(job.seen)
    else:
        try_out(job.face_model)
    audio_features(np.zeros(SAMPLE_RATE, np.float32), job.content)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emogene_jax.corpora.extract",
        description="From a corpus' folder to records that `emogene train` reads.",
        allow_abbrev=False,
    )
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--workers", type=int, metavar="N", help="default: the cores")
    parser.add_argument("--face-model", metavar="FILE")
    kinds = "auto|speech_embedding|log_mel|HUBERT"
    parser.add_argument("--content", default="auto", metavar=kinds)
    parser.add_argument(
        "--late-from",
        type=int,
        default=1,
        metavar="FRAMES",
        help="from which on sound that is late or early is corrected (default: 1)",
    )
    parser.add_argument(
        "--seen",
        metavar="DIR",
        help="another --out of the same clips: what was seen there counts, and only "
        "sound is looked at again",
    )
    parser.add_argument("--again", action="store_true", help="try skipped clips again")
    parser.add_argument("--beam", action="store_true", help="run by Apache Beam")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; the exit code: 0, or 2 for bad input."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not args.beam:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: expected at least 1")
    try:
        must_exist(args.folder, what=f"the folder of {args.corpus}")
        must_exist(args.face_model, what="a face model bundle (face_landmarker.task)")
        must_be_writable(args.out, folder=True)
        job = Job(args.folder, args.out, _content(args.out, args.content))
        job = job._replace(
            face_model=args.face_model, late_from=args.late_from, seen=args.seen
        )
        if args.again:
            for path in clips.kept_paths(args.out, clips.SKIPPED):
                clips.kept(args.out, path, clips.SKIPPED).unlink()
        _try_out(job)
        module = import_module(f"emogene_jax.corpora.{args.corpus}")
        extract_corpus(module.CORPUS, job, args.workers, rest if args.beam else None)
        from emogene_jax.corpora.records import write_records

        print(write_records(module.Records, args.out))
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        parts = (error.filename, error.strerror or error)
        message = ": ".join(str(part) for part in parts if part)
    except KeyboardInterrupt:
        message = "interrupted; run it again to go on"
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
