"""The page of `emogene study` in a browser: a session clicked through, as people do."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from emogene_jax.commands import study
from emogene_jax.media.video import write_video

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 20  # s, on a busy machine
SETTLED = 0.5  # s, after which the browser has what a page has put into its storage


class Page:
    """A browser's page, driven by its DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.number = socket, 0

    def call(self, method: str, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE))
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def run(self, script: str):
        """What JavaScript comes to."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, (script, found)
        return found["result"].get("value")

    def open(self, url: str | None = None):
        """Another page, or the same anew; its script has run when it is complete."""
        self.run("window.old = true")
        self.call("Page.navigate", url=url) if url else self.call("Page.reload")
        until(lambda: self.run("!window.old && document.readyState === 'complete'"))

    def resize(self, width: int):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 500, **size)

    def click(self, selector: str):
        """With the mouse, where it is: what is hidden or covered can't be clicked."""
        x, y, there = self.run(
            f"""(() => {{
                const node = document.querySelector({json.dumps(selector)});
                node.scrollIntoView({{ block: "center" }});
                const box = node.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                return [x, y, node.contains(document.elementFromPoint(x, y))];
            }})()"""
        )
        assert there, f"{selector} is hidden or covered"
        mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **mouse)


def until(holds):
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    client = pytest.importorskip("websockets.sync.client")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    profile = tmp_path_factory.mktemp("profile")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    place = (f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        [browser, *flags, *place], start_new_session=True, **quiet
    )
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: told.is_file() and told.read_text().count("\n"))
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            target = next(t for t in json.load(answer) if t["type"] == "page")
        address = target["webSocketDebuggerUrl"]
        with client.connect(address, proxy=None, max_size=None) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its processes with it
        process.wait()


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
