"""How many times real time are clips of a corpus extracted, and what takes the time?

    python benchmarks/extraction.py [CLIP ...]

The clips named, or else a clip of the synthetic character (which the tracker takes for a
face), each several times, go through a pool of processes with the real tracker and
log-mel features. Read from the page cache: a disk's own speed is not in it. Wall-clock
figures hold for a machine that does nothing else; processor time says what the stages
cost whatever else runs.
"""

import sys
import tempfile
from pathlib import Path

import timing

from emogene_jax.audio.features import LOG_MEL
from emogene_jax.corpora import extract
from emogene_jax.corpora.clips import Job, Task
from emogene_jax.face.tracking import find_model
from emogene_jax.media.video import video_info, write_video
from emogene_jax.signals import FPS


def main(tiny=False, clips=()):
    """One line for each number of processes."""
    model = str(find_model())  # first: without it nothing can be measured
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        sources = [Path(clip).absolute() for clip in clips]
        if not sources:
            sources = [_synthetic(Path(folder) / "synthetic.mp4", tiny)]
        times = 1 if tiny else max(1, 16 // len(sources))
        names = [
            f"{number}_{source.name}" for number in range(times) for source in sources
        ]
        for name in names:
            (corpus / name).symlink_to(sources[names.index(name) % len(sources)])
        for workers in (1,) if tiny else (1, 2):
            job = Job(str(corpus), f"{folder}/{workers}", LOG_MEL, model)
            _measure(job, [Task(name, None) for name in names], workers, sources)


def _measure(job, tasks, workers, sources):
    tally = extract.Tally()
    extract.run_pool(tasks, job, workers, tally)
    if tally.skipped:
        extract.write_skipped(job.out)
        print((Path(job.out) / "skipped.tsv").read_text(), file=sys.stderr)
    info = video_info(sources[0])
    working = sum(tally.wall.values())
    timing.emit(
        "extraction",
        {
            # Processes' start (a second or two each) and idle ends included.
            "times_real_time": _round(tally.real_time()),
            "times_real_time_at_work": _round(workers * tally.seconds / working),
            "stages_times_real_time": _factors(tally, tally.wall),
            "stages_times_real_time_processor": _factors(tally, tally.processor),
            "processor_ms_per_frame": _round(
                1e3 * sum(tally.processor.values()) / (tally.seconds * FPS)
            ),
        },
        workers=workers,
        clips=tally.clips,
        skipped=tally.skipped,
        sources=[source.name for source in sources],
        video_s=_round(tally.seconds),
        first=[info["width"], info["height"], round(info["fps"], 2)],
    )


def _factors(tally, seconds: dict) -> dict:
    """How many times real time each stage is, in one process."""
    return {
        stage: _round(tally.seconds / max(spent, 1e-9))
        for stage, spent in seconds.items()
    }


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _synthetic(path: Path, tiny: bool) -> Path:
    """A video of the synthetic character that says a sentence."""
    from emogene_jax.synthetic.portrait import synthetic_portrait
    from emogene_jax.synthetic.takes import make_take

    take = make_take(0, 0, 0, sentence_seconds=1.0 if tiny else 6.0)
    shown = synthetic_portrait(size=128 if tiny else 256, takes=[take])
    write_video(path, shown.frames, take.waveform)
    return path


if __name__ == "__main__":
    main(clips=sys.argv[1:])
