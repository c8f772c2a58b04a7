"""A face for a voice agent: /v1/talk, by HTTP or WebSocket (docs/serve.md).

POST       a sound file in the body -> an mp4
WebSocket  raw sound as it is said -> fragmented mp4 as it is rendered
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from emogene_jax import arguments
from emogene_jax.app.people import People
from emogene_jax.app.render import LARGEST_BYTES, speak
from emogene_jax.app.seats import DEVICE
from emogene_jax.commands.session import Intake, live
from emogene_jax.emotions import parse_emotion
from emogene_jax.live.acting import Mood
from emogene_jax.media.live import LiveVideo
from emogene_jax.pipeline import look_ahead
from emogene_jax.signals import FPS, LARGEST_SEED, SAMPLE_RATE, UserError

LONGEST_LIVE = 30 * 60  # s of a session; others wait
SEND_WITHIN = 10.0  # s; a client that takes longer has left


def routes(people: People) -> list:
    """What agents ask for."""

    async def avatars(request: Request):
        return JSONResponse({"avatars": people.names()})

    async def video(request: Request):
        return await _video(people, request)

    async def session(socket: WebSocket):
        await _session(people, socket)

    return [
        Route("/v1/avatars", avatars),
        Route("/v1/talk", video, methods=["POST"]),
        WebSocketRoute("/v1/talk", session),
    ]


def wishes(people: People, query) -> tuple:
    """(avatar's name, emotion track, seed) of a query.

    Raises:
        UserError: one of them is none.
    """
    try:
        seed = arguments.seed(query.get("seed", "0"))
    except (ValueError, argparse.ArgumentTypeError):
        raise UserError(
            f"seed: found {query['seed']!r}, expected a whole number from 0 to "
            f"{LARGEST_SEED}"
        ) from None
    names = people.names()
    name = query.get("avatar", names[0] if names else "")
    people.must_know(name)
    return name, parse_emotion(query.get("emotion", "neutral")), seed


async def _video(people: People, request: Request):
    folder = Path(tempfile.mkdtemp())
    try:
        name, track, seed = wishes(people, request.query_params)
        await _received(request, folder / "speech")
        out = folder / "talk.mp4"
        steps = speak(people, name, folder / "speech", track, out, seed)
        # Not `async for`: what nobody waits for ends here, and now.
        with contextlib.closing(steps):
            async for _ in iterate_in_threadpool(steps):
                if await request.is_disconnected():
                    raise UserError("nobody waits for it any more")
    except UserError as error:
        shutil.rmtree(folder)
        line = str(error).replace(f"{folder}/", "")
        return JSONResponse({"error": line}, 429 if _busy(error) else 400)
    except BaseException:
        shutil.rmtree(folder)
        raise
    clean = _Later(folder)
    return FileResponse(out, media_type="video/mp4", background=clean)


def _busy(error: UserError) -> bool:
    return str(error).startswith("busy")


class _Later:
    """Deletes a folder once its file is sent."""

    def __init__(self, folder):
        self._folder = folder

    async def __call__(self):
        shutil.rmtree(self._folder, ignore_errors=True)


async def _received(request: Request, path: Path) -> None:
    """Writes a request's body to a file.

    Raises:
        UserError: it is empty, or larger than what is taken.
    """
    size = 0
    with path.open("wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST_BYTES:
                most = LARGEST_BYTES // 1_000_000
                raise UserError(f"speech: larger than the {most} MB taken here")
            file.write(part)
    if size == 0:
        raise UserError("speech: 0 bytes in the body, expected a sound file")


async def _session(people: People, socket: WebSocket) -> None:
    await socket.accept()
    try:
        query = socket.query_params
        name, track, seed = wishes(people, query)
        rate = query.get("rate", str(SAMPLE_RATE))
        intake = Intake(int(rate) if rate.isdecimal() else 0)
        await _live(socket, people, name, intake, Mood(track), seed)
    except UserError as error:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_json({"error": str(error)})
            await socket.close(1008)


async def _live(socket, people, name, intake, mood, seed) -> None:
    """One session, once it is its turn; ends when either side does."""
    loop = asyncio.get_running_loop()
    # Threads of its own: who waits takes none of the others'.
    threads = ThreadPoolExecutor(2, "live")

    def send(what) -> None:
        job = socket.send_json if isinstance(what, dict) else socket.send_bytes
        sent = asyncio.run_coroutine_threadsafe(job(what), loop)
        sent.result(SEND_WITHIN)

    def give(sound):
        return loop.run_in_executor(threads, intake.give, sound)

    work = loop.run_in_executor(
        threads, _rendered, people, name, intake, mood, seed, send
    )
    listening = asyncio.ensure_future(_listen(socket, give, intake, mood))
    try:
        await asyncio.wait([work, listening], return_when=asyncio.FIRST_COMPLETED)
        if listening.done():  # it has left, or said what can't be understood
            intake.stop()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            await work
        if listening.done():
            listening.result()
    finally:
        intake.stop()
        listening.cancel()
        threads.shutdown(wait=False)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close()


def _rendered(people, name, intake, mood, seed, send) -> None:
    """Sends a session's video; on a thread of its own."""
    with contextlib.closing(DEVICE.wait()) as turn:
        while place := next(turn):
            if intake.stopped:
                return
            send({"waiting": place})
        person = people.person(name)
        size = person.avatar.fields.camera.size
        ahead = look_ahead(person.avatar.info["content"])
        send({"ready": name, "size": size, "look_ahead": round(ahead, 3)})
        intake.give(
            np.zeros(0, np.float32)
        )  # the clock runs: idle until there is sound
        parts = _Sent(send)
        video = LiveVideo(parts, size, intake.rate)
        clips = live(person.avatar, intake, mood, seed, renderer=person.renderer)
        frames = left_out = 0
        with contextlib.closing(clips):
            for clip in clips:
                frames, left_out = frames + 1, left_out + (clip.frame is None)
                video.write(*clip)
                parts.flush()
                if clip.number >= LONGEST_LIVE * FPS:
                    intake.stop()
        if frames:  # none of a session that ends before it begins
            video.close()
            parts.flush()
        send({"done": True, "frames": frames, "left_out": left_out})


class _Sent:
    """What is written is sent, a message a frame."""

    def __init__(self, send):
        self._send, self._parts = send, []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._send(data)


async def _listen(socket: WebSocket, give, intake: Intake, mood: Mood) -> None:
    """Sound and wishes of a client, until it leaves.

    Raises:
        UserError: a message that can't be understood.
    """
    rest = b""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if (data := message.get("bytes")) is not None:
            data = rest + data
            whole = len(data) // 2 * 2
            sound = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768
            rest = data[whole:]
            await give(sound)
            continue
        wish = _understood(message.get("text") or "")
        if "emotion" in wish:
            mood.change(parse_emotion(wish["emotion"]))
        if wish.get("clear"):
            intake.forget()
        if wish.get("end"):
            intake.end()


def _understood(text: str) -> dict:
    try:
        wish = json.loads(text)
    except ValueError:
        wish = None
    known = {"emotion": str, "clear": bool, "end": bool}
    if not isinstance(wish, dict) or any(
        type(value) is not known.get(name) for name, value in wish.items()
    ):
        raise UserError(
            'message: expected sound, or {"emotion": "happy:0.8"}, {"clear": true} or '
            '{"end": true}'
        )
    return wish
