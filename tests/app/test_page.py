"""The page: what its buttons do, and that it asks nobody else."""

import re
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

gr = pytest.importorskip("gradio")

from emogene_jax.app import page, pictures, render  # noqa: E402
from emogene_jax.app.people import People  # noqa: E402
from emogene_jax.app.server import application  # noqa: E402
from emogene_jax.emotions import parse_emotion  # noqa: E402
from emogene_jax.media.video import video_info, write_video  # noqa: E402
from emogene_jax.signals import EMOTIONS, UserError  # noqa: E402


@pytest.fixture(scope="module")
def client(people):
    with TestClient(application(people, page=True)) as client:
        yield client


def test_the_page_is_there_and_its_browser_asks_nobody_else(client):
    answer = client.get("/")
    assert answer.status_code == 200 and "emogene" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert not client.get("/config").json().get("analytics_enabled")
    live = client.get("/live").text
    assert not re.search(r"https?://|//cdn|stun:", live)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file={folder}/ann/avatar.json",
        "/file=/etc/passwd",
        "/static/../../../etc/passwd",
        "/live/../../etc/passwd",
        "/v1/../../etc/passwd",
    ],
)
def test_no_file_beside_the_page_can_be_read(client, folder, path):
    answer = client.get(path.format(folder=folder))
    assert answer.status_code in (400, 403, 404)
    assert "root:" not in answer.text and '"format"' not in answer.text


def values(speech=None, emotion="neutral", track="", idle=1, background=None, seed=0):
    return (speech, emotion, 1.0, page.ALONE, 0.5, track, idle, background, seed)


def test_generate_shows_frames_and_ends_with_a_video(people, speech, tmp_path):
    (tmp_path / "a.wav").write_bytes(speech)
    steps = page._generated(people, "ann", *values(str(tmp_path / "a.wav"), "happy"))
    kept = strip = None
    for _, newest, film, row, points in steps:
        if not isinstance(row, dict):  # gr.skip(), while it is the same
            strip = row
        if isinstance(film, str):
            kept = video_info(film)
            assert newest.shape == (32, 32, 3)
            assert strip.size == (8 * 32, 32) and points.size == (256, 256)
    assert kept["frames"] == 25
    assert not list(Path(tempfile.gettempdir()).glob("*/ann.mp4"))


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        (None, {}, "avatar: expected one"),
        ("../secret", {}, "no avatar of this name"),
        ("ann", {"track": "5s=nobody"}, "unknown emotion"),
        ("ann", {"track": None, "idle": -1}, "idle: found"),
        ("ann", {"idle": 0}, "idle: found 0"),
        ("ann", {"idle": 1e9}, "idle: found"),
        ("ann", {"speech": "/etc/passwd"}, "passwd: "),
        ("ann", {"background": "/etc/passwd"}, "not a picture"),
    ],
)
def test_what_is_wrong_is_a_message_of_one_line(people, name, wrong, message):
    with pytest.raises(gr.Error) as told:
        list(page._generated(people, name, *values(**wrong)))
    assert message in told.value.message and "\n" not in told.value.message


def test_a_strip_fills_from_the_left():
    frame = np.full((300, 300, 3), 200, np.uint8)
    strip = np.asarray(pictures.strip((frame, frame)))
    assert strip.shape == (pictures.TALL, pictures.STRIP * pictures.TALL, 3)
    assert (strip[:, : 2 * pictures.TALL] == 200).all()
    assert (strip[:, 2 * pictures.TALL :] == 128).all()


def test_choices_are_worded_as_tracks():
    for name in EMOTIONS:
        assert parse_emotion(page.wording(name, 0.5, page.ALONE, 0.5))[0][1:] == (
            name,
            0.5,
        )
    (mixed,) = parse_emotion(page.wording("happy", 1.0, "sad", 0.25))
    assert mixed == (0.0, "happy*0.75+sad*0.25", 1.0)
    assert page.wording("sad", 1.0, "sad", 0.25) == "sad:1"


def test_a_click_on_the_waveform_begins_an_emotion_there(speech, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(speech)
    click = SimpleNamespace(index=(pictures.WIDTH // 2, 3))
    track = page._click(str(path), "", "happy", 0.5, page.ALONE, 0.5, click)
    assert track == "0s=neutral:1,0.5s=happy:0.5"
    again = page._click(str(path), track, "sad", 1.0, page.ALONE, 0.5, click)
    assert again == "0s=neutral:1,0.5s=sad:1"
    picture = np.asarray(page._wave(str(path), again, "happy", 1.0, page.ALONE, 0.5))
    assert picture.shape == (pictures.HEIGHT, pictures.WIDTH, 3)
    sad = np.array(pictures._rgb(pictures.COLOURS[EMOTIONS.index("sad")]))
    found = picture[2, -5].astype(int)
    assert np.abs(found - (0.75 * sad + 0.25 * 255)).max() < 3


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, np.zeros((3, 32, 32, 3), np.uint8))
    return path


def test_what_is_no_video_is_told_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "CREATE", ["-c", "raise SystemExit('begun')"])
    (tmp_path / "film.mp4").write_text("a letter")
    with pytest.raises(UserError, match=r"^film\.mp4: not a readable video"):
        next(render.make(People(tmp_path), tmp_path / "film.mp4", "new", 64))


def test_an_avatar_that_fails_leaves_nothing(film, tmp_path, monkeypatch):
    script = tmp_path / "fails.py"
    script.write_text(
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[3], '.work').mkdir(parents=True)\n"
        "print('looking')\nprint(f'error: {sys.argv[1]}: no face in it')\n"
        "print('cleared up')\nsys.exit(2)\n"
    )
    monkeypatch.setattr(render, "CREATE", [str(script)])
    with pytest.raises(UserError, match=r"^film\.mp4: no face in it$"):
        list(render.make(People(tmp_path), film, "new", 64))
    assert not (tmp_path / "new").exists()


def test_making_that_is_left_ends_its_process_and_leaves_nothing(
    film, tmp_path, monkeypatch
):
    script = tmp_path / "slow.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "(out / '.work').mkdir(parents=True)\n"
        "print('begun', flush=True)\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(render, "CREATE", [str(script)])
    steps = render.make(People(tmp_path), film, "new", 64)
    while "begun" not in next(steps).said:
        pass
    assert (tmp_path / "new").is_dir()
    began = time.monotonic()
    steps.close()
    assert time.monotonic() - began < 1
    assert not (tmp_path / "new").exists()
