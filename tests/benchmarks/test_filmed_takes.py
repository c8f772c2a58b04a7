"""The benchmark of filmed takes: a perfect model is told from none, and what is lacking is
said."""

import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.audio.features import audio_features
from emogene_jax.avatar.file import save_avatar
from emogene_jax.evaluate import compare, networks
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.signals import UserError
from emogene_jax.synthetic.takes import make_take


@pytest.fixture
def bench(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import filmed_takes

    yield filmed_takes
    for name in ("filmed_takes", "reconstruct", "create", "portraits", "timing"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def takes():
    """({name: take} of two emotions, and of neutral) of one synthetic sentence."""
    group = {}
    for emotion in ("happy", "sad", "neutral"):
        take = make_take(0, 1000, 1000, emotion)
        content = audio_features(take.waveform).content
        group[emotion] = take, content
    neutral, heard = group.pop("neutral")
    felt = {
        f"1001_DFA_{name}_XX.mp4": (name, 1.0, take.motion, content)
        for name, (take, content) in group.items()
    }
    calm = {"1001_DFA_NEU_XX.mp4": ("neutral", 1.0, neutral.motion, heard)}
    return felt, calm


@pytest.mark.parametrize("by_name", [True, False])
def test_a_perfect_model_is_told_from_none(bench, takes, monkeypatch, by_name):
    felt, calm = takes
    filmed = {emotion: motion for emotion, _, motion, _ in felt.values()}

    def perfect(params, motion, emotion, intensity):
        # Of an emotion that was not filmed: far off.
        return filmed.get(emotion, motion + 9)

    monkeypatch.setattr(bench, "with_emotion", perfect)
    rows, told = bench.landmarks(felt, calm, None, by_name)
    assert rows["with"]["aligned_lmd"] == {"mouth": 0, "face": 0}
    assert rows["without"]["aligned_lmd"]["face"] > 0.5
    assert told["takes"] == 2 and told["nearest_is_own"] == 1
    assert told["without_a_neutral_take"] == []


def test_takes_without_a_neutral_one_are_named(bench, takes, monkeypatch):
    felt, calm = takes
    monkeypatch.setattr(bench, "with_emotion", lambda params, motion, *_: motion)
    other = {"1001_IEO_HAP_HI.mp4": next(iter(felt.values()))}
    _, told = bench.landmarks(felt | other, calm, None, by_name=True)
    assert told["without_a_neutral_take"] == ["1001_IEO_HAP_HI.mp4"]
    with pytest.raises(SystemExit, match="no neutral take of the words"):
        bench.landmarks(other, calm, None, by_name=True)


def test_names_say_the_sentence(bench):
    assert bench.sentence("1001_DFA_ANG_XX.flv") == "1001_DFA"
    assert bench.sentence("happy/007.mp4") == bench.sentence("neutral/007.mp4") == "007"


def test_distances_are_in_pixels_of_a_crop(bench):
    still = np.zeros((3, 68, 3))
    moved = still.copy()
    moved[:, 48:58, 0] = 0.1  # half of the mouth, a tenth of the eyes' distance
    clip = bench.compared(still, moved)
    assert clip.curves["aligned_lmd"]["mouth"] == pytest.approx([4.0] * 3)


def test_pictures_with_and_without(bench, person, filmed, tmp_path, monkeypatch):
    def absent(path):
        raise UserError("no face model anywhere")

    nothing = networks.Networks(None, None, None, None, {"inception": "no weights"})
    monkeypatch.setattr(compare, "find_model", absent)
    monkeypatch.setattr(networks, "load_networks", lambda weights: nothing)
    save_avatar(person, tmp_path / "avatar")
    save_portrait(filmed, tmp_path / "portrait")
    folders = tmp_path / "avatar", tmp_path / "portrait"
    rows, told = bench.pictures(*folders, tmp_path, compare.load_tools())
    assert told == {"takes": 1, "size": 32}  # the happy one
    assert set(rows) == {"with", "without"}
    assert rows["with"]["psnr"]["full"] != rows["without"]["psnr"]["full"]
