"""Whatever is given: one clear line, exit code 2, no traceback, nothing half-written."""

import json
import shutil
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax import cli
from emogene_jax.avatar.file import save_avatar
from emogene_jax.recipes.config import STAGES, read_config
from emogene_jax.signals import UserError
from tests.bad_files import CHECKPOINT, LANDMARKS, SOUND, VIDEO, _bomb


@pytest.fixture(scope="module")
def made(person, tmp_path_factory):
    """A whole avatar."""
    folder = tmp_path_factory.mktemp("made") / "avatar"
    save_avatar(person, folder)
    return folder


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No model is fetched."""
    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path.parent / "cache"))
    monkeypatch.delenv("EMOGENE_FACE_MODEL", raising=False)


def refused(capsys, folder, *argv) -> str:
    """The line with which a command line is refused; `folder` is as it was."""
    before = sorted(path for path in folder.rglob("*"))
    began = time.monotonic()
    assert cli.main([str(arg) for arg in argv]) == 2
    assert time.monotonic() - began < 30
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "warning:" not in line
    ]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert len(lines[0]) > 20 and "Traceback" not in lines[0]
    assert sorted(path for path in folder.rglob("*")) == before
    return lines[0]


@pytest.mark.parametrize("name", SOUND)
def test_a_wrong_sound_is_refused(name, made, capsys, tmp_path):
    (tmp_path / "in").write_bytes(SOUND[name])
    out = tmp_path / "out.mp4"
    line = refused(
        capsys, tmp_path, "talk", made, "--audio", tmp_path / "in", "--out", out
    )
    assert str(tmp_path / "in") in line


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("command", ["prepare", "create"])
def test_a_wrong_video_is_refused(name, command, capsys, tmp_path, monkeypatch):
    from emogene_jax.portrait import prepare

    monkeypatch.setattr(prepare, "find_model", lambda path: path)
    (tmp_path / "in.mp4").write_bytes(VIDEO[name])
    given = ("--out", tmp_path / "out", "--content", "speech_embedding")
    line = refused(capsys, tmp_path, command, tmp_path / "in.mp4", *given)
    assert "in.mp4" in line


@pytest.mark.parametrize("name", VIDEO)
def test_a_wrong_video_is_not_compared(name, capsys, tmp_path):
    (tmp_path / "in.mp4").write_bytes(VIDEO[name])
    pair = ("--reference", tmp_path / "in.mp4", "--generated", tmp_path / "in.mp4")
    refused(capsys, tmp_path, "evaluate", *pair, "--out", tmp_path / "result.json")


@pytest.mark.parametrize("name", LANDMARKS)
def test_wrong_landmarks_are_refused(name, made, capsys, tmp_path):
    file = tmp_path / "in.npz"
    file.write_bytes(LANDMARKS[name])
    out = tmp_path / "out.mp4"
    line = refused(capsys, tmp_path, "talk", made, "--drive", file, "--out", out)
    assert str(file) in line


@pytest.mark.parametrize("stage", STAGES[:3])
@pytest.mark.parametrize("name", CHECKPOINT)
def test_a_wrong_checkpoint_is_refused(name, stage, capsys, tmp_path):
    file = tmp_path / "in.safetensors"
    file.write_bytes(CHECKPOINT[name])
    given = (file, "--stage", stage, "--out", tmp_path / "out")
    assert str(file) in refused(capsys, tmp_path, "import", *given)


@pytest.mark.parametrize("data", [b"", b"no zip", _bomb("archive/data/0")])
def test_a_checkpoint_that_is_a_bomb_is_refused(data, capsys, tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "in.ckpt"
    file.write_bytes(data)
    line = refused(
        capsys, tmp_path, "import", file, "--stage", "lip_sync", "--out", tmp_path / "o"
    )
    assert ("unpack to 300 MB" in line) == (len(data) > 1000)


def _header(change):
    def apply(folder):
        header = json.loads((folder / "avatar.json").read_text())
        change(header)
        (folder / "avatar.json").write_text(json.dumps(header))

    return apply


def _file(name, data):
    return lambda folder: (folder / name).write_bytes(data)


DAMAGE = {
    "no_header": lambda folder: (folder / "avatar.json").unlink(),
    "empty_header": _file("avatar.json", b""),
    "header_is_a_list": _file("avatar.json", b"[]"),
    "header_is_no_text": _file("avatar.json", b"\xff\xfe\x00"),
    "deep_header": _file("avatar.json", b"[" * 100_000),
    "older": _header(lambda header: header.update(format=1)),
    "newer": _header(lambda header: header.update(format=999)),
    "format_is_a_word": _header(lambda header: header.update(format="x")),
    "no_camera": _header(lambda header: header.pop("camera")),
    "huge_camera": _header(lambda header: header["camera"].update(size=1 << 40)),
    "negative_camera": _header(lambda header: header["camera"].update(size=-1)),
    "huge_head": _header(lambda header: header["head_size"].update(coarse=1 << 30)),
    "no_content": _header(lambda header: header["info"].pop("content")),
    "strange_content": _header(
        lambda header: header["info"]["content"].update(type="../../x")
    ),
    "samples_are_words": _header(lambda header: header.update(samples="many")),
    "no_fields": lambda folder: (folder / "fields.safetensors").unlink(),
    "fields_are_empty": _file("fields.safetensors", b""),
    "fields_claim_4gb": _file("fields.safetensors", CHECKPOINT["4gb_header"]),
    "person_lies_outside": _file("person.safetensors", CHECKPOINT["outside"]),
    "voice_has_nothing": _file("audio_to_motion.safetensors", CHECKPOINT["no_tensors"]),
    "deformation_is_text": _file("deformation.safetensors", b"text"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_avatar_is_refused(name, made, capsys, tmp_path):
    shutil.copytree(made, tmp_path / "avatar")
    DAMAGE[name](tmp_path / "avatar")
    out = tmp_path / "out.mp4"
    given = ("talk", tmp_path / "avatar", "--idle", "1", "--out", out)
    assert "avatar" in refused(capsys, tmp_path, *given)


TALK = ("talk", "AVATAR", "--audio", "SPEECH")
COMMANDS = [
    (),
    ("tlak",),
    ("talk",),
    ("talk", "AVATAR"),
    (*TALK,),
    (*TALK, "--out", "out.avi"),
    (*TALK, "--out", "no/such/\0folder/out.mp4"),
    (*TALK, "--out", "out.mp4", "--idle", "3"),
    (*TALK, "--out", "out.mp4", "--seed", "-1"),
    (*TALK, "--out", "out.mp4", "--seed", "1e3"),
    (*TALK, "--out", "out.mp4", "--emotion", "hapy"),
    (*TALK, "--out", "out.mp4", "--emotion", "happy:3"),
    (*TALK, "--out", "out.mp4", "--emotion", "happy*0"),
    (*TALK, "--out", "out.mp4", "--emotion", "3s=sad,3s=happy"),
    (*TALK, "--out", "out.mp4", "--background", "SPEECH"),
    (*TALK, "--out", "out.mp4", "--rate", "16000"),
    (*TALK, "--out", "out.mp4", "--unknown"),
    (*TALK, "SPEECH", "--out", "folder"),
    ("talk", "AVATAR", "--idle", "nan", "--out", "out.mp4"),
    ("talk", "AVATAR", "--idle", "-1", "--out", "out.mp4"),
    ("talk", "AVATAR", "--idle", "0", "--out", "out.mp4"),
    ("talk", "AVATAR", "--idle", "inf", "--out", "out.mp4"),
    ("talk", "AVATAR", "--drive", "none.npz", "--out", "out.mp4"),
    ("talk", "AVATAR", "--stream", "--out", "out.mp4"),
    ("talk", "AVATAR", "--stream", "--rate", "11025"),
    ("talk", "none", "--stream"),
    ("app", "none"),
    ("app", "AVATAR", "--port", "99999"),
    ("app", "AVATAR", "--host", "256.1.1.1"),
    ("serve", "SPEECH"),
    ("serve", "AVATAR", "--port", "x"),
    ("prepare", "none.mp4", "--out", "data"),
    ("prepare", "SPEECH", "--out", "data", "--size", "33"),
    ("prepare", "SPEECH", "--out", "data", "--crop", "1,2"),
    ("create", "SPEECH", "--out", "SPEECH"),
    ("create", "SPEECH", "--out", "out", "--preset", "tpu"),
    ("assemble", "--portrait", "none", "--head", "a", "--torso", "b", "--out", "c"),
    ("train", "--config", "haed", "--workdir", "work"),
    ("train", "--config", "head:tiny", "--workdir", "work", "--config.nothing=1"),
    ("train", "--config", "head:tiny", "--workdir", "work", "--config.train.steps=x"),
    ("train", "--config", "head:tiny", "--workdir", "SPEECH"),
    ("evaluate",),
    ("evaluate", "--reference", "SPEECH"),
    ("evaluate", "--provenance", "none.mp4"),
    ("evaluate", "--provenance", "AVATAR"),
    ("evaluate", "--provenance", "SPEECH", "--reference", "SPEECH"),
    ("import", "none.ckpt", "--stage", "lip_sync", "--out", "o"),
    ("import", "SPEECH", "--stage", "head", "--out", "o"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_command_line_is_refused(command, made, capsys, tmp_path, monkeypatch):
    (tmp_path / "speech.wav").write_bytes(SOUND["cut"])
    monkeypatch.chdir(tmp_path)
    places = {"AVATAR": str(made), "SPEECH": "speech.wav"}
    refused(capsys, tmp_path, *(places.get(arg, arg) for arg in command))


KEYS = st.sampled_from(
    ["train.steps", "train", "data", "model.hidden", "batch.batch_size", "x", ""]
)
TEXT = st.text(max_size=12) | st.sampled_from(["1e3", "-1", "nan", "None", "(1,", "[]"])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*STAGES, "none", "", "/"]),
    st.text(max_size=12) | st.sampled_from(["tiny", "cpu,size=x", "tiny,tiny", "="]),
    st.lists(st.tuples(KEYS, TEXT), max_size=2),
)
def test_whatever_is_said_of_a_config_is_one_or_a_line(stage, arg, overrides):
    given = [f"--config.{key}={value}" for key, value in overrides]
    try:
        config = read_config(f"{stage}:{arg}" if arg else stage, given)
    except UserError as error:
        assert str(error)
    else:
        assert config.name in STAGES
