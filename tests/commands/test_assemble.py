"""The page of an avatar: what was held out, filmed beside rendered."""

from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax.commands.assemble import write_page
from emogene_jax.media.video import iter_frames, video_info, write_lossless

METRICS = {"psnr": {"full": 31.26}, "device": "cpu", "train_seconds": {"head": 3.0}}


@pytest.fixture
def avatar(tmp_path):
    (tmp_path / "preview.png").write_bytes(b"picture")
    return tmp_path


def test_filmed_beside_rendered(avatar, filmed):
    held = filmed._replace(frames=filmed.frames[:4])
    write_lossless(avatar / "heldout.mkv", np.zeros_like(held.frames))
    write_page(avatar, METRICS | {"absent": {"lmd": "no face model"}}, held)
    tree = ElementTree.fromstring((avatar / "index.html").read_text(encoding="utf-8"))
    links = {node.get("src") for node in tree.iter() if node.get("src")}
    assert links == {"heldout.mp4", "preview.png"}
    words = "".join(tree.itertext())
    assert "31.26" in words and "No lmd: no face model" in words
    frames = list(iter_frames(avatar / "heldout.mp4"))
    assert len(frames) == 4 and frames[0].shape == (32, 64, 3)
    assert frames[0][:, :30].mean() > 60 and frames[0][:, 34:].mean() < 20
    assert video_info(avatar / "heldout.mp4")["sound"]


def test_where_nothing_was_held_out_there_is_the_preview(avatar):
    write_page(avatar, {"device": "cpu"}, None)
    tree = ElementTree.fromstring((avatar / "index.html").read_text(encoding="utf-8"))
    assert [n.get("src") for n in tree.iter() if n.get("src")] == ["preview.png"]
    assert not list(avatar.glob("*.mp4"))
