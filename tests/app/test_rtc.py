"""A call, by a client of aiortc's in the same process."""

import asyncio
import itertools
import json
import time
from fractions import Fraction
from types import SimpleNamespace

import httpx
import pytest

aiortc = pytest.importorskip("aiortc")

from aiortc import rtcrtpsender  # noqa: E402
from aiortc.codecs.vpx import Vp8Encoder  # noqa: E402
from aiortc.mediastreams import AudioStreamTrack  # noqa: E402
from aiortc.rtp import RtcpSrPacket  # noqa: E402

from emogene_jax.app.rtc import AHEAD, _Clock, _Track  # noqa: E402
from emogene_jax.app.seats import DEVICE  # noqa: E402
from emogene_jax.app.server import application  # noqa: E402


async def _call(people, wish):
    """(told, pictures [(time, size)], packets of sound, sender reports by kind) of a call
    of about a second."""
    transport = httpx.ASGITransport(app=application(people, page=True))
    client = httpx.AsyncClient(transport=transport, base_url="http://here")
    mine = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    told, pictures, sounds, sinks = [], [], [], []
    reports = {"audio": [], "video": []}

    async def watch(track):
        while len(pictures) < 25:
            frame = await track.recv()
            pictures.append((frame.time, frame.width))

    async def hear(track):
        while True:
            sounds.append(await track.recv())

    @mine.on("track")
    def arrived(track):
        job = watch(track) if track.kind == "video" else hear(track)
        sinks.append(asyncio.ensure_future(job))
        (receiver,) = (r for r in mine.getReceivers() if r.track is track)
        _note(receiver, reports[track.kind])

    channel = mine.createDataChannel("wishes")
    channel.on("message", lambda text: told.append(json.loads(text)))
    mine.addTrack(AudioStreamTrack())
    mine.addTransceiver("video", direction="recvonly")
    await mine.setLocalDescription(await mine.createOffer())
    asked = {"sdp": mine.localDescription.sdp, "avatar": "ann", "emotion": "sad"}
    answer = (await client.post("/v1/rtc", json=asked)).json()
    await mine.setRemoteDescription(aiortc.RTCSessionDescription(**answer))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if len(pictures) == 25 and all(reports.values()):
            break
        if len(pictures) == 5:
            channel.send(wish)
        await asyncio.sleep(0.02)
    for sink in sinks:
        sink.cancel()
    await mine.close()
    until = time.monotonic() + 10
    while DEVICE._tickets and time.monotonic() < until:
        await asyncio.sleep(0.05)
    await client.aclose()
    return told, pictures, sounds, reports


def _note(receiver, reports):
    """Adds the sender reports that come, once anything was sent, to `reports`."""
    handle = receiver._handle_rtcp_packet

    async def note(packet):
        if isinstance(packet, RtcpSrPacket) and packet.sender_info.packet_count:
            reports.append(packet.sender_info)
        await handle(packet)

    receiver._handle_rtcp_packet = note


def test_a_call_shows_the_person_and_ends_when_it_is_hung_up(people):
    told, pictures, sounds, _ = asyncio.run(_call(people, "no emotion"))
    assert {"ready": "ann"} in told
    assert any("unknown emotion" in line.get("error", "") for line in told)
    assert len(pictures) == 25 and {width for _, width in pictures} == {32}
    times = [when for when, _ in pictures]
    assert times == sorted(times) and sounds
    assert not DEVICE._tickets


def test_sender_reports_tell_one_clock_of_sound_and_picture(people, monkeypatch):
    """However long a picture takes to be coded: browsers go by them."""
    encode = Vp8Encoder.encode

    def slowly(self, frame, force_keyframe=False):
        time.sleep(0.03)
        return encode(self, frame, force_keyframe)

    monkeypatch.setattr(Vp8Encoder, "encode", slowly)
    counted = itertools.count(1)  # time stamps begin near 0, too
    monkeypatch.setattr(rtcrtpsender, "random32", lambda: next(counted))
    reports = asyncio.run(_call(people, "happy"))[-1]
    began = [
        report.ntp_timestamp / 2**32 - report.rtp_timestamp / rate
        for kind, rate in (("audio", 48_000), ("video", 90_000))
        for report in reports[kind]
    ]
    assert len(began) > 1 and max(began) - min(began) < 0.005


def test_sound_leaves_a_little_before_its_picture(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    async def leave():
        clock = _Clock()
        for kind in ("audio", "video"):
            track = _Track(kind, clock)
            track.put(SimpleNamespace(pts=0, time_base=Fraction(1, 25)))
            await track.recv()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(leave())
    sound, picture = waited
    assert sound > 0.1 and picture - sound == pytest.approx(AHEAD, abs=0.01)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no json", b"[]", b"{}", b'{"sdp": 3}', b'{"sdp": "v=0"}'),
        *(b'{"sdp": "v=0 m=audio m=video", "avatar": "../x"}', b"x" * 200_000),
        b'{"sdp": "v=0 m=audio m=video"}',
    ],
)
def test_what_is_no_offer_is_told(people, body):
    async def post():
        transport = httpx.ASGITransport(app=application(people, page=True))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x"
        ) as client:
            return await client.post("/v1/rtc", content=body)

    answer = asyncio.run(post())
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]
