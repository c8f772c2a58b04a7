"""The demo's page: whole, well-formed, and with links that lead somewhere."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from emogene_jax.commands.assemble import write_page
from emogene_jax.evaluate.report import (
    MEANINGS,
    Curves,
    metrics_table,
    training_curves,
    write_report,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("happy", "idle & <quiet>", "take:%03d?#1"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"video")
    (tmp_path / "sheet.png").write_bytes(b"picture")
    return tmp_path


@pytest.fixture
def page(folder):
    curves = {
        "head": [(step, 10.0 ** (-step / 50)) for step in range(0, 1001, 1)],
        "flow": [(0, 3.0), (10, -1.0), (20, float("nan"))],
        "nothing": [],
        "lost": [(0, float("nan"))],
    }
    tables = [
        metrics_table({"psnr": {"full": 31.257}, "device": "cpu"}, "Held out"),
        ("A & B", ("x", "y <z>"), [("<b>", 7), (float("nan"), None)]),
    ]
    videos = [(path.stem, path) for path in sorted((folder / "videos").iterdir())]
    sheets = [("sheet", folder / "sheet.png")]
    curves = Curves("Training", "steps", {name: {"": p} for name, p in curves.items()})
    index = write_report(folder, videos, sheets, curves, tables, ["Said & done."])
    return index.read_text(encoding="utf-8")


@pytest.fixture
def tree(page):
    return ElementTree.fromstring(page)  # raises where it isn't well-formed


def test_links_are_relative_and_resolve(tree, folder):
    links = [node.get("src") for node in tree.iter() if node.get("src")]
    assert len(links) == 4
    assert all((folder / unquote(link)).is_file() for link in links)


def test_nothing_is_requested_from_elsewhere(page):
    assert not re.search(r"https?:|//[a-z]|@import|<script", page)


def test_videos_can_be_played(tree):
    videos = list(tree.iter("video"))
    assert len(videos) == 3
    assert all({"controls", "playsinline"} <= set(node.keys()) for node in videos)


def test_curves_become_lines_inside_their_frame(tree):
    lines = [node.get("points") for node in tree.iter("polyline")]
    assert len(lines) == 2  # empty and lost curves draw nothing
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.split()]
        assert len(points) <= 401
        assert all(0 <= x <= 320 and 0 <= y <= 120 for x, y in points)
        assert points[0][1] < points[-1][1]  # both fall
    first = [tuple(map(float, point.split(","))) for point in lines[0].split()]
    middle = first[len(first) // 2]
    assert middle[1] == pytest.approx(60, abs=1)  # straight: drawn on a log scale


def test_tables_show_numbers_with_their_meaning(tree):
    cells = ["".join(node.itertext()) for node in tree.iter("td")]
    assert cells[:3] == ["psnr.full", "31.26", MEANINGS["psnr.full"]]
    assert cells[3:] == ["<b>", "7", "–", "–"]


def test_a_bare_page_is_well_formed_too(folder):
    index = write_report(folder, [])
    tree = ElementTree.fromstring(index.read_text())
    assert not list(tree.iter("section"))
    assert not list(folder.glob("*.partial")) and not list(folder.glob(".*.part"))


def test_an_avatars_page_tells_what_is_read_in_it(folder):
    read = {"happy": {"asked": 0.875, "neutral": 0.125}}
    write_page(folder, {"device": "a chip", "expression": read}, None)
    rows = ElementTree.parse(folder / "index.html").iter("tr")
    assert ["happy", "0.875", "0.125"] in [[cell.text for cell in row] for row in rows]


def test_a_video_outside_the_folder_is_a_mistake(folder):
    with pytest.raises(ValueError):
        write_report(folder / "videos", [("x", folder / "sheet.png")])


def test_lines_of_one_plot_have_a_legend(folder):
    lines = {"ours": [(0, 1.0), (9, 2.0)], "A & B": [(0, 3.0), (4, float("nan"))]}
    curves = Curves("Over time", "frames", {"PSNR": lines})
    index = write_report(folder, curves=curves)
    tree = ElementTree.fromstring(index.read_text(encoding="utf-8"))
    drawn = [node.get("class") for node in tree.iter("polyline")]
    assert drawn == ["line0", "line1"]
    told = {n.text: n.get("class") for n in tree.iter("span")}
    assert told == {"ours": "line0", "A & B": "line1"}
    assert any("frames 0 to 9" in (n.text or "") for n in tree.iter("small"))


def test_curves_of_a_training_are_its_losses(folder):
    curves = training_curves(folder, ["audio_to_motion"])
    assert curves.plots == {
        "audio to motion: loss": {"": []}
    }  # nothing was trained here
