"""Sound on stdin, a video on stdout."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from emogene_jax.avatar.file import save_avatar
from emogene_jax.commands import stream
from emogene_jax.commands.session import Intake
from emogene_jax.media.video import read_video
from emogene_jax.signals import UserError


@pytest.fixture(scope="module")
def avatar(person, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "avatar"
    save_avatar(person, folder)
    return folder


def pipes(monkeypatch, sound: bytes, target=None, terminal=False):
    """Puts bytes on stdin, and something that is written to on stdout."""
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(sound)))
    stdout = SimpleNamespace(buffer=target, isatty=lambda: terminal, fileno=lambda: 1)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stdout", stdout)


def test_sound_becomes_a_video_as_long_as_it_is(avatar, monkeypatch, tmp_path, capfd):
    sound = np.zeros(2 * 24_000 - 7, "<i2")
    sound[:24_000] = np.random.default_rng(0).normal(0, 3000, 24_000)
    target = io.BytesIO()
    pipes(monkeypatch, sound.tobytes() + b"\0", target)  # half a sample is none
    stream.talk_live(avatar, [(0.0, "happy", 1.0)], 24_000)
    (tmp_path / "live.mp4").write_bytes(target.getvalue())
    frames, _ = read_video(tmp_path / "live.mp4")
    assert frames.shape[1:] == (32, 32, 3) and 48 <= len(frames) <= 51
    assert "pictures follow 0.37 s later" in capfd.readouterr().err


def test_a_player_that_goes_ends_it(avatar, monkeypatch):
    class Closed(io.BytesIO):
        def write(self, data):
            if self.tell() > 3000:
                raise BrokenPipeError
            return super().write(data)

    monkeypatch.setattr(stream.os, "dup2", lambda *args: None)
    pipes(monkeypatch, bytes(2 * 16_000 * 3), Closed())
    stream.talk_live(avatar, [(0.0, "sad", 1.0)])


def test_a_terminal_is_no_place_for_a_video(avatar, monkeypatch):
    pipes(monkeypatch, b"", io.BytesIO(), terminal=True)
    with pytest.raises(UserError, match="stdout is a terminal"):
        stream.talk_live(avatar, [(0.0, "sad", 1.0)])


def test_no_sound_at_all_is_told(avatar, monkeypatch):
    pipes(monkeypatch, b"", io.BytesIO())
    with pytest.raises(UserError, match="no sound"):
        stream.talk_live(avatar, [(0.0, "sad", 1.0)])


def test_who_hears_too_far_ahead_is_rendered_but_not_live(person):
    hubert = {"type": "hubert", "channels": 1024}
    other = person._replace(info=person.info | {"content": hubert})
    assert stream.warm_renderer(other).fields is person.fields
    with pytest.raises(UserError, match="hubert hears the rest of its window"):
        stream.look_ahead(hubert)


def test_pieces_of_samples_are_put_together():
    intake, reads = Intake(16_000), iter([b"\x01", b"\x00\x02", b"\x00\x03\x00", b""])
    stream._read(SimpleNamespace(read1=lambda size: next(reads)), intake)
    (block,) = intake.blocks()
    np.testing.assert_array_equal(32768 * block[:4], [1, 2, 3, 0])


@pytest.mark.slow
def test_as_a_process_it_writes_nothing_but_the_video(avatar, tmp_path):
    call = [sys.executable, "-m", "emogene_jax.cli", "talk", str(avatar), "--stream"]
    made = subprocess.run(call, input=bytes(32_000), capture_output=True, timeout=300)
    assert made.returncode == 0 and made.stdout[4:8] == b"ftyp"
    (tmp_path / "live.mp4").write_bytes(made.stdout)
    assert len(read_video(tmp_path / "live.mp4")[0]) == 25
