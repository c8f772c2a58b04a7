"""One video against its reference, with a tracker and sound that are not real."""

import contextlib

import numpy as np
import pytest

from emogene_jax.evaluate import compare, judge, networks
from emogene_jax.face.tracking import Track
from emogene_jax.media.video import video_info, write_lossless
from emogene_jax.signals import UserError


@pytest.fixture
def truth(tmp_path):
    """Six grey frames of 64 px with a brighter square."""
    grey = np.full((6, 64, 64, 3), 100, np.uint8)
    grey[:, 20:40, 20:40] = 180
    write_lossless(tmp_path / "truth.mkv", grey)
    return grey, tmp_path / "truth.mkv"


@pytest.fixture
def write(tmp_path):
    """A function: a lossless video of frames, so that numbers can be exact."""

    def video(name, frames):
        write_lossless(tmp_path / name, frames)
        return tmp_path / name

    return video


def track(frames, model, name="video", look=None):
    """A tracker that sees a face in the middle of every frame that is not black."""
    points, found = [], []
    for number, frame in enumerate(frames):
        turn = np.arange(478) * 2.4
        radius = 25 * frame.shape[0] / 64 * np.sqrt(np.arange(478) / 478)
        x = frame.shape[1] / 2 + radius * np.cos(turn)
        y = frame.shape[0] / 2 + radius * np.sin(turn)
        points.append(np.stack([x, y, 0 * x], -1))
        found.append(frame.any())
        if look and found[-1]:
            look(number, frame, points[-1])
    if np.mean(found) < 0.5:
        raise UserError(f"{name}: a face in {sum(found)} of {len(found)} frames")
    return Track(np.array(points), np.array(found), np.array(found), 0, ())


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.setattr(compare, "find_model", lambda path: "model")
    monkeypatch.setattr(compare, "open_tracker", lambda m: contextlib.nullcontext())
    monkeypatch.setattr(compare, "track_video", track)
    monkeypatch.setattr(compare, "seen_of", lambda *_: None)
    said = {"confidence": 0.25, "distance": 0.8, "offset": 2}
    monkeypatch.setattr(compare, "load_audio", lambda path: path)
    monkeypatch.setattr(compare, "lip_sync", lambda *_: said)
    nothing = networks.Networks(None, None, None, None, {"inception": "no weights"})
    monkeypatch.setattr(networks, "load_networks", lambda weights: nothing)
    monkeypatch.setattr(judge, "load_judge", lambda: None)
    return compare.load_tools()


def test_every_number_of_a_video(truth, tools, write):
    frames, path = truth
    reference = compare.watch_reference(path, tools)
    assert reference.values["sync"]["offset"] == 2
    clip = compare.compare(reference, write("near.mkv", frames + 1), tools)
    assert clip.frames == 6 and clip.notes == []
    assert {k: set(v) for k, v in clip.curves.items()} == {
        **dict.fromkeys(("psnr", "ssim", "sharpness"), {"full", "face", "mouth"}),
        **dict.fromkeys(("lmd", "aligned_lmd"), {"mouth", "face"}),
        **{"flicker": {"full"}, "jitter": {"face"}},
    }
    assert clip.curves["psnr"]["full"] == pytest.approx([48.1308] * 6, abs=1e-3)
    assert not clip.curves["lmd"]["mouth"].any()
    assert not clip.curves["flicker"]["full"].any()
    assert clip.values["sync"]["distance"] == 0.8
    assert tools.absent == {"fid": "no weights"}


def bright_is_happy(faces):
    """A judge: how bright a face is, is how happy, and the rest neutral."""
    happy = (faces.mean((1, 2)) + 1) / 2
    return happy[:, None] * np.eye(7)[3] + (1 - happy)[:, None] * np.eye(7)[6]


def test_expression_beside_the_references_own(truth, tools, write, tmp_path):
    """By every fifth frame with a face; of the emotion in the reference's name."""
    frames, path = truth
    tools = tools._replace(judge=bright_is_happy)
    happy = path.rename(tmp_path / "M030_happy_1.mkv")
    reference = compare.watch_reference(happy, tools)
    own = reference.values["expression"]["asked"]
    assert reference.readings.shape == (2, 7) and 0.4 < own < 0.8
    same = compare.compare(reference, happy, tools).curves["expression"]
    assert same["agreement"] == pytest.approx([1, 1])
    assert same["asked"] == pytest.approx([own, own], abs=1e-6)
    darker = frames // 2
    darker[5] = 0
    clip = compare.compare(reference, write("darker.mkv", darker), tools)
    found = clip.curves["expression"]
    assert found["asked"][0] == pytest.approx(own / 2, abs=0.02)
    assert found["agreement"][0] == pytest.approx(1 - own / 2, abs=0.02)
    assert np.isnan(found["asked"][1]) and np.isnan(found["agreement"][1])
    short = compare.compare(reference, write("short.mkv", frames[:4]), tools)
    assert short.curves["expression"]["agreement"].shape == (1,)
    plain = compare.watch_reference(happy.rename(tmp_path / "a_contempt.mkv"), tools)
    assert "expression" not in plain.values
    clip = compare.compare(plain, plain.path, tools)
    assert set(clip.curves["expression"]) == {"agreement"}


