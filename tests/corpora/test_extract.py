"""Clips of a corpus are extracted once, whatever dies in between, and none is lost."""

import functools
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.audio import features
from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.corpora import clips, crema_d, extract, mead
from emogene_jax.corpora.clips import Job, Task
from emogene_jax.corpora.records import write_records
from emogene_jax.face.mesh import lip_gap
from emogene_jax.media.video import write_video
from emogene_jax.signals import UserError, motion_to_landmarks
from emogene_jax.synthetic.portrait import synthetic_portrait
from emogene_jax.synthetic.takes import make_take

sys.path.insert(0, str(Path(__file__).parent))
import tiny_corpora  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "VideoFlash/1001_IEO_HAP_HI.flv"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crema")
    return tiny_corpora.make_corpus(folder, tiny_corpora.CREMA_D, BROKEN)


def job_of(corpus: Path, out: Path) -> Job:
    return Job(str(corpus), str(out), tiny_corpora.LOG_MEL, watch=tiny_corpora.watch)


def files(out: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(out).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted((out / "clips").rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def extracted(corpus, tmp_path_factory) -> Path:
    """What one process makes of the corpus, clip by clip."""
    out = tmp_path_factory.mktemp("extracted") / "out"
    extract._remember(crema_d.CORPUS, job_of(corpus, out))
    for path in tiny_corpora.CREMA_D:
        clips.extract(Task(path, None), job_of(corpus, out))
    return out


def test_a_clip_is_kept_as_it_was(extracted):
    path = "VideoFlash/1001_DFA_ANG_XX.flv"
    take = tiny_corpora.take_of(path)
    found = clips.read_clip(extracted, path)
    frames = len(take.motion)
    truth = motion_to_landmarks(take.motion, take.rest)
    np.testing.assert_array_equal(found["landmarks"], truth)
    np.testing.assert_allclose(found["rotation"], take.pose.rotation, atol=1e-6)
    np.testing.assert_allclose(found["translation"], take.pose.translation, atol=1e-5)
    assert found["content"].shape == (2 * frames, 80) and found["found"].all()
    assert found["f0"].shape == (2 * frames,) and found["speech"].shape == (frames,)
    # The sound went through a lossy codec, and is the same speech.
    heard = audio_features(
        np.pad(take.waveform, (0, frames * 640 - len(take.waveform)))
    )
    assert np.corrcoef(found["content"].ravel(), heard.content.ravel())[0, 1] > 0.9


def test_what_was_seen_once_is_not_looked_at_again(extracted, corpus, tmp_path):
    job = job_of(corpus, tmp_path)._replace(seen=str(extracted), watch=None)
    paths = tiny_corpora.CREMA_D
    outcomes = [clips.extract(Task(path, None), job) for path in paths]
    for path, outcome in zip(paths, outcomes, strict=True):
        if path == BROKEN:
            assert outcome.reason
            continue
        first, again = (clips.read_clip(out, path) for out in (extracted, tmp_path))
        for name in clips.ARRAYS:
            np.testing.assert_array_equal(first[name], again[name])


def test_a_broken_clip_says_why(extracted, corpus):
    assert clips.kept_paths(extracted, clips.SKIPPED) == [BROKEN]
    assert extract.write_skipped(extracted) == 1
    lines = (extracted / "skipped.tsv").read_text().splitlines()
    assert lines[0] == "clip\treason" and len(lines) == 2
    name, reason = lines[1].split("\t")
    assert name == BROKEN and reason.startswith(BROKEN) and str(corpus) not in reason
    assert "expected" in reason or "truncated" in reason


def test_what_was_done_is_not_done_again(extracted, corpus):
    before = files(extracted)
    for path in tiny_corpora.CREMA_D:
        outcome = clips.extract(Task(path, None), job_of(corpus, extracted))
        assert not outcome.new and (outcome.reason is not None) == (path == BROKEN)
    assert files(extracted) == before


def test_a_full_disk_is_no_fault_of_the_clip(corpus, tmp_path):
    def full(video, face_model, clock):
        raise OSError(28, "No space left on device")

    job = job_of(corpus, tmp_path)._replace(watch=full)
    with pytest.raises(OSError, match="No space left"):
        clips.extract(Task(tiny_corpora.CREMA_D[0], None), job)
    assert not list(tmp_path.rglob("*.*"))


def test_a_bug_is_told_by_name(corpus, tmp_path):
    def bug(video, face_model, clock):
        raise ZeroDivisionError("in watch")

    job = job_of(corpus, tmp_path)._replace(watch=bug)
    outcome = clips.extract(Task(tiny_corpora.CREMA_D[0], None), job)
    assert outcome.reason == "ZeroDivisionError: in watch"


def test_the_sound_may_lie_beside(corpus, tmp_path):
    """A video without sound: the corpus' own sound file counts; without one, none."""
    import av

    path = "VideoFlash/1001_DFA_NEU_XX.flv"
    folder = shutil.copytree(corpus, tmp_path / "corpus")
    silent = folder / "VideoFlash" / "silent.mp4"
    with av.open(str(folder / path)) as source, av.open(str(silent), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    sound = crema_d.CORPUS.sound(path)
    (folder / sound).parent.mkdir()
    os.replace(folder / path, folder / sound)  # an mp4 with sound: av looks inside
    os.replace(silent, folder / path)
    job = job_of(folder, tmp_path / "out")
    assert clips.extract(Task(path, sound), job).reason is None
    found = clips.read_clip(tmp_path / "out", path)
    assert found["speech"].any() and found["f0"].max() > 0
    reason = clips.extract(Task(path, None), job_of(folder, tmp_path / "b")).reason
    assert "no sound track" in reason
    job = job_of(folder, tmp_path / "c")
    reason = clips.extract(Task(path, "AudioWAV/gone.wav"), job).reason
    assert reason == f"{path}: no sound track, expected one or AudioWAV/gone.wav"


# The extraction as a process that can be killed, by a pool of two.
RUN = """
import sys
sys.path.insert(0, sys.argv[3])
import tiny_corpora
from emogene_jax.corpora import crema_d, extract
from emogene_jax.corpora.clips import Job
if __name__ == "__main__":
    job = Job(*sys.argv[1:3], tiny_corpora.LOG_MEL, watch=tiny_corpora.watch)
    extract.extract_corpus(crema_d.CORPUS, job, workers=2)
"""


def contents(out: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in files(out).items()}


def tfrecords(out: Path) -> dict[str, bytes]:
    found = sorted((out / "records").rglob("*.tfrecord*"))
    assert found
    return {path.name: path.read_bytes() for path in found}


def test_killed_and_run_again_it_makes_the_same(corpus, extracted, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "run.py").write_text(RUN)
    here = str(Path(__file__).parent)
    killed = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(corpus), str(out), here],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    limit = time.monotonic() + 100
    while not list(out.glob("clips/**/*.npz")) and time.monotonic() < limit:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()  # ends when its pool has ended, too
    done = clips.kept_paths(out, clips.DONE)
    assert 0 < len(done) < 5
    extract.extract_corpus(crema_d.CORPUS, job_of(corpus, out), workers=1)
    text = capsys.readouterr().out
    assert f"6 clips of crema_d, {len(done)} extracted" in text
    assert "times real time, in each process: decode" in text
    assert "5 clips extracted, 1 skipped: see" in text
    assert contents(out) == contents(extracted)
    for folder in (out, extracted):
        write_records(crema_d.Records, folder)
    assert tfrecords(out) == tfrecords(extracted)
    before = files(out)
    extract.extract_corpus(crema_d.CORPUS, job_of(corpus, out))
    text = capsys.readouterr().out
    assert "5 extracted and 1 skipped before, 0 to do" in text
    assert files(out) == before


def test_a_clip_that_kills_its_process_is_skipped(
    corpus, extracted, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    deadly = "VideoFlash/1008_IEO_NEU_XX.flv"
    monkeypatch.setenv("TINY_CORPORA_DIES", deadly)
    extract.extract_corpus(crema_d.CORPUS, job_of(corpus, out), workers=1)
    assert clips.kept_paths(out, clips.SKIPPED) == [BROKEN, deadly]
    assert "died" in clips.kept(out, deadly, clips.SKIPPED).read_text()
    others = clips.kept_paths(extracted, clips.DONE)
    others.remove(deadly)
    assert clips.kept_paths(out, clips.DONE) == others


def test_an_accelerator_hears_many_clips_at_once(
    corpus, tmp_path, monkeypatch, capsys, on_an_accelerator, eight_devices
):
    """Processes see, one owns the devices: the files that a CPU leaves clip by clip, but
    for a last bit of content; and what is wrong with one is not the others' loss."""
    first = "VideoFlash/1001_DFA_ANG_XX.flv"
    content = choose_content("speech_embedding")
    alone, out = (
        job_of(corpus, tmp_path / name)._replace(content=content)
        for name in ("alone", "out")
    )
    for path in tiny_corpora.CREMA_D:
        clips.extract(Task(path, None), alone)
    on_an_accelerator()
    asked = []

    def contents(waveforms, content):
        asked.append(len(waveforms))
        made = features.contents(waveforms, content)
        return [np.nan * made[0], *made[1:]]

    monkeypatch.setattr(clips, "contents", contents)
    monkeypatch.setenv("JAX_PLATFORMS", "as before")
    extract.extract_corpus(crema_d.CORPUS, out, workers=1)
    assert os.environ["JAX_PLATFORMS"] == "as before"
    assert "times real time, in each process: decode" in capsys.readouterr().out
    lost = {first, BROKEN}
    assert clips.kept_paths(out.out, clips.SKIPPED) == sorted(lost)
    told = clips.kept(out.out, first, clips.SKIPPED).read_text()
    assert told == f"{first}: content with values that are not finite"
    assert asked == [5]
    done = clips.kept_paths(out.out, clips.DONE)
    assert done == sorted({*tiny_corpora.CREMA_D} - lost)
    for path in done:
        found, expected = (clips.read_clip(job.out, path) for job in (out, alone))
        for name in clips.ARRAYS:
            assert found[name].dtype == expected[name].dtype
            # Of float16: content is about 1.
            most = 2e-3 if name == "content" else 0
            np.testing.assert_allclose(found[name], expected[name], atol=most, rtol=0)


def test_what_can_not_be_heard_together_is_heard_alone(corpus, tmp_path, monkeypatch):
    def one_at_most(waveforms, content):
        if len(waveforms) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED")
        return [np.zeros((len(waveforms[0]) // 320, 80))]

    monkeypatch.setattr(clips, "contents", one_at_most)
    job = job_of(corpus, tmp_path)
    paths = tiny_corpora.CREMA_D[:2]
    outcomes = clips.keep([clips.notice(Task(path, None), job) for path in paths], job)
    assert [outcome.reason for outcome in outcomes] == [None, None]
    assert clips.kept_paths(tmp_path, clips.DONE) == sorted(paths)


def test_beam_makes_the_same(corpus, extracted, tmp_path):
    if importlib.util.find_spec("apache_beam") is None:
        pytest.skip("apache_beam is not installed (pip install emogene_jax[beam])")
    out = tmp_path / "out"
    arguments = ["--runner=DirectRunner"]
    job = job_of(corpus, out)
    extract.extract_corpus(crema_d.CORPUS, job, beam=arguments)
    assert contents(out) == contents(extracted)


def test_without_beam_it_says_what_to_install(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"emogene_jax\[beam\]"):
        extract.run_beam([], job_of(corpus, tmp_path), [])


def test_a_folder_holds_one_extraction(corpus, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "extraction.json").write_text(
        json.dumps(
            {"format": clips.FORMAT, "corpus": "mead", "content": tiny_corpora.LOG_MEL}
        )
    )
    with pytest.raises(UserError, match="corpus mead, expected crema_d"):
        extract.extract_corpus(crema_d.CORPUS, job_of(corpus, out))
    with pytest.raises(UserError, match="no clip of mead.*expected M003/video/front"):
        extract.extract_corpus(mead.CORPUS, job_of(corpus, out))
    # Another HuBERT of the same width is no way to go on; the same one elsewhere is.
    hubert = {"type": "hubert", "channels": 32, "model": "/a", "sha256": "a" * 16}
    job = job_of(corpus, tmp_path / "heard")._replace(content=hubert)
    extract._remember(crema_d.CORPUS, job)
    extract._remember(crema_d.CORPUS, job._replace(content=hubert | {"model": "/b"}))
    assert clips.read_extraction(job.out)["content"] == hubert
    with pytest.raises(UserError, match="SHA-256 aaaa.*SHA-256 bbbb.*another --out"):
        other = job._replace(content=hubert | {"sha256": "b" * 16})
        extract._remember(crema_d.CORPUS, other)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(UserError, match="other files"):
        extract.extract_corpus(crema_d.CORPUS, job_of(corpus, tmp_path / "other"))


def test_the_command_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    arguments = ["mead", str(tmp_path / "gone"), "--out", str(tmp_path / "out")]
    assert extract.main(arguments) == 2
    assert "gone: no such" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    arguments = ["mead", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    monkeypatch.setenv("EMOGENE_FACE_MODEL", str(tmp_path / "gone.task"))
    assert extract.main([*arguments, "--content", "log_mel"]) == 2
    assert "gone.task" in capsys.readouterr().err  # before every clip is skipped for it
    monkeypatch.setattr(extract, "_try_out", lambda job: None)
    assert extract.main([*arguments, "--content", "log_mel"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no clip of mead" in error
    assert not (tmp_path / "out").exists()


def test_the_command_goes_from_a_folder_to_records(
    corpus, tmp_path, monkeypatch, capsys
):
    """Twice: the second time, the clip that was skipped is tried again."""
    out = tmp_path / "out"
    arguments = ["crema_d", str(corpus), "--out", str(out), "--content", "log_mel"]
    job = functools.partial(Job, watch=tiny_corpora.watch)
    monkeypatch.setattr(extract, "Job", job)
    monkeypatch.setattr(extract, "_try_out", lambda job: None)
    one_by_one = lambda todo, job, workers, tally: [  # noqa: E731
        tally.add(clips.extract(task, job)) for task in todo
    ]
    monkeypatch.setattr(extract, "run_pool", one_by_one)
    assert extract.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"{out}: 5 clips extracted, 1 skipped: see {out}/skipped.tsv"
    assert lines[-1].startswith(f"{out}/records: 5 clips (")
    assert extract.main(arguments) == 0
    assert "0 to do" in capsys.readouterr().out
    assert extract.main([*arguments, "--again"]) == 0
    assert "5 extracted and 0 skipped before, 1 to do" in capsys.readouterr().out
    assert clips.kept_paths(out, clips.SKIPPED) == [BROKEN]


@pytest.mark.slow
def test_the_tracker_sees_the_synthetic_character(tmp_path):
    """With the real tracker: its lips open and shut as they truly do."""
    if not os.environ.get("EMOGENE_FACE_MODEL"):
        pytest.skip("$EMOGENE_FACE_MODEL is not set")
    take = make_take(0, 0, 0, sentence_seconds=2.0)
    frames = synthetic_portrait(size=128, takes=[take]).frames
    write_video(tmp_path / "clip.mp4", frames, take.waveform)
    job = Job(str(tmp_path), str(tmp_path / "out"), tiny_corpora.LOG_MEL)
    outcome = clips.extract(Task("clip.mp4", None), job)
    assert outcome.reason is None and set(outcome.wall) == set(clips.STAGES)
    found = clips.read_clip(tmp_path / "out", "clip.mp4")
    assert found["found"].all() and found["source_fps"] == 25
    gap, truth = map(
        lip_gap, (found["landmarks"], motion_to_landmarks(take.motion, take.rest))
    )
    assert np.corrcoef(gap, truth)[0, 1] > 0.8


def test_a_real_face_is_seen(shared, tmp_path):
    """The tracker itself, on a clip of MEAD by its own name, and its records' motion."""
    model = shared / "data" / "models" / "face_landmarker.task"
    clip = shared / "data" / "mead" / "M030_sad_3_001.mp4"
    if not (model.is_file() and clip.is_file()):
        pytest.skip(f"{model} or {clip} is absent")
    job = Job(str(clip.parent), str(tmp_path), tiny_corpora.LOG_MEL, str(model))
    assert clips.extract(Task(clip.name, None), job).reason is None
    found = clips.read_clip(tmp_path, clip.name)
    assert found["landmarks"].shape == (93, 68, 3) and found[
        "source_fps"
    ] == pytest.approx(30, abs=0.01)
    assert found["found"].mean() > 0.95
    # A face of centimetres before the camera, its mouth moving and its skull not.
    width = np.linalg.norm(
        found["landmarks"][:, 36] - found["landmarks"][:, 45], axis=1
    )
    assert 7 < width.mean() < 12 and width.std() < 0.2
    moving = found["landmarks"].std(0).max(-1)
    assert moving[66] > 3 * moving[27]
    assert (found["translation"][:, 2] < -20).all()
