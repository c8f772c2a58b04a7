"""What agents get: a video, or one line on why there is none, and nothing left behind."""

import contextlib
import functools
import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emogene_jax.app import agents, render
from emogene_jax.app.seats import DEVICE
from emogene_jax.app.server import LARGEST_MESSAGE, application, served
from emogene_jax.media.video import read_video, video_info
from emogene_jax.signals import UserError


@pytest.fixture(scope="module")
def client(people):
    with TestClient(application(people, page=False)) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """Neither files nor a seat that is taken."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    until = time.monotonic() + 1.0
    while DEVICE._tickets and time.monotonic() < until:
        time.sleep(0.02)
    assert not DEVICE._tickets
    assert not list(tmp_path.iterdir())


def test_avatars_are_listed(client):
    answer = client.get("/v1/avatars")
    assert answer.json() == {"avatars": ["ann"]}
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_pages_of_other_sites_are_refused(client):
    foreign = {"origin": "https://example.org"}
    answer = client.post("/v1/talk", content=b"x", headers=foreign)
    assert answer.status_code == 403 and "another site" in answer.json()["error"]
    with pytest.raises(WebSocketDisconnect):
        with client.websocket_connect("/v1/talk", headers=foreign):
            pass
    assert client.get("/v1/avatars", headers={"origin": "http://testserver"}).is_success


def test_speech_becomes_a_video(client, speech, tmp_path_factory):
    answer = client.post("/v1/talk?emotion=happy:0.8&seed=3", content=speech)
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    path = tmp_path_factory.mktemp("got") / "got.mp4"
    path.write_bytes(answer.content)
    info = video_info(path)
    assert info["frames"] == 25 and info["width"] == 32 and info["sound"]


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ("", b"", "0 bytes"),
        ("", b"no sound at all", "cannot be decoded"),
        ("", b"RIFF\xff\xff\xff\xffWAVEfmt ", "speech"),
        ("", b"\x1aE\xdf\xa3" + bytes(50), "speech"),
        ("?emotion=hapy", b"x", "did you mean happy"),
        ("?emotion=", b"x", "unknown emotion"),
        ("?emotion=happy:9", b"x", "intensity"),
        ("?emotion=3s=sad,1s=happy", b"x", "must rise"),
        ("?seed=-1", b"x", "'-1', expected a whole number from 0 to 4294967295"),
        ("?seed=x", b"x", "'x', expected a whole number"),
        ("?seed=99999999999999999999", b"x", "seed"),
        ("?avatar=../secret", None, "no avatar of this name"),
        ("?avatar=%2Fetc%2Fpasswd", None, "no avatar of this name"),
        ("?avatar=", None, "no avatar of this name"),
        ("?avatar=%00", None, "no avatar of this name"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(client, speech, query, body, message):
    answer = client.post(f"/v1/talk{query}", content=speech if body is None else body)
    assert answer.status_code == 400
    (line,) = answer.json().values()
    assert message in line and "\n" not in line and "Traceback" not in line
    assert tempfile.gettempdir() not in line


def test_too_much_is_refused(client, make_wav, monkeypatch):
    monkeypatch.setattr(agents, "LARGEST_BYTES", 10_000)
    assert "larger than" in client.post("/v1/talk", content=make_wav(1)).text
    monkeypatch.undo()
    monkeypatch.setattr(render, "LONGEST", 2.0)
    answer = client.post("/v1/talk", content=make_wav(4))
    assert answer.status_code == 400 and "minutes" in answer.text


def test_two_hours_are_refused_before_they_are_read(make_wav, tmp_path_factory):
    size, header = 2 * 3600 * 8_000 * 2, bytearray(make_wav(0.1, 8_000)[:44])
    header[4:8] = (size + 36).to_bytes(4, "little")
    header[40:44] = size.to_bytes(4, "little")
    path = tmp_path_factory.mktemp("long") / "hours.wav"
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + size)  # sparse: silence that takes no room
    began = time.monotonic()
    with pytest.raises(UserError, match="hours.wav: 120 minutes long; at most 10"):
        render.must_be_short(path)
    assert time.monotonic() - began < 1


def test_whoever_comes_when_too_many_wait_is_told(client, speech):
    with contextlib.ExitStack() as stack:
        for _ in range(9):
            next(stack.enter_context(contextlib.closing(DEVICE.wait())))
        answer = client.post("/v1/talk", content=speech)
    assert answer.status_code == 429 and "busy" in answer.json()["error"]


def received(session) -> tuple[list[dict], bytes]:
    """All that a session sends until it closes it."""
    told, video = [], b""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = session.receive()
            if message["type"] == "websocket.close":
                break
            if message.get("bytes"):
                video += message["bytes"]
            else:
                told.append(json.loads(message["text"]))
    return told, video


def test_a_session_says_what_it_is_sent(client, make_wav, tmp_path_factory):
    sound = make_wav(2.0, 24_000)[44:]
    with client.websocket_connect("/v1/talk?rate=24000&emotion=sad") as session:
        assert session.receive_json()["ready"] == "ann"
        for start in range(0, len(sound), 4801):  # odd: half a sample is kept
            session.send_bytes(sound[start : start + 4801])
        session.send_json({"emotion": "happy:0.5"})
        session.send_json({"end": True})
        told, video = received(session)
    assert told[-1]["done"] and 50 <= told[-1]["frames"] < 60
    path = tmp_path_factory.mktemp("got") / "got.mp4"
    path.write_bytes(video)
    assert len(read_video(path)[0]) >= 45 - told[-1]["left_out"]


@pytest.mark.parametrize(
    ("query", "message", "line"),
    [
        ("?rate=11025", None, "11025 Hz"),
        ("?rate=x", None, "0 Hz"),
        ("?emotion=no", None, "unknown emotion"),
        ("?avatar=..", None, "no avatar"),
        ("", "no json", "message: expected"),
        ("", "[]", "message: expected"),
        ("", '{"emotion": 3}', "message: expected"),
        ("", '{"unknown": true}', "message: expected"),
        ("", '{"emotion": "hapy"}', "did you mean happy"),
    ],
)
def test_a_session_ends_with_what_is_wrong(client, query, message, line):
    with client.websocket_connect(f"/v1/talk{query}") as session:
        if message is not None:
            session.send_text(message)
        told, _ = received(session)
    assert line in told[-1]["error"]


def test_others_wait_for_their_turn_and_who_leaves_frees_it(client, people):
    with client.websocket_connect("/v1/talk") as first:
        assert first.receive_json()["ready"]
        with client.websocket_connect("/v1/talk") as second:
            assert second.receive_json() == {"waiting": 1}
            first.close()
            while "waiting" in (told := second.receive_json()):
                pass
            assert told["ready"] == "ann"


def test_a_request_that_nobody_waits_for_ends(people, speech, tmp_path, make_wav):
    steps = render.speak(people, "ann", 30.0, [(0.0, "sad", 1.0)], tmp_path / "x.mp4")
    for _ in range(2):
        next(steps)
    began = time.monotonic()
    steps.close()
    assert time.monotonic() - began < 1
    names = {thread.name for thread in threading.enumerate()}
    assert "render" not in names and not list(tmp_path.iterdir())


@pytest.fixture
def port(people, monkeypatch):
    """Where a server is, as `emogene serve` starts it, who would ping often."""
    often = functools.partial(uvicorn.Config, ws_ping_interval=0.1, ws_ping_timeout=0.2)
    monkeypatch.setattr(uvicorn, "Config", often)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(served(application(people, page=False)))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(10)


def test_the_client_in_the_docs_saves_what_it_has_said(
    port, make_wav, monkeypatch, tmp_path_factory, capsys
):
    """Of more sound than a message may hold, and than waits to be said."""
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    assert f"up to 1 MiB ({LARGEST_MESSAGE} bytes)" in text
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    speech, out = (tmp_path_factory.mktemp("client") / n for n in ("a.wav", "a.mp4"))
    speech.write_bytes(make_wav(13, 48_000))
    assert speech.stat().st_size > LARGEST_MESSAGE
    monkeypatch.setattr(sys, "argv", ["client", str(speech), str(out), "happy:0.8"])
    exec(code.replace(":7861", f":{port}"), {})
    done = capsys.readouterr().out.splitlines()[-1]
    assert "'done': True, 'frames': 325" in done
    assert video_info(out)["sound"] and len(read_video(out)[0]) > 0