def test_without_the_judge_expression_is_absent_with_the_reason(tools, monkeypatch):
    def absent():
        raise UserError("pip install it")

    monkeypatch.setattr(judge, "load_judge", absent)
    found = compare.load_tools()
    assert found.judge is None and found.absent["expression"] == "pip install it"


def test_progress_is_called_once_a_frame(truth, tools):
    _, path = truth
    calls = []
    reference = compare.watch_reference(path, tools, lambda: calls.append(1))
    compare.compare(reference, path, tools, lambda: calls.append(1))
    assert len(calls) == 12


def test_other_sizes_lengths_and_rates_are_said(truth, tools, write, monkeypatch):
    frames, path = truth
    reference = compare.watch_reference(path, tools)
    small = compare.compare(reference, write("small.mkv", frames[:4, ::2, ::2]), tools)
    assert small.frames == 4 and len(small.curves["psnr"]["full"]) == 4
    assert small.notes == [
        "resized from 32x32 to 64x64 px",
        "4 frames against the reference's 6: the first 4 were compared",
    ]
    assert small.curves["lmd"]["mouth"].max() == pytest.approx(0, abs=1e-3)
    long = write("long.mkv", np.concatenate([frames, frames[:1]]))
    clip = compare.compare(reference, long, tools)
    assert clip.frames == 6 and "7 frames against" in clip.notes[0]
    slow = video_info(path) | {"fps": 29.97}
    monkeypatch.setattr(compare, "video_info", lambda path: slow)
    clip = compare.compare(reference, path, tools)
    assert clip.notes == ["29.97 fps brought to 25: the nearest picture"]
    assert compare.watch_reference(path, tools).notes == clip.notes


def test_a_black_frame_counts_where_it_can_and_is_said(truth, tools, write):
    frames, path = truth
    frames = frames.copy()
    frames[3] = 0
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, write("black.mkv", frames), tools)
    assert clip.curves["psnr"]["full"][3] < 10 and clip.frames == 6
    assert (
        np.isnan(clip.curves["lmd"]["face"]).tolist()
        == [False] * 3 + [True] + [False] * 2
    )
    assert len(clip.notes) == 1 and "no face in 1 of 6 frames" in clip.notes[0]
    dark = compare.compare(reference, write("dark.mkv", frames * 0), tools)
    assert "lmd" not in dark.curves and dark.values == {}
    assert "absent: " in dark.notes[0] and "a face in 0 of 6" in dark.notes[0]


def test_what_has_no_sound_is_said(truth, tools, monkeypatch):
    _, path = truth

    def silent(path):
        raise UserError(f"{path}: no sound track")

    monkeypatch.setattr(compare, "load_audio", silent)
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, path, tools)
    assert reference.values == clip.values == {}
    assert clip.notes == [f"sync is absent: {path}: no sound track"]


def test_a_damaged_video_is_no_video_without_a_face(truth, tools, tmp_path):
    _, path = truth
    reference = compare.watch_reference(path, tools)
    half = tmp_path / "half.mkv"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(UserError, match="half.mkv"):
        compare.compare(reference, half, tools)


def test_another_shape_is_refused(truth, write):
    frames, path = truth
    wide = write("wide.mkv", frames[:, :32])
    with pytest.raises(UserError, match="64x32 px, expected the reference's 64x64"):
        compare.check_shape(wide, video_info(path))


def test_without_a_face_model_landmarks_are_absent_with_the_reason(truth, monkeypatch):
    def absent(path):
        raise UserError("no face model anywhere")

    monkeypatch.setattr(compare, "find_model", absent)
    tools = compare.load_tools()
    _, path = truth
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, path, tools)
    assert set(clip.curves["psnr"]) == {"full"} and "lmd" not in clip.curves
    assert any("no face model" in why for why in tools.absent.values())
    with pytest.raises(UserError):
        compare.load_tools(face_model="given.task")


def test_networks_are_shown_some_frames(truth, tools, write):
    frames, path = truth
    made = tools.networks._replace(
        lpips=lambda true, image: float(image.mean() - true.mean()),
        inception=lambda frame: frame.mean((0, 1)),
    )
    tools = tools._replace(networks=made)
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, write("near.mkv", frames + 1), tools)
    assert clip.curves["lpips"]["full"] == pytest.approx([1, 1])  # frames 0 and 5
    assert len(clip.features) == len(clip.true_features) == 2
