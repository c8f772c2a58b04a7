"""An avatar on disk: exact, whole or refused, and nothing in it that could run."""

import json

import chex
import numpy as np
import pytest

from emogene_jax.avatar import file
from emogene_jax.avatar.file import load_avatar, save_avatar, write_json
from emogene_jax.signals import UserError

PARTS = ("fields", "audio_to_motion", "deformation", "person")


@pytest.fixture
def saved(person, tmp_path):
    save_avatar(person, tmp_path / "avatar")
    return tmp_path / "avatar"


def test_what_was_saved_is_loaded_exactly(person, saved):
    loaded = load_avatar(saved)
    assert loaded.fields.camera == person.fields.camera
    assert loaded.fields.head_size == person.fields.head_size
    assert loaded.fields.torso_size == person.fields.torso_size
    assert loaded.fields.samples == person.fields.samples
    assert loaded.info == person.info
    for name in ("rig", "head", "density", "torso", "code", "background"):
        mine, true = getattr(loaded.fields, name), getattr(person.fields, name)
        chex.assert_trees_all_equal(mine, true)
        chex.assert_trees_all_equal_dtypes(mine, true)
    for name in ("audio_to_motion", "deformation", "rest", "pose"):
        chex.assert_trees_all_equal(getattr(loaded, name), getattr(person, name))
    assert loaded.pose.rotation.dtype == person.pose.rotation.dtype


def test_the_folder_is_plain_files(saved):
    names = {path.name for path in saved.iterdir()}
    assert names == {"avatar.json", *(f"{part}.safetensors" for part in PARTS)}
    for part in PARTS:  # safetensors: a length, then a JSON header
        head = (saved / f"{part}.safetensors").read_bytes()
        size = int.from_bytes(head[:8], "little")
        assert isinstance(json.loads(head[8 : 8 + size]), dict)


def test_no_avatar_is_told(tmp_path):
    with pytest.raises(UserError, match="no avatar.json"):
        load_avatar(tmp_path / "nowhere")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["missing", "cut", "pickle", "other"])
def test_a_damaged_part_is_named(saved, part, damage):
    path = saved / f"{part}.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "pickle":
        path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    else:  # a whole file, but of something else
        others = [name for name in PARTS if name != part]
        path.write_bytes((saved / f"{others[0]}.safetensors").read_bytes())
        if part in ("audio_to_motion", "deformation"):
            pytest.skip("their trees are whatever was learned")
    with pytest.raises(UserError) as error:
        load_avatar(saved)
    assert "damaged" in str(error.value) or "not found" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, expected 7"),
        ({"camera": {"focal": 1}}, "damaged"),
        ({"head_size": {"coarse": "64"}}, "damaged.*coarse: found '64'"),
        ({"info": 3}, "damaged"),
    ],
)
def test_another_version_is_refused(saved, change, message):
    path = saved / "avatar.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_avatar(saved)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("head_size", "hidden", 63, "fields: head/.*expected"),
        ("torso_size", "warp", 7, "fields: torso/warp"),
        ("camera", "size", 31, "fields: background"),
        ("camera", "focal", 0.0, "focal"),
    ],
)
def test_sizes_that_do_not_fit_are_told(saved, part, name, value, message):
    path = saved / "avatar.json"
    header = json.loads(path.read_text())
    header[part][name] = value
    path.write_text(json.dumps(header))
    with pytest.raises(UserError, match=message):
        load_avatar(saved)


def test_numbers_that_are_none_are_told(person, tmp_path):
    rest = person.rest.copy()
    rest[3, 1] = np.nan
    save_avatar(person._replace(rest=rest), tmp_path)
    with pytest.raises(UserError, match="person/rest holds NaN"):
        load_avatar(tmp_path)
    save_avatar(person._replace(rest=person.rest[:60]), tmp_path)
    with pytest.raises(UserError, match=r"rest is \[60, 3\], expected \[68, 3\]"):
        load_avatar(tmp_path)


def test_a_broken_header_is_refused(saved):
    (saved / "avatar.json").write_text('{"format": 1,')
    with pytest.raises(UserError, match=r"avatar\.json: damaged"):
        load_avatar(saved)


def test_half_an_avatar_is_none(person, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "write_json", fail)
    with pytest.raises(OSError):
        save_avatar(person, tmp_path)
    with pytest.raises(UserError, match="no avatar.json"):
        load_avatar(tmp_path)


def test_json_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ä": 1})
    with pytest.raises(ValueError):
        write_json(path, {"b": float("nan")})
    assert json.loads(path.read_text()) == {"ä": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
