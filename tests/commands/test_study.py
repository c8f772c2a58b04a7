"""`emogene study`: a page that tells nothing of methods, and what its ratings come to."""

import base64
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax import cli
from emogene_jax.commands import study
from emogene_jax.media.video import video_info, write_lossless, write_video


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study of two methods and three clips, one of them no mp4."""
    place = tmp_path_factory.mktemp("study")
    frames = np.full((3, 32, 32, 3), 90, np.uint8)
    for method in ("secret_ours", "secret_theirs"):
        (place / method).mkdir()
        write_video(place / method / "M030_happy_1.mp4", frames)
        write_video(place / method / "b.mp4", frames)
        write_lossless(place / method / "c.mkv", frames)
    folders = place / "secret_ours", place / "secret_theirs"
    study.make_study(folders, place / "out", seed=3)
    return place / "out"


def rate(made, path, rater, score):
    """Writes what a rater saves; score(method, criterion) is 1 to 5, or None."""
    key = json.loads((made / study.KEY).read_text())
    ratings = {}
    for video, item in key["videos"].items():
        row = {c: score(item["method"], c) for c in study.CRITERIA}
        ratings[video] = {c: value for c, value in row.items() if value is not None}
    result = {"study": key["study"], "rater": rater, "ratings": ratings, "order": []}
    path.write_text(json.dumps(result))
    return path


def test_the_page_is_whole_and_blind(made, tmp_path):
    page = (made / study.PAGE).read_text(encoding="utf-8")
    assert "secret" not in page and "c.mkv" not in page and "{{" not in page
    tree = ElementTree.fromstring(page)
    # Nothing is fetched: no link leads out of the file.
    assert not [node for node in tree.iter() if node.get("src")]
    assert "http" not in page.replace("http://www.w3.org", "")
    told = json.loads(re.search(r"const STUDY = (.*);\n", page)[1])
    assert len(told["items"]) == 6 and len(told["criteria"]) == 4
    key = json.loads((made / study.KEY).read_text())
    assert set(key["videos"]) == set(told["items"]) and key["study"] == told["id"]
    for name, item in told["items"].items():
        happy = "happy" in key["videos"][name]["clip"]
        assert item["emotion"] == ("happy" if happy else "")
        video = tmp_path / f"{name}.mp4"
        video.write_bytes(base64.b64decode(item["video"]))
        assert video_info(video)["width"] == 32


def test_known_ratings_have_known_means(made, tmp_path, capsys):
    def score(rater):
        def of(method, criterion):
            if method == "secret_theirs":
                return 2
            return rater if criterion == "sync" else 5

        return of

    files = [rate(made, tmp_path / f"{n}.json", f"r{n}", score(n)) for n in range(1, 6)]
    out = tmp_path / "summary.json"
    words = ["study", "--summarise", made, "--results", *files, "--out", out]
    assert cli.main(list(map(str, words))) == 0
    found = json.loads(out.read_text())
    ours, theirs = found["methods"]["secret_ours"], found["methods"]["secret_theirs"]
    assert ours["sync"]["mean"] == 3 and ours["emotion"]["mean"] == 5
    assert {score["mean"] for score in theirs.values()} == {2}
    assert theirs["sync"]["interval"] == [2, 2] and ours["sync"]["ratings"] == 15
    # Five raters who each say one number: sd 1.414 over them, 1.96 of its fifth's root.
    low, high = ours["sync"]["interval"]
    assert (low, high) == pytest.approx((3 - 1.24, 3 + 1.24), abs=0.2)
    assert found["raters"] == 5 and found["ratings"] == 120 and not found["unfinished"]
    printed = capsys.readouterr().out
    assert "| secret_ours" in printed and "3.00 [" in printed


def test_an_unfinished_session_counts_and_is_said(made, tmp_path, capsys):
    def some(method, criterion):
        return 4 if method == "secret_ours" and criterion == "sync" else None

    files = [rate(made, tmp_path / "a.json", "ann", some)]
    found = study.summarise(made, files)
    assert found["unfinished"] == ["ann"] and found["interval_over"] == "ratings"
    assert found["methods"]["secret_ours"]["sync"]["mean"] == 4
    assert found["methods"]["secret_theirs"]["sync"]["mean"] is None
    assert "not finished: ann" in capsys.readouterr().out


def test_one_clear_line_for_results_that_do_not_fit(made, tmp_path, capsys):
    good = rate(made, tmp_path / "good.json", "ann", lambda m, c: 3)

    def fails(change, *told):
        result = json.loads(good.read_text())
        change(result)
        bad = tmp_path / "bad.json"
        bad.write_text(json.dumps(result))
        words = ["study", "--summarise", made, "--results", good, bad]
        assert cli.main(list(map(str, words))) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and all(word in error for word in told)

    fails(lambda r: r.update(study="other"), "bad.json", "another study")
    fails(lambda r: r["ratings"]["video_000"].update(sync=6), "bad.json", "is 6")
    fails(lambda r: r["ratings"].update(video_9={"sync": 1}), "video_9", "not asked")
    fails(lambda r: r.pop("rater"), "bad.json", "no results")
    fails(lambda r: None, "ann", "two results")


@pytest.fixture
def small(tmp_path):
    """Folders of two methods, of one clip each."""
    for method, grey in (("ours", 90), ("theirs", 120)):
        (tmp_path / method).mkdir()
        frames = np.full((3, 32, 32, 3), grey, np.uint8)
        write_video(tmp_path / method / "a.mp4", frames)
    return tmp_path / "ours", tmp_path / "theirs"


@pytest.mark.parametrize("change", ["methods", "seed", "videos", "key taken away"])
def test_another_study_is_not_made_over_one(small, tmp_path, capsys, change):
    out, words = tmp_path / "out", [*small, "--seed", 1]
    study.make_study(small, out, seed=1)
    if change == "methods":
        words = [small[0], "--seed", 1]
    elif change == "seed":  # which gives the videos other numbers
        words = [*small, "--seed", 5]
    elif change == "videos":
        (small[0] / "a.mp4").write_bytes((small[1] / "a.mp4").read_bytes())
    else:
        (out / study.KEY).rename(tmp_path / study.KEY)
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert cli.main(["study", *map(str, words), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {out}: holds another study, expected a new folder\n"
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_the_same_study_is_made_again(small, tmp_path):
    out = tmp_path / "out"
    study.make_study(small, out)
    key = (out / study.KEY).read_text()
    (out / study.PAGE).unlink()  # killed before it was written
    study.make_study(small, out)
    assert (out / study.PAGE).is_file() and (out / study.KEY).read_text() == key


def test_a_folder_without_a_study_is_told(tmp_path, capsys):
    (tmp_path / "ann.json").write_text("{}")
    words = ["--summarise", tmp_path, "--results", tmp_path / "ann.json"]
    assert cli.main(["study", *map(str, words)]) == 2
    told = f"error: {tmp_path}: found no key.json, expected the folder of a study\n"
    assert capsys.readouterr().err == told


def test_one_clear_line_for_words_that_do_not_fit(made, tmp_path, capsys):
    for words in (
        ["study"],
        ["study", "--summarise", made],
        ["study", made, "--summarise", made, "--results", made],
        ["study", made],
        ["study", tmp_path, "--out", tmp_path / "new"],
    ):
        assert cli.main(list(map(str, words))) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "new").exists()
