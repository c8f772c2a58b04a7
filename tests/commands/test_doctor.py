"""`emogene doctor`: a readable table that survives whatever is broken."""

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from emogene_jax import cli
from emogene_jax.commands import doctor

sys.path.insert(0, str(Path(__file__).parents[1] / "audio"))
from test_hubert import SMALL, write  # noqa: E402


def _states(text):
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_doctor_ends_well_with_a_table(capsys):
    assert cli.main(["doctor"]) == 0
    rows = _states(capsys.readouterr().out)
    for topic in ("jax", "device 0", "scatter-add", "mediapipe", "cache", "disk"):
        assert topic in rows


def test_a_missing_package_is_said(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert ("jax", "bad", "not installed: pip install jax") in doctor._versions()


def test_a_check_that_breaks_is_a_row():
    def _broken():
        raise RuntimeError("no driver\nlong story")

    assert doctor._guarded(_broken) == [("broken", "bad", "no driver")]


@pytest.mark.parametrize(
    ("version", "rate", "state"),
    [
        ("0.10.2", {1: 1e6, 3: 1e6, 8: 1e10}, "bad"),  # rows of 8 are vectors
        ("0.10.2", {1: 1e10, 3: 1e10, 8: 1e10}, "ok"),
        ("0.12.0.1", {1: 1e10, 3: 1e10, 8: 1e10}, "ok"),
    ],
)
def test_slow_scatters_on_a_gpu_are_found(monkeypatch, version, rate, state):
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.lib, "__version__", version)
    monkeypatch.setattr(doctor, "scatter_adds_per_second", rate.get)
    ((_, found, text),) = doctor._scatter()
    assert found == state and ("known" in text) == (state == "bad")


def test_an_unwritable_cache_is_found(monkeypatch, tmp_path):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (_, state, text), _ = doctor._disk()
    assert state == "bad" and "Read-only" in text and "EMOGENE_CACHE" in text


def test_the_face_model_is_looked_up_not_fetched(monkeypatch, tmp_path):
    monkeypatch.delenv("EMOGENE_FACE_MODEL", raising=False)
    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path))
    assert doctor._face_model()[0][1] == "note"
    (tmp_path / "face_landmarker.task").write_bytes(b"model")
    ((_, state, text),) = doctor._face_model()
    assert state == "bad" and "rm " in text
    digest = hashlib.sha256(b"model").hexdigest()
    monkeypatch.setattr(doctor, "MODEL_SHA256", digest)
    assert doctor._face_model()[0][1] == "ok"


@pytest.mark.parametrize("there", ["nothing", "folder", "matlab.mat", "other.task"])
def test_a_face_model_that_is_named_is_judged_as_commands_do(
    monkeypatch, tmp_path, there
):
    """And not by a file in the cache, nor mended by a deletion: nothing would fetch it."""
    named = tmp_path / there
    if there == "folder":
        named.mkdir()
    elif there == "matlab.mat":
        named.write_bytes(b"MATLAB")
    elif there == "other.task":
        with zipfile.ZipFile(named, "w") as bundle:
            bundle.writestr("model", b"of another version")
    monkeypatch.setenv("EMOGENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EMOGENE_FACE_MODEL", str(named))
    ((topic, state, text),) = doctor._face_model()
    assert (topic, state) == ("face model", "bad") and str(named) in text
    assert "unset EMOGENE_FACE_MODEL" in text and "rm " not in text
    assert "fetched" not in text


def test_not_all_is_well_where_commands_refuse_what_is_named(
    monkeypatch, tmp_path, capsys
):
    for name in ("EMOGENE_FACE_MODEL", "EMOGENE_HUBERT"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr().out
    rows = _states(told)
    assert "all is well" not in told and "need attention" in told
    assert "bad " in rows["face model"] and "none: $EMOGENE_FACE_MODEL" in told
    assert "bad " in rows["HuBERT"] and "$EMOGENE_HUBERT: " in rows["HuBERT"]


def test_the_hubert_that_is_named_is_told(monkeypatch, tmp_path):
    named = write(tmp_path / "checkpoint", SMALL)
    monkeypatch.setenv("EMOGENE_HUBERT", str(named))
    ((_, state, text),) = doctor._hubert()
    assert state == "ok" and str(named) in text and "32 channels" in text


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (
            lambda folder: os.truncate(folder / "model.safetensors", 999),
            "cannot be read",
        ),
        (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
    ],
)
def test_a_hubert_that_commands_refuse_is_not_well(monkeypatch, tmp_path, damage, told):
    damage(write(tmp_path / "checkpoint", SMALL))
    monkeypatch.setenv("EMOGENE_HUBERT", str(tmp_path / "checkpoint"))
    ((topic, state, text),) = doctor._hubert()
    assert (topic, state) == ("HuBERT", "bad") and told in text and "\n" not in text
    assert "unset EMOGENE_HUBERT" in text


def test_a_codec_that_is_not_there_is_told_with_what_mends_it(monkeypatch):
    assert doctor._codecs()[0][1] == "ok"
    monkeypatch.setattr(doctor, "CODECS", {"w": ("libnothing",)})
    ((_, state, text),) = doctor._codecs()
    assert state == "bad" and "libnothing (written)" in text and "pip install" in text


def test_little_memory_and_parts_for_some_are_told(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 15)
    (_, state, text), *_ = doctor._memory()
    assert state == "bad" and "--size" in text
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = {name: (state, text) for name, state, text in doctor._optional()}
    assert rows["gradio"][0] == "note" and "[app]" in rows["gradio"][1]
    assert (
        rows["mediapipe"][0] == "bad"
        and "pip install mediapipe" in rows["mediapipe"][1]
    )


def test_half_a_certificate_is_told(monkeypatch):
    monkeypatch.setenv("EMOGENE_C2PA_KEY", "key.pem")
    ((_, state, text),) = doctor._guarded(doctor._credentials)
    assert state == "bad" and "EMOGENE_C2PA_CERTIFICATE" in text
