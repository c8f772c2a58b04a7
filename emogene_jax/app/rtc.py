"""Microphone to avatar by WebRTC (aiortc): /v1/rtc answers an offer, /live is the page.

No server is asked for addresses (no STUN): it is for this machine and its network.
"""

import asyncio
import contextlib
import json
import threading
import time
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.clock import current_datetime, datetime_to_ntp
from aiortc.mediastreams import MediaStreamError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from emogene_jax.app.agents import LONGEST_LIVE, wishes
from emogene_jax.app.people import People
from emogene_jax.app.seats import DEVICE, MOST
from emogene_jax.commands.session import Intake, live
from emogene_jax.emotions import parse_emotion
from emogene_jax.live.acting import Mood
from emogene_jax.signals import FPS, UserError

RATE = 48_000  # Hz of WebRTC's sound
PACKET = RATE // 50  # samples
BUFFER = 0.15  # s: frames come two at a time, and leave one by one
AHEAD = 0.025  # s that sound leaves before its picture: browsers keep it longer
PAGE = Path(__file__).with_name("live.html")


class _Track(MediaStreamTrack):
    """What leaves, each at its time after the first clip."""

    def __init__(self, kind: str, clock: "_Clock"):
        super().__init__()
        self.kind, self._clock, self.sender = kind, clock, None
        self._waiting: asyncio.Queue = asyncio.Queue()
        self._sent = None  # s

    def put(self, frame) -> None:
        """The next frame, or None: there are no more."""
        self._waiting.put_nowait(frame)

    async def recv(self):
        """aiortc asks for the next frame: the one before has just left."""
        if self._sent is not None:
            # Its sender reports say when that was, coded as late as it may be, and
            # browsers hold sound and picture together by them: the time it was due at.
            self.sender._RTCRtpSender__ntp_timestamp = self._clock.ntp(self._sent)
        frame = await self._waiting.get()
        if frame is None:
            self.stop()
            raise MediaStreamError
        self._sent = float(frame.pts * frame.time_base)
        await self._clock.until(self._sent, AHEAD if self.kind == "audio" else 0.0)
        return frame


class _Clock:
    """One for sound and picture."""

    def __init__(self):
        self._began = None

    async def until(self, seconds: float, ahead: float) -> None:
        """Waits until it is that long since the first that asked, and BUFFER more; or
        until `ahead` s before that."""
        if self._began is None:
            self._began = time.monotonic() + BUFFER - seconds
            self._date = current_datetime() + timedelta(seconds=BUFFER - seconds)
        await asyncio.sleep(max(0.0, self._began + seconds - ahead - time.monotonic()))

    def ntp(self, seconds: float) -> int:
        """When that is, as sender reports have it."""
        return datetime_to_ntp(self._date + timedelta(seconds=seconds))


