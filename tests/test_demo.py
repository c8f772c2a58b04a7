"""`emogene demo`: everything that its page names is there and plays."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from emogene_jax.avatar import load_avatar
from emogene_jax.signals import EMOTIONS
from emogene_jax.video import read_video, video_info

pytestmark = pytest.mark.slow


def test_it_leaves_what_it_promises_and_nothing_else(tiny_demo):
    assert {path.name for path in tiny_demo.iterdir()} == {
        *("index.html", "metrics.json", "contact_sheet.png", "videos", "avatar"),
        *("heldout.mkv", "preview.png"),
    }
    names = {path.name for path in (tiny_demo / "videos").iterdir()}
    assert names == {f"{name}.mp4" for name in (*EMOTIONS, "idle")}


def test_all_nine_videos_have_picture_and_sound(tiny_demo):
    frames = set()
    for name in (*EMOTIONS, "idle"):
        info = video_info(tiny_demo / "videos" / f"{name}.mp4")
        assert info["fps"] == 25 and info["sound"], name
        assert info["width"] == info["height"] == 32
        if name != "idle":
            frames.add(info["frames"])
    assert len(frames) == 1 and frames.pop() > 50  # one sentence, eight times
    assert info["frames"] == 100


def test_emotions_look_different(tiny_demo):
    happy, sad = (
        read_video(tiny_demo / "videos" / f"{name}.mp4")[0] for name in ("happy", "sad")
    )
    assert np.abs(happy.astype(int) - sad).max() > 0


def test_the_page_links_to_what_is_there(tiny_demo):
    text = (tiny_demo / "index.html").read_text()
    tree = ElementTree.fromstring(re.sub(r"<!doctype.*?>", "", text, flags=re.I))
    links = {node.get(key) for node in tree.iter() for key in ("src", "href")} - {None}
    assert {f"videos/{name}.mp4" for name in (*EMOTIONS, "idle")} <= links
    assert "contact_sheet.png" in links
    for link in links - {"data:,"}:  # no icon
        assert (tiny_demo / link).is_file(), link


def test_the_numbers_are_all_there(tiny_demo):
    metrics = json.loads((tiny_demo / "metrics.json").read_text())
    assert set(metrics) >= {
        *("psnr", "ssim", "mouth_error_ratio", "emotion_accuracy", "sync_accuracy"),
        *("train_seconds", "seconds", "device"),
    }
    regions = {"full", "head", "head_matte", "face", "mouth"}
    assert set(metrics["psnr"]) == set(metrics["ssim"]) == regions
    assert set(metrics["train_seconds"]) == {
        *("lip_sync", "audio_to_motion", "motion_to_emotion", "head", "torso"),
    }
    for value in (*metrics["psnr"].values(), metrics["mouth_error_ratio"]):
        assert np.isfinite(value)
    assert 0 <= metrics["emotion_accuracy"] <= 1 and 0 <= metrics["sync_accuracy"] <= 1


def test_its_avatar_is_an_avatar(tiny_demo):
    avatar = load_avatar(tiny_demo / "avatar")
    assert avatar.fields.camera.size == 32
