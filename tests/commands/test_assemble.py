"""The page of an avatar: what was held out, filmed beside rendered. And an assembly that
was killed while it judged: asked for again, it goes on."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax.avatar.file import load_avatar
from emogene_jax.commands import assemble as assembling
from emogene_jax.commands.assemble import assemble_avatar, write_page
from emogene_jax.media.video import iter_frames, video_info, write_lossless
from emogene_jax.signals import UserError

METRICS = {"psnr": {"full": 31.26}, "device": "cpu", "train_seconds": {"head": 3.0}}


@pytest.fixture
def avatar(tmp_path):
    (tmp_path / "preview.png").write_bytes(b"picture")
    return tmp_path


def test_filmed_beside_rendered(avatar, filmed):
    held = filmed._replace(frames=filmed.frames[:4])
    write_lossless(avatar / "heldout.mkv", np.zeros_like(held.frames))
    write_page(avatar, METRICS | {"absent": {"lmd": "no face model"}}, held)
    tree = ElementTree.fromstring((avatar / "index.html").read_text(encoding="utf-8"))
    links = {node.get("src") for node in tree.iter() if node.get("src")}
    assert links == {"heldout.mp4", "preview.png"}
    words = "".join(tree.itertext())
    assert "31.26" in words and "No lmd: no face model" in words
    frames = list(iter_frames(avatar / "heldout.mp4"))
    assert len(frames) == 4 and frames[0].shape == (32, 64, 3)
    assert frames[0][:, :30].mean() > 60 and frames[0][:, 34:].mean() < 20
    assert video_info(avatar / "heldout.mp4")["sound"]


def test_where_nothing_was_held_out_there_is_the_preview(avatar):
    write_page(avatar, {"device": "cpu"}, None)
    tree = ElementTree.fromstring((avatar / "index.html").read_text(encoding="utf-8"))
    assert [n.get("src") for n in tree.iter() if n.get("src")] == ["preview.png"]
    assert not list(avatar.glob("*.mp4"))


GIVEN = {"audio_to_motion": "voice", "deformation": "face"}


@pytest.fixture
def judge(person, filmed, monkeypatch):
    """Parts are assembled to an avatar at once; a list of what stops its judge."""
    stops = []

    def evaluate(fields, shown, out, *_):
        if stops:
            raise stops.pop()
        (out / "preview.png").write_bytes(b"picture")
        return {"frames": []}

    def no_judge(*_):
        raise UserError("none here")

    monkeypatch.setattr(assembling, "assemble", lambda parts: (person, filmed, None))
    monkeypatch.setattr(assembling, "evaluate_fields", evaluate)
    monkeypatch.setattr(assembling, "expressions", no_judge)
    return stops


@pytest.fixture
def killed(judge, tmp_path):
    """The folder of an avatar whose judge was killed."""
    judge.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        assemble_avatar("data", "head", "torso", tmp_path / "avatar", **GIVEN)
    return tmp_path / "avatar"


@pytest.mark.parametrize("half", [False, True])
def test_killed_and_asked_for_again_it_is_judged(killed, half):
    load_avatar(killed)
    if half:  # killed while it was saved
        (killed / "avatar.json").unlink()
    assemble_avatar("data", "head", "torso", killed, **GIVEN)
    load_avatar(killed)
    assert json.loads((killed / "metrics.json").read_text())["frames"] == []
    assert not (killed / ".work").exists()  # nothing of where its parts were
    with pytest.raises(UserError, match="found other files"):  # it is finished
        assemble_avatar("data", "head", "torso", killed, **GIVEN)


def test_an_unfinished_avatar_of_other_parts_is_left_alone(killed):
    before = {path: path.stat().st_mtime_ns for path in killed.rglob("*")}
    with pytest.raises(UserError, match="avatar: holds an avatar of other torso, def"):
        assemble_avatar("data", "head", "neck", killed, audio_to_motion="voice")
    assert {path: path.stat().st_mtime_ns for path in killed.rglob("*")} == before
    shutil.rmtree(killed / ".work")  # and so is one that nobody knows of
    with pytest.raises(UserError, match="found other files"):
        assemble_avatar("data", "head", "torso", killed, **GIVEN)
