"""A card's encoder is used where there is one that opens, and x264 elsewhere."""

import av
import numpy as np
import pytest

from emogene_jax.media import encoder
from emogene_jax.media.video import video_info, write_video


# MPEG-4 stands in for what opens; x264 of RGB, given YUV, for what does not.
@pytest.mark.parametrize(
    ("name", "expected"),
    [("mpeg4", "mpeg4"), ("libx264rgb", "h264"), ("none_such", "h264")],
)
def test_a_cards_encoder_is_used_where_it_opens(
    tmp_path, monkeypatch, capfd, name, expected
):
    monkeypatch.setattr(encoder, "NVENC", name)
    monkeypatch.setattr(encoder, "NVENC_OPTIONS", {})
    out = tmp_path / "out.mp4"
    assert write_video(out, [np.full((47, 63, 3), 99, np.uint8)] * 3) == 3
    info = video_info(out)
    assert (info["width"], info["height"], info["frames"]) == (64, 48, 3)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == expected
    assert capfd.readouterr() == ("", "")
