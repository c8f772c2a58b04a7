"""`emogene demo`: the whole system on the built-in synthetic world, no downloads.

It makes the data, trains all five stages small, renders an utterance that none of them
has heard in eight emotions and an idle clip, measures, and writes a page.
"""

import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax import parallel
from emogene_jax.avatar.assemble import Parts, assemble
from emogene_jax.avatar.file import Avatar, save_avatar
from emogene_jax.commands.assemble import versions
from emogene_jax.commands.demo_page import evaluate_demo, write_page
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.folders import must_be_new, write_json
from emogene_jax.pipeline import perform, perform_idle
from emogene_jax.recipes.recipe import synthetic_data
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import EMOTIONS, FPS, SAMPLE_RATE
from emogene_jax.synthetic.portrait import SPEAKER
from emogene_jax.synthetic.records import World, write_synthetic
from emogene_jax.synthetic.takes import Take, make_take

IDLE_SECONDS = 4.0
# What is in a demo's folder, while it is made and then.
MADE = {
    *(".work", "avatar", "videos", "contact_sheet.png", "index.html", "metrics.json"),
    *("heldout.mkv", "preview.png"),
}
VARIANTS = {"full": "demo", "tiny": "tiny"}  # preset: of every stage's config


def run_demo(out, preset="full", seed=0):
    """Everything; `out` gets index.html, videos/, metrics.json, avatar/."""
    began, out = time.perf_counter(), Path(out)
    work, trained = _begin(out), {}
    parallel.enable_compilation_cache()

    def run(stage: str, data: Path, **frozen: Path) -> Path:
        changes = {"seed": seed, "data": str(data)}
        changes |= {f"frozen.{name}": str(place) for name, place in frozen.items()}
        if stage in ("head", "torso"):
            # What is measured are other sentences: all of the portrait is learned from.
            changes["holdout_seconds"] = 0.0
        print(f"{stage}: config {stage}:{VARIANTS[preset]}")
        config = stage_config(stage, VARIANTS[preset], changes)
        trained[stage] = train_from_config(config, work / stage)
        return work / stage

    world = World(**stage_config("lip_sync", VARIANTS[preset]).world.to_dict())
    records = write_synthetic(world._replace(seed=seed), work / "world")
    expert = run("lip_sync", records)
    voice = run("audio_to_motion", records, lip_sync=expert)
    deformation = run("motion_to_emotion", records)
    shown = stage_config("head", VARIANTS[preset], {"seed": seed})
    portrait, filmed = synthetic_data(shown, work), shown.synthetic
    head = run("head", portrait)
    torso = run("torso", portrait, head=head)
    avatar, _, _ = assemble(Parts(portrait, head, torso, voice, deformation))
    save_avatar(avatar, out / "avatar")

    def unheard(number: int, emotion: str = "neutral") -> Take:
        # A sentence that no stage has learned from, by the character.
        heard = world.sentences + world.validation_sentences + filmed.sentences
        sentence, seconds = heard + len(EMOTIONS) + number, filmed.sentence_seconds
        return make_take(seed, SPEAKER, sentence, emotion, sentence_seconds=seconds)

    said = {name: unheard(0, name) for name in EMOTIONS}
    videos = make_videos(avatar, said["neutral"], out / "videos", seed)
    others = [unheard(number) for number in range(3)]
    metrics = evaluate_demo(avatar, expert, said, others, filmed.size, out, seed)
    metrics["train_seconds"] = {n: round(r.seconds, 1) for n, r in trained.items()}
    metrics["seconds"] = round(time.perf_counter() - began, 1)
    metrics |= {"device": parallel.describe(), "versions": versions()}
    write_json(out / "metrics.json", metrics)
    sheet = contact_sheet(videos, out / "contact_sheet.png")
    write_page(out, videos, sheet, metrics, work)
    shutil.rmtree(work)
    print(f"{out / 'index.html'}: done in {metrics['seconds']:.0f} s")


def _begin(out: Path) -> Path:
    """The folder inside `out` that a demo works in.

    Raises:
        UserError: `out` holds files that no demo made, which it would write over."""
    work = out / ".work"
    again = work.exists() or (out / "contact_sheet.png").exists()
    must_be_new(out, MADE if again else ())
    work.mkdir(parents=True, exist_ok=True)
    return work


def make_videos(avatar: Avatar, unheard: Take, folder: Path, seed: int):
    """[(label, path)] of the eight emotional videos and the idle one. All emotions have
    the same speech, seed and head poses, so that only the face differs."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.media.video import write_video

    renderer, features = Renderer(avatar.fields), audio_features(unheard.waveform)
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for name in EMOTIONS:
        performance = perform(avatar, features, [(0.0, name, 1.0)], seed)
        path = folder / f"{name}.mp4"
        frames = renderer.frames(*performance)
        write_video(path, frames, unheard.waveform, SAMPLE_RATE)
        videos.append((name, path))
    performance = perform_idle(avatar, round(IDLE_SECONDS * FPS), seed)
    write_video(folder / "idle.mp4", renderer.frames(*performance))
    return [*videos, ("idle", folder / "idle.mp4")]


def contact_sheet(videos, path: Path, columns: int = 8) -> Path:
    """Frames of every video side by side: a row per video, the same moments in each."""
    from emogene_jax.media.video import read_video

    rows = []
    for _, video in videos:
        frames, _ = read_video(video)
        some = np.linspace(0, len(frames) - 1, columns + 2).astype(int)[1:-1]
        rows.append(np.concatenate(list(frames[some]), 1))
    picture = Image.fromarray(np.concatenate(rows))
    zoom = max(1, 128 // (picture.width // columns))
    picture.resize((picture.width * zoom, picture.height * zoom), 3).save(path)
    return path
