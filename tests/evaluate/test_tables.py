"""Means, intervals and tables of made-up clips."""

import csv

import numpy as np
import pytest
from scipy import stats

from emogene_jax.evaluate import tables
from emogene_jax.evaluate.compare import Clip


def clip(psnr=30.0, frames=50, sync=None, **more):
    """A clip whose frames are `psnr` on average."""
    line = psnr + np.resize([-1.0, 1.0], frames)
    values = {} if sync is None else {"sync": {"confidence": sync}}
    return Clip({"psnr": {"full": line}, **more}, values, frames, [], [], [])


def test_clips_weigh_the_same():
    found = tables.summarise([clip(30, 50), clip(20, 500)])
    assert found["psnr"]["full"] == 25 and found["clips"]["psnr"]["full"] == 2


def test_the_interval_over_clips_is_scipys():
    rng = np.random.default_rng(0)
    means = rng.normal(30, 2, 25)
    found = tables.summarise([clip(mean) for mean in means])
    low, high = found["intervals"]["psnr"]["full"]
    theirs = stats.bootstrap(
        (means,), np.mean, n_resamples=20000, method="percentile"
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.12)
    # It is the normal one, too: 1.96 standard errors.
    half = 1.96 * means.std() / 5
    assert (low, high) == pytest.approx(
        (means.mean() - half, means.mean() + half), abs=0.2
    )


def test_the_interval_of_one_clip_is_over_seconds():
    """Frames of a second are alike: frames drawn one by one would look too sure."""
    levels = np.random.default_rng(1).normal(30, 2, 16)
    line = np.repeat(levels, 25)
    found = tables.summarise([Clip({"psnr": {"full": line}}, {}, 400, [], [], [])])
    low, high = found["intervals"]["psnr"]["full"]
    half = 1.96 * levels.std() / 4
    expected = levels.mean() - half, levels.mean() + half
    assert (low, high) == pytest.approx(expected, abs=0.25)


def test_where_nothing_can_be_drawn_there_is_no_interval():
    found = tables.summarise([clip(30, 3, sync=0.2)])
    assert found["intervals"]["psnr"]["full"] is None
    assert found["intervals"]["sync"]["confidence"] is None
    lost = clip(30, 40, lmd={"face": np.full(40, np.nan)})
    assert "lmd" not in tables.summarise([lost])
    assert "lmd" not in tables.clip_values(lost)


def test_frames_without_a_face_do_not_count():
    line = np.array([1.0, np.nan, 3.0, np.nan] * 10)
    found = tables.summarise([clip(lmd={"face": line})])
    assert found["lmd"]["face"] == 2
    low, high = found["intervals"]["lmd"]["face"]
    assert 1 <= low <= 2 <= high <= 3


def test_how_many_clips_tell_is_said():
    clips = [clip(sync=0.2), clip(sync=0.4), clip()]
    row = tables.summarise(clips) | {"compared": 3}
    assert row["sync"]["confidence"] == pytest.approx(0.3)
    header, rows = tables.all_numbers({"ours": row}, {})
    assert header == ["", "ours"]
    cells = dict(rows)
    assert cells["sync confidence ↑"] == "0.300 (2 of 3 clips)"
    assert cells["PSNR full, dB ↑"].startswith("30.00 [")


def test_fid_is_of_all_frames_at_once():
    rng = np.random.default_rng(0)

    def seen(shift):
        true = list(rng.normal(size=(40, 3)))
        return clip()._replace(features=[x + shift for x in true], true_features=true)

    found = tables.summarise([seen(0.0), seen(2.0)])
    # Two clips, one of them off by 2: (1, 1, 1) off, and wider.
    assert found["fid"]["full"] > 3 and found["intervals"]["fid"]["full"] is None
    same = tables.summarise([seen(0.0)])
    assert same["fid"]["full"] == pytest.approx(0, abs=1e-3)


def test_the_papers_table_has_a_dash_where_a_number_is_absent():
    header, rows = tables.paper_table({"ours": tables.summarise([clip(30, 2)])})
    assert header == ["method", "SSIM ↑", "PSNR ↑", "LMD ↓", "FID ↓"]
    assert rows == [["ours", "–", "30.00", "–", "–"]]


def test_markdown_and_csv_hold_what_they_are_given():
    text = tables.markdown(["a", "b"], [["x", "1.0"], ["long", "2"]])
    assert text.splitlines() == [
        "| a    | b   |",
        "| ---- | --- |",
        "| x    | 1.0 |",
        "| long | 2   |",
    ]
    one = clip(30, 4)
    result = {
        "about": tables.about(["64x64"]),
        "methods": {
            "ours": {
                "per_clip": {"a": {"frames": 4, "values": tables.clip_values(one)}}
            }
        },
    }
    lines = list(csv.DictReader(tables.to_csv(result).splitlines()))
    assert [(r["clip"], r["metric"], r["region"]) for r in lines] == [
        ("a", "psnr", "full")
    ]
    assert lines[0]["resolution"] == "64x64" and float(lines[0]["value"]) == 30


def test_every_number_says_what_it_is():
    about = tables.about(["64x64", "32x32", "64x64"])
    assert set(about) == set(tables.METRICS)
    for told in about.values():
        assert told["better"] in ("more", "less", "neither")
        assert told["alignment"] and told["meaning"]
    assert about["psnr"]["resolution"] == "32x32, 64x64"
    assert about["aligned_lmd"]["resolution"].startswith("256x256")
