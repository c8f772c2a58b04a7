"""`emogene evaluate`: several methods side by side, with its rules said."""

import json

import av
import numpy as np
import pytest

from emogene_jax.evaluate import compare
from emogene_jax.face.tracking import Track
from emogene_jax.signals import UserError


def _write_video(path, frames):
    """Lossless FFV1, so that numbers can be exact."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture
def truth(tmp_path):
    grey = np.full((6, 64, 64, 3), 100, np.uint8)
    grey[:, 20:40, 20:40] = 180
    return grey, _write_video(tmp_path / "truth.mkv", grey)


@pytest.fixture
def tracker(monkeypatch):
    """A tracker that sees a face in the middle of every frame, as large as it."""

    def track(frames, model, name="video", progress=None):
        points = []
        for frame in frames:
            turn = np.arange(478) * 2.4
            radius = 25 * frame.shape[0] / 64 * np.sqrt(np.arange(478) / 478)
            x = frame.shape[1] / 2 + radius * np.cos(turn)
            y = frame.shape[0] / 2 + radius * np.sin(turn)
            points.append(np.stack([x, y, 0 * x], -1))
        count = len(points)
        return Track(np.array(points), np.ones(count, bool), 0, 0, ())

    def sync(path, face_model):
        if "mute" in str(path):
            raise UserError(f"{path}: no sound track")
        return {"confidence": 0.25, "offset": 2}

    monkeypatch.setattr(compare, "find_model", lambda path: "model")
    monkeypatch.setattr(compare, "track_video", track)
    monkeypatch.setattr(compare, "lip_sync", sync)


@pytest.fixture
def no_model(monkeypatch):
    def absent(path):
        raise UserError("no face model anywhere")

    monkeypatch.setattr(compare, "find_model", absent)


def test_methods_side_by_side(truth, tracker, tmp_path, capsys):
    frames, reference = truth
    close = _write_video(tmp_path / "close.mkv", frames + 1)
    far = _write_video(tmp_path / "far.mkv", frames + 20)
    out = tmp_path / "deep" / "result.json"
    result = compare.evaluate(reference, [close, far], out)
    assert json.loads(out.read_text()) == result
    assert result["methods"]["close"]["psnr"]["full"] == pytest.approx(48.13, abs=0.01)
    assert result["methods"]["far"]["psnr"]["mouth"] == pytest.approx(22.11, abs=0.01)
    assert result["methods"]["close"]["lmd"] == {"face": 0.0, "mouth": 0.0}
    assert result["methods"]["close"]["notes"] == []
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:3] == ["method", "frames", "psnr.full"]
    assert printed[1].split()[:3] == ["close", "6", "48.131"]
    assert printed[0].split()[-2:] == ["sync.confidence", "sync.offset"]
    assert printed[1].split()[-2:] == ["0.250", "2.000"]
    assert "reference: sync confidence 0.25, offset 2" in printed
    assert any(line.startswith("absent: fid") for line in printed)


def test_what_has_no_sound_is_said(truth, tracker, tmp_path):
    frames, reference = truth
    mute = _write_video(tmp_path / "mute.mkv", frames)
    row = compare.evaluate(reference, [mute])["methods"]["mute"]
    assert row["sync"] == {}
    assert row["notes"] == [f"sync is absent: {mute}: no sound track"]


def test_other_sizes_and_lengths_are_said(truth, tracker, tmp_path):
    frames, reference = truth
    small = _write_video(tmp_path / "small.mkv", frames[:4, ::2, ::2])
    row = compare.evaluate(reference, [small])["methods"]["small"]
    assert row["frames"] == 4
    assert row["notes"] == [
        "resized from 32x32 to 64x64 px",
        "4 frames against the reference's 6: the first 4 were compared",
    ]
    assert row["lmd"]["mouth"] == pytest.approx(0, abs=1e-3)
    long = _write_video(tmp_path / "long.mkv", np.concatenate([frames, frames[:1]]))
    row = compare.evaluate(reference, [long])["methods"]["long"]
    assert row["frames"] == 6 and "7 frames against" in row["notes"][0]


def test_another_shape_is_refused(truth, no_model, tmp_path):
    frames, reference = truth
    wide = _write_video(tmp_path / "wide.mkv", frames[:, :32])
    with pytest.raises(UserError, match="64x32 px, expected the reference's 64x64"):
        compare.evaluate(reference, [wide], tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


def test_without_a_face_model_landmarks_are_absent_with_the_reason(truth, no_model):
    _, reference = truth
    result = compare.evaluate(reference, [reference])
    row = result["methods"]["truth"]
    assert set(row["psnr"]) == {"full"} and "lmd" not in row
    assert "no face model anywhere" in result["absent"]["lmd, face, mouth"]
    with pytest.raises(UserError):
        compare.evaluate(reference, [reference], face_model="given.task")


def test_methods_of_the_same_name_stay_apart(truth, no_model, tmp_path):
    frames, reference = truth
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(_write_video(tmp_path / folder / "out.mkv", frames))
    assert set(compare.evaluate(reference, paths)["methods"]) == set(map(str, paths))