class _Call:
    """One connection: a microphone, a person, two tracks that leave."""

    def __init__(self, people: People, name: str, mood: Mood, seed: int):
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._people, self._name, self._mood, self._seed = people, name, mood, seed
        self._intake, self._loop = Intake(RATE), asyncio.get_running_loop()
        clock = _Clock()
        self._picture, self._sound = _Track("video", clock), _Track("audio", clock)
        self._channel, self._told = None, None
        self.connection.on("track", self._hear)
        self.connection.on("datachannel", self._talk)
        self.connection.on("connectionstatechange", self._changed)

    async def answer(self, offer: RTCSessionDescription) -> RTCSessionDescription:
        """The answer to a browser's offer; rendering begins."""
        try:
            await self.connection.setRemoteDescription(offer)
        except Exception as error:  # of any kind: it is read line by line
            await self.connection.close()
            line = " ".join(str(error).split())
            raise UserError(f"offer: can't be understood ({line})") from None
        for track in (self._sound, self._picture):
            track.sender = self.connection.addTrack(track)
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        threading.Thread(target=self._work, name="call", daemon=True).start()
        return self.connection.localDescription

    def hang_up(self) -> None:
        """Nothing is rendered any more."""
        self._intake.stop()

    def _hear(self, track) -> None:
        if track.kind == "audio":
            self._listening = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track) -> None:
        mono = av.AudioResampler("flt", "mono", RATE)
        with contextlib.suppress(MediaStreamError):
            while True:
                for part in mono.resample(await track.recv()):
                    # What nobody takes for ten seconds is not worth waiting for.
                    if not self._intake.full:
                        self._intake.give(part.to_ndarray()[0])
        self.hang_up()

    def _talk(self, channel) -> None:
        self._channel = channel
        if self._told is not None:
            self._tell(self._told)

        @channel.on("message")
        def wish(text):
            try:
                self._mood.change(parse_emotion(str(text)))
            except UserError as error:
                self._tell({"error": str(error)})

    def _changed(self) -> None:
        if self.connection.connectionState in ("failed", "closed", "disconnected"):
            self.hang_up()

    def _tell(self, what: dict) -> None:
        self._told = what
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(json.dumps(what))

    def _work(self) -> None:
        """All of the session; on a thread of its own."""
        soon = self._loop.call_soon_threadsafe
        try:
            with contextlib.closing(DEVICE.wait()) as turn:
                while place := next(turn):
                    if self._intake.stopped:
                        return
                    soon(self._tell, {"waiting": place})
                    time.sleep(0.5)
                person = self._people.person(self._name)
                self._intake.forget()  # what was said while nobody listened
                self._intake.give(np.zeros(0, np.float32))
                soon(self._tell, {"ready": self._name})
                clips = live(
                    person.avatar,
                    self._intake,
                    self._mood,
                    self._seed,
                    renderer=person.renderer,
                )
                with contextlib.closing(clips):
                    for clip in clips:
                        soon(self._send, clip)
                        if clip.number >= LONGEST_LIVE * FPS:
                            break
        except UserError as error:
            soon(self._tell, {"error": str(error)})
        finally:
            self.hang_up()
            soon(self._picture.put, None)
            soon(self._sound.put, None)
            asyncio.run_coroutine_threadsafe(self.connection.close(), self._loop)

    def _send(self, clip) -> None:
        if clip.frame is not None:
            picture = av.VideoFrame.from_ndarray(clip.frame, format="rgb24")
            picture.pts, picture.time_base = clip.number, Fraction(1, FPS)
            self._picture.put(picture)
        loud = np.clip(clip.sound * 32767, -32768, 32767).astype(np.int16)
        for start in range(0, len(loud), PACKET):
            part = loud[None, start : start + PACKET]
            sound = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            sound.sample_rate, sound.time_base = RATE, Fraction(1, RATE)
            sound.pts = clip.number * len(loud) + start
            self._sound.put(sound)


def routes(people: People) -> list:
    """The page, and what answers it."""
    calls: set[_Call] = set()

    async def page(request: Request):
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def answer(request: Request):
        try:
            if len(calls) > MOST:
                raise UserError(f"busy: {MOST} wait already, as many as may")
            asked = await _asked(request)
            name, track, seed = wishes(people, asked)
            offer = RTCSessionDescription(asked["sdp"], "offer")
            call = _Call(people, name, Mood(track), seed)
            made = await call.answer(offer)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        calls.add(call)

        @call.connection.on("connectionstatechange")
        def over():
            if call.connection.connectionState in ("failed", "closed"):
                calls.discard(call)

        return JSONResponse({"sdp": made.sdp, "type": made.type})

    return [Route("/live", page), Route("/v1/rtc", answer, methods=["POST"])]


async def _asked(request: Request) -> dict:
    """A JSON object of texts, with an offer.

    Raises:
        UserError: it is none.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > 100_000:
            raise UserError("offer: larger than 100 kB")
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if (
        not isinstance(asked, dict)
        or not all(isinstance(value, str) for value in asked.values())
        or not asked.get("sdp", "").startswith("v=0")
        or "m=audio" not in asked["sdp"]
        or "m=video" not in asked["sdp"]
    ):
        raise UserError(
            "offer: expected a JSON object with an sdp of sound and picture"
        )
    return asked
