"""`emogene evaluate`: folders of methods, and what is missing in them."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax import cli
from emogene_jax.commands import evaluate as command
from emogene_jax.evaluate import compare, networks
from emogene_jax.media.video import iter_frames, write_lossless, write_video
from emogene_jax.signals import UserError


@pytest.fixture
def no_model(monkeypatch):
    def absent(path):
        raise UserError("no face model anywhere")

    nothing = networks.Networks(None, None, None, None, {"inception": "no weights"})
    monkeypatch.setattr(compare, "find_model", absent)
    monkeypatch.setattr(networks, "load_networks", lambda weights: nothing)


@pytest.fixture
def folders(tmp_path):
    """true/ and two methods, near/ and far/, of three clips of 64 px."""
    rng = np.random.default_rng(0)
    for clip in ("a", "b", "c"):
        frames = rng.integers(60, 160, (6, 64, 64, 3)).astype(np.uint8)
        for method, error in (("true", 0), ("near", 1), ("far", 20)):
            (tmp_path / method).mkdir(exist_ok=True)
            write_lossless(tmp_path / method / f"{clip}.mkv", frames + np.uint8(error))
    return tmp_path


def test_methods_side_by_side(folders, no_model, capsys):
    out = folders / "deep" / "result.json"
    result = command.evaluate(
        folders / "true", [folders / "near", folders / "far"], out
    )
    assert json.loads(out.read_text()) == result
    near, far = result["methods"]["near"], result["methods"]["far"]
    assert near["psnr"]["full"] == pytest.approx(48.1308, abs=1e-3)
    assert far["psnr"]["full"] == pytest.approx(22.1102, abs=1e-3)
    assert near["clips"]["psnr"]["full"] == near["compared"] == 3
    assert set(near["per_clip"]) == {"a", "b", "c"} and near["frames"] == 18
    assert result["about"]["psnr"]["resolution"] == "64x64"
    assert "no face model anywhere" in str(result["absent"])
    printed = capsys.readouterr().out
    assert "| near" in printed and "PSNR full, dB" in printed


def test_a_folder_gets_a_page(folders, no_model):
    out = folders / "page"
    command.evaluate(folders / "true", [folders / "near", folders / "far"], out)
    tree = ElementTree.fromstring((out / "index.html").read_text(encoding="utf-8"))
    links = [node.get("src") for node in tree.iter() if node.get("src")]
    assert len(links) == 6 and all((out / link).is_file() for link in links)
    shown = list(iter_frames(out / "videos" / "a.mp4"))
    assert len(shown) == 6 and shown[0].shape == (256, 3 * 256, 3)
    words = "".join(tree.itertext())
    assert "near" in words and "no face model anywhere" in words
    assert "a: PSNR full" in {node.text for node in tree.iter() if node.tag == "b"}
    assert "48.13" in (out / "tables.md").read_text(encoding="utf-8")
    assert len((out / "clips.csv").read_text().splitlines()) == 1 + 2 * 3 * 4
    assert not list(out.rglob("*.part*"))


def test_a_page_is_not_written_over_what_it_compares(folders, no_model):
    (folders / "far").rename(folders / "videos")
    before = (folders / "videos" / "a.mkv").read_bytes()
    paths = [folders / "near", folders / "videos"]
    with pytest.raises(UserError, match="would be written over"):
        command.evaluate(folders / "true", paths, folders / "near" / "..")
    assert (folders / "videos" / "a.mkv").read_bytes() == before
    assert not (folders / "index.html").exists()


def test_a_clip_that_one_method_lacks_is_left_out_of_all(folders, no_model, capsys):
    (folders / "far" / "b.mkv").unlink()
    (folders / "far" / "x.mkv").write_bytes((folders / "far" / "a.mkv").read_bytes())
    result = command.evaluate(folders / "true", [folders / "near", folders / "far"])
    assert result["notes"] == [
        "far: lacks b: left out of all methods",
        "far: no reference of x: left out",
    ]
    for row in result["methods"].values():
        assert list(row["per_clip"]) == ["a", "c"] and row["compared"] == 2
    assert "far: lacks b: left out of all methods" in capsys.readouterr().out


def test_one_clear_line_where_nothing_can_be_compared(folders, no_model, capsys):
    true, near = str(folders / "true"), folders / "near"

    def fails(words, *told):
        assert cli.main(["evaluate", "--reference", *map(str, words)]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("error:") and all(word in line for word in told)

    empty = folders / "empty"
    empty.mkdir()
    fails([true, "--generated", empty], "empty", "no video in it")
    fails([true, "--generated", near / "a.mkv"], "expected a folder")
    fails([true, "--generated", folders / "nowhere"], "no such file")
    for clip in "abc":
        (near / f"{clip}.mkv").rename(near / f"other_{clip}.mkv")
    fails([true, "--generated", near], "no clip that all methods have", "lacks a, b, c")
    wide = np.zeros((3, 32, 64, 3), np.uint8)
    write_lossless(near / "a.mkv", wide)
    out = folders / "result"
    fails([true, "--generated", near, "--out", out], "64x32 px", "expected")
    assert not out.exists()


def test_methods_of_the_same_name_stay_apart(folders, no_model):
    for folder in ("one", "two"):
        (folders / folder).mkdir()
        (folders / "near").rename(
            folders / folder / "near"
        ) if folder == "one" else None
    (folders / "far").rename(folders / "two" / "near")
    paths = [folders / "one" / "near", folders / "two" / "near"]
    result = command.evaluate(folders / "true", paths)
    assert set(result["methods"]) == set(map(str, paths))


def test_one_reference_and_videos_of_any_name(folders, no_model, tmp_path):
    frames = np.stack(list(iter_frames(folders / "true" / "a.mkv")))
    write_video(tmp_path / "ours.mp4", frames)
    result = command.evaluate(folders / "true" / "a.mkv", [tmp_path / "ours.mp4"])
    assert set(result["methods"]) == {"ours"}
    assert result["methods"]["ours"]["frames"] == 6
