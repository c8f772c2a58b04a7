"""The page in a browser: by keyboard alone, as a screen reader knows it, and an avatar
from a video to its first words."""

import contextlib
import socket
import threading

import numpy as np
import pytest
import uvicorn

pytest.importorskip("gradio")

from emogene_jax.app import render  # noqa: E402
from emogene_jax.app.people import People  # noqa: E402
from emogene_jax.app.server import application  # noqa: E402
from emogene_jax.avatar.file import save_avatar  # noqa: E402
from emogene_jax.media.video import write_video  # noqa: E402
from tests.browser import browsing, until  # noqa: E402

pytestmark = pytest.mark.slow

PATIENCE = 120  # s for what is rendered
CONTROLS = {
    *("button", "checkbox", "combobox", "link", "listbox", "radio", "searchbox"),
    *("slider", "spinbutton", "switch", "tab", "textbox"),
}
# What the newest picture was, as often as it changed.
WATCH = """window.shown = new Set(); new MutationObserver(() => {
  document.querySelectorAll("#newest img").forEach(picture => shown.add(picture.src));
}).observe(document.body, { subtree: true, childList: true, attributes: true })"""
# What `emogene create` says and leaves, of who is there already.
CREATE = """import json, pathlib, shutil, sys
ann, _, _, out, *_ = map(pathlib.Path, sys.argv[1:])
print("first look", flush=True)
shutil.copytree(ann, out)
shutil.copy(ann.parent / "preview.png", out)
(out / "metrics.json").write_text(json.dumps({"psnr": {"full": 35.25}}))
print(f"{out}: done")
"""


@contextlib.contextmanager
def serving(people):
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(people, page=True), log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def place(person, tmp_path_factory):
    place = tmp_path_factory.mktemp("people")
    save_avatar(person, place / "ann")
    return place


@pytest.fixture(scope="module")
def browser(place, tmp_path_factory):
    """A browser, and the page's address in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        profile = tmp_path_factory.mktemp("profile")
        with browsing(profile) as page, serving(People(place)) as url:
            page.call("Page.enable")
            page.call("Page.setInterceptFileChooserDialog", enabled=True)
            yield page, url


@pytest.fixture
def page(browser):
    """A function that opens the page at a width."""
    page, url = browser

    def opened(width):
        page.resize(width)
        page.open(url)
        until(lambda: "Generate" in text(page), PATIENCE)
        page.run(WATCH)
        return page

    return opened


@pytest.fixture
def said(speech, tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(speech)
    return path


def text(page) -> str:
    return page.run("document.body.innerText")


def upload(page, button, path):
    """By keyboard; done when there is a button that takes it back."""
    page.tab_to("button", button)
    page.press("Enter")
    page.choose(path)
    until(lambda: value(page, "Clear") is not None, PATIENCE)


def value(page, name):
    """Of the control of a name; None = there is none, or it has none."""
    found = [c for c in page.controls() if c["name"].startswith(name)]
    return (found[0]["value"] or "") if found else None


def plays_to_its_end(page):
    video = "document.querySelector('#video video')"
    until(lambda: page.run(f"!!{video}?.ended && {video}.currentTime > 0.9"), PATIENCE)


def test_by_keyboard_alone_speech_becomes_a_video_that_plays(page, said, monkeypatch):
    monkeypatch.setattr(render, "SHOWN_EVERY", 0.0)
    page = page(1280)
    upload(page, "Drop an audio file", said)
    page.tab_to("radio", "neutral")
    page.press("ArrowLeft")
    until(lambda: page.focused()["name"] == "happy" and page.focused()["checked"])
    page.tab_to("button", "Mixture, track")
    page.press(" ")
    page.tab_to("spinbutton", "Second")
    page.type("0.5")
    page.tab_to("button", "Begin the emotion there")
    page.press("Enter")
    track = "0s=neutral:1,0.5s=happy:1"
    until(lambda: value(page, "Emotion track") == track)
    page.tab_to("button", "Generate")
    page.press("Enter")
    plays_to_its_end(page)
    assert page.run("shown.size") > 2  # while it was rendered
    named_and_seen(page)


def named_and_seen(page):
    """All that the Tab key comes by has a name, and shows that it has the focus."""
    controls = [c for c in page.controls() if c["role"] in CONTROLS]
    assert len(controls) > 20 and all(c["name"].strip() for c in controls)
    groups = [
        node["name"]["value"]
        for node in page.call("Accessibility.getFullAXTree")["nodes"]
        if node.get("role", {}).get("value") in ("group", "radiogroup")
    ]
    assert groups == ["Emotion"]
    for _ in controls:
        page.press("Tab")
        ring = page.run(
            """(() => { const node = document.activeElement;
            return node === document.body || getComputedStyle(node).outlineStyle; })()"""
        )
        assert ring not in ("none", ""), page.focused()


def test_a_list_that_is_left_is_shut(page):
    page = page(390)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.tab_to("combobox", "Avatar")
    until(lambda: page.run("!!document.querySelector('[role=option]')"))
    page.press("Tab")
    until(lambda: page.run("!document.querySelector('[role=option]')"))


def test_an_avatar_is_made_of_a_video_and_talks(
    page, place, said, tmp_path, monkeypatch
):
    script, film = tmp_path / "create.py", tmp_path / "film.mp4"
    script.write_text(CREATE)
    monkeypatch.setattr(render, "CREATE", [str(script), str(place / "ann")])
    page = page(390)
    (place / "preview.png").write_bytes(page.picture())
    page.tab_to("tab", "New avatar")
    page.press("Enter")
    film.write_text("a letter")
    upload(page, "Click to upload", film)
    page.tab_to("textbox", "Name")
    page.type("bob")
    page.tab_to("button", "Make an avatar")
    page.press("Enter")
    until(lambda: "film.mp4: not a readable video" in text(page), PATIENCE)
    assert not (place / "bob").exists()

    page.tab_to("tab", "New avatar")  # and on from there: a message can be cleared, too
    page.tab_to("button", "Clear")
    page.press("Enter")
    write_video(film, np.zeros((3, 32, 32, 3), np.uint8))
    upload(page, "Click to upload", film)
    page.tab_to("button", "Make an avatar")
    page.press("Enter")
    until(lambda: "35.25" in text(page), PATIENCE)
    assert "bob: done" in page.run(
        "[...document.querySelectorAll('textarea')].map(area => area.value).join()"
    )
    until(lambda: page.run("!!document.querySelector('#preview img')?.naturalWidth"))

    page.tab_to("tab", "Talk")
    page.press("Enter")
    until(lambda: value(page, "Avatar") == "bob")
    upload(page, "Drop an audio file", said)
    page.tab_to("button", "Generate")
    page.press("Enter")
    plays_to_its_end(page)
