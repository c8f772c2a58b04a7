"""High dynamic range becomes what an ordinary screen shows."""

import av
import numpy as np
import pytest

from emogene_jax.media.tone import HLG, PQ, light, shown
from emogene_jax.media.video import iter_frames, video_info

# Signals of ITU-R BT.2408: paper, and a mid grey of 18 % or so.
PAPER = {HLG: 0.75, PQ: 0.58}


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_paper_is_white_and_darker_things_keep_their_light(transfer):
    grey = np.repeat(np.linspace(0, 1, 101)[:, None], 3, 1)
    linear = light(grey, transfer)
    assert (np.diff(linear[:, 0]) > 0).all() and linear[0, 0] < 1e-4
    paper = np.full((1, 3), PAPER[transfer])
    assert light(paper, transfer)[0, 0] == pytest.approx(1, abs=0.03)
    seen = shown(grey, transfer)
    assert (np.diff(seen[:, 0]) >= 0).all() and seen[-1, 0] <= 1
    dark = linear[:, 0] < 0.6
    back = ((seen + 0.055) / 1.055) ** 2.4
    middle = dark & (linear[:, 0] > 0.02)
    np.testing.assert_allclose(back[middle], linear[middle], rtol=0.02)
    # Grey stays grey.
    np.testing.assert_allclose(seen[:, 0], seen[:, 2], atol=2e-3)


def test_pq_at_known_points():
    """SMPTE ST 2084: 100 and 1000 cd/m2."""
    found = light(np.array([[0.5081] * 3, [0.7518] * 3]), PQ)[:, 0] * 203
    np.testing.assert_allclose(found, [100, 1000], rtol=0.01)


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_a_phones_video_is_neither_grey_nor_dull(tmp_path, transfer):
    """A saturated red and a white, coded as BT.2020 of high range."""
    signal = np.zeros((32, 64, 3))
    signal[:, :32] = PAPER[transfer]
    signal[:, 32:] = [PAPER[transfer], 0.2, 0.2]
    with av.open(str(tmp_path / "phone.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, 9
        context.colorspace, context.color_range = 9, 1
        luma = signal @ [0.2627, 0.6780, 0.0593]
        blue = (signal[..., 2] - luma) / 1.8814
        red = (signal[..., 0] - luma) / 1.4746
        planes = [64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red]
        frame = av.VideoFrame(64, 32, "yuv444p10le")
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((32, plane.line_size // 2), "<u2")
            rows[:, :64] = values.round()
            plane.update(rows.tobytes())
        for number in range(3):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert video_info(tmp_path / "phone.mkv")["high_range"]
    frames = list(iter_frames(tmp_path / "phone.mkv"))
    expected = 255 * shown(signal, transfer)
    assert len(frames) == 3
    np.testing.assert_allclose(frames[0], expected, atol=6)
    assert frames[0][16, 16].min() > 220  # white
    red, green, _ = frames[0][16, 48].astype(int)
    assert red > 200 and red - green > 120
