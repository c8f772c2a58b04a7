"""The page of `emogene study` in a browser: a session clicked through, as people do."""

import json
import time

import numpy as np
import pytest

from emogene_jax.commands import study
from emogene_jax.media.video import write_video
from tests.browser import browsing, until

SETTLED = 0.5  # s, after which the browser has what a page has put into its storage


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study of two methods and two clips."""
    place = tmp_path_factory.mktemp("study")
    for method in ("ours", "theirs"):
        (place / method).mkdir()
        for clip in ("a", "b_happy"):
            frames = np.full((3, 32, 32, 3), 90, np.uint8)
            write_video(place / method / f"{clip}.mp4", frames)
    study.make_study([place / "ours", place / "theirs"], place / "out")
    return place / "out"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_session_is_clicked_through_and_survives_reloads(page, made, tmp_path, width):
    videos = json.loads((made / study.KEY).read_text())["videos"]
    url = (made / study.PAGE).as_uri()

    def score(video, criterion):
        other = videos[video]["method"] == "theirs"
        return 1 + other + 2 * (criterion == "sync")

    def fits():
        assert page.run("document.documentElement.scrollWidth <= innerWidth")

    page.resize(width)
    page.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
    )
    page.open(url)
    page.run("localStorage.clear()")
    page.open()
    fits()
    page.click("#rater")
    page.call("Input.insertText", text="ann")
    page.click("#begin .main")
    for number in range(len(videos)):
        video = page.run("state.order[state.at]")
        assert page.run("byId('where').textContent") == f"Video {number + 1} of 4"
        asked = page.run("byId('asked').hidden ? '' : byId('asked').textContent")
        assert ("happy" in asked) == ("happy" in videos[video]["clip"])
        fits()
        for done, criterion in enumerate(study.CRITERIA):
            assert page.run("byId('next').disabled")
            page.click(
                f"label:has([name={criterion}][value='{score(video, criterion)}'])"
            )
            if (number, done) == (1, 1):  # half-way: the page is closed, and opened
                order = page.run("state.order")
                time.sleep(SETTLED)
                page.open()
                assert page.run("state.order") == order
                assert page.run("document.querySelectorAll(':checked').length") == 2
        page.click("#next")
    time.sleep(SETTLED)
    page.open()
    assert page.run("byId('end').hidden") is False
    fits()
    page.click("#save")
    saved = tmp_path / "ratings_ann.json"
    until(lambda: saved.is_file() and saved.stat().st_size)
    assert saved.read_text() == page.run("byId('text').value")
    found = study.summarise(made, [saved])
    assert found["raters"] == 1 and found["ratings"] == 16 and not found["unfinished"]
    ours, theirs = found["methods"]["ours"], found["methods"]["theirs"]
    assert ours["sync"]["mean"] == 3 and theirs["sync"]["mean"] == 4
    assert ours["quality"]["mean"] == 1 and theirs["quality"]["mean"] == 2
