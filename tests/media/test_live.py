"""What is written live is whole, tagged, and in time."""

import av
import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.media.live import LiveVideo
from emogene_jax.media.video import iter_frames

FLASHES = (25, 62)


class Pipe:
    """Takes bytes, and can't seek."""

    def __init__(self):
        self.parts = []

    def write(self, data):
        self.parts.append(bytes(data))
        return len(data)


@pytest.fixture(scope="module", params=[16_000, 24_000, 48_000])
def written(request, tmp_path_factory):
    """Four seconds with two flashes and two beeps at once; some frames are left out."""
    rate, pipe, early = request.param, Pipe(), 0
    size = rate // 25
    beep = 0.8 * np.sin(np.arange(size) * 4000 / rate).astype(np.float32)
    video = LiveVideo(pipe, 64, rate)
    for number in range(100):
        bright = number in FLASHES
        frame = np.full((64, 64, 3), 255 if bright else 0, np.uint8)
        left_out = number in (40, 41)
        video.write(number, None if left_out else frame, beep * bright)
        if number == 50:
            early = sum(map(len, pipe.parts))
    video.close()
    path = tmp_path_factory.mktemp("live") / "live.mp4"
    path.write_bytes(b"".join(pipe.parts))
    return path, early


def test_flashes_and_beeps_are_at_their_times(written):
    path, _ = written
    bright = [n for n, frame in enumerate(iter_frames(path)) if frame.mean() > 100]
    assert tuple(bright) == FLASHES
    sound = np.abs(load_audio(path)) > 0.2
    for number in FLASHES:
        part = np.flatnonzero(sound[number * 640 - 1600 : number * 640 + 1600]) - 1600
        assert abs(part[0]) < 80 and abs(part[-1] - 640) < 80  # 5 ms


def test_it_leaves_while_it_is_made_and_says_that_it_is_synthetic(written):
    path, early = written
    assert early > 1000 and early > 0.3 * path.stat().st_size
    with av.open(str(path)) as container:
        assert container.metadata["ai_generated"] == "true"
        assert "Synthetic" in container.metadata["comment"]
