"""One video against its reference, with a tracker and sound that are not real."""

import contextlib
import warnings
from fractions import Fraction

import numpy as np
import pytest

from emogene_jax.evaluate import compare, judge, networks
from emogene_jax.face.tracking import Track
from emogene_jax.media.video import video_info, write_lossless
from emogene_jax.signals import UserError
from tests.media.made import coded, write


@pytest.fixture
def truth(tmp_path):
    """Six grey frames of 64 px with a brighter square."""
    grey = np.full((6, 64, 64, 3), 100, np.uint8)
    grey[:, 20:40, 20:40] = 180
    write_lossless(tmp_path / "truth.mkv", grey)
    return grey, tmp_path / "truth.mkv"


@pytest.fixture
def lossless(tmp_path):
    """A function: a lossless video of frames, so that numbers can be exact."""

    def video(name, frames):
        write_lossless(tmp_path / name, frames)
        return tmp_path / name

    return video


def track(frames, model, name="video", places=None, look=None):
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


def easily_seen(path, model):
    """A first look at one large face."""
    seen = {"faces": 1, "people": 1, "still": 0, "covered": 0, "face_size": 50}
    return compare.video_info(path) | seen


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.setattr(compare, "find_model", lambda path: "model")
    monkeypatch.setattr(compare, "open_tracker", lambda m: contextlib.nullcontext())
    monkeypatch.setattr(compare, "track_video", track)
    monkeypatch.setattr(compare, "seen_of", lambda *_: None)
    monkeypatch.setattr(compare, "first_look", easily_seen)
    said = {"confidence": 0.25, "distance": 0.8, "offset": 2}
    monkeypatch.setattr(compare, "load_audio", lambda path: np.zeros(9999))
    monkeypatch.setattr(compare, "lip_sync", lambda *_: said)
    nothing = networks.Networks(None, None, None, None, {"inception": "no weights"})
    monkeypatch.setattr(networks, "load_networks", lambda weights: nothing)
    monkeypatch.setattr(judge, "load_judge", lambda: None)
    return compare.load_tools()


def test_every_number_of_a_video(truth, tools, lossless):
    frames, path = truth
    reference = compare.watch_reference(path, tools)
    assert reference.values["sync"]["offset"] == 2
    clip = compare.compare(reference, lossless("near.mkv", frames + 1), tools)
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


def test_expression_beside_the_references_own(truth, tools, lossless, tmp_path):
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
    clip = compare.compare(reference, lossless("darker.mkv", darker), tools)
    found = clip.curves["expression"]
    assert found["asked"][0] == pytest.approx(own / 2, abs=0.02)
    assert found["agreement"][0] == pytest.approx(1 - own / 2, abs=0.02)
    assert np.isnan(found["asked"][1]) and np.isnan(found["agreement"][1])
    short = compare.compare(reference, lossless("short.mkv", frames[:4]), tools)
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


def test_other_sizes_lengths_and_rates_are_said(truth, tools, lossless, monkeypatch):
    frames, path = truth
    reference = compare.watch_reference(path, tools)
    small = compare.compare(
        reference, lossless("small.mkv", frames[:4, ::2, ::2]), tools
    )
    assert small.frames == 4 and len(small.curves["psnr"]["full"]) == 4
    assert small.notes == [
        "resized from 32x32 to 64x64 px",
        "4 frames against the reference's 6: the first 4 were compared",
    ]
    assert small.curves["lmd"]["mouth"].max() == pytest.approx(0, abs=1e-3)
    long = lossless("long.mkv", np.concatenate([frames, frames[:1]]))
    clip = compare.compare(reference, long, tools)
    assert clip.frames == 6 and "7 frames against" in clip.notes[0]
    slow = video_info(path) | {"fps": 29.97}
    monkeypatch.setattr(compare, "video_info", lambda path: slow)
    clip = compare.compare(reference, path, tools)
    assert clip.notes == ["29.97 fps, resampled to 25"]
    assert compare.watch_reference(path, tools).notes == clip.notes


def test_a_black_frame_counts_where_it_can_and_is_said(truth, tools, lossless):
    frames, path = truth
    frames = frames.copy()
    frames[3] = 0
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, lossless("black.mkv", frames), tools)
    assert clip.curves["psnr"]["full"][3] < 10 and clip.frames == 6
    assert (
        np.isnan(clip.curves["lmd"]["face"]).tolist()
        == [False] * 3 + [True] + [False] * 2
    )
    assert len(clip.notes) == 1 and "no face in 1 of 6 frames" in clip.notes[0]
    dark = compare.compare(reference, lossless("dark.mkv", frames * 0), tools)
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


def test_another_shape_is_refused(truth, lossless):
    frames, path = truth
    wide = lossless("wide.mkv", frames[:, :32])
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


def test_networks_are_shown_some_frames(truth, tools, lossless):
    frames, path = truth
    made = tools.networks._replace(
        lpips=lambda true, image: float(image.mean() - true.mean()),
        inception=lambda frame: frame.mean((0, 1)),
    )
    tools = tools._replace(networks=made)
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, lossless("near.mkv", frames + 1), tools)
    assert clip.curves["lpips"]["full"] == pytest.approx([1, 1])  # frames 0 and 5
    assert len(clip.features) == len(clip.true_features) == 2


def test_one_person_is_measured_in_both_and_a_small_one_is_found(
    truth, tools, monkeypatch
):
    """The face of whoever is there most is looked for where it is, in the video as in its
    reference, not the larger one's of each frame."""
    _, path = truth
    seen, boxes = [], [[number, 20, 20, 36, 40] for number in (0, 3)]

    def small(path, model):
        several = {"faces": 2, "face_size": 20, "boxes": boxes, "frames": 6}
        return easily_seen(path, model) | several

    def watched(frames, model, name, places, look=None):
        found = track(frames, model, name)
        seen.append((found.points.mean((0, 1))[:2], places))
        return found

    monkeypatch.setattr(compare, "first_look", small)
    monkeypatch.setattr(compare, "track_video", watched)
    reference = compare.watch_reference(path, tools)
    clip = compare.compare(reference, path, tools)
    assert "2 faces: the one who is there most" in reference.notes[0]
    assert not clip.curves["lmd"]["face"].any()
    (left, top, side), _ = reference.where
    assert side == 40 and left <= 20 and top <= 20
    for middle, places in seen:
        np.testing.assert_allclose(middle, side / 2, atol=1)
        np.testing.assert_allclose(places.mean(0) + (left, top), (28, 30), atol=12)
    at = reference.landmarks.mean((0, 1))
    np.testing.assert_allclose(at - (left, top), side / 2, atol=3)


def test_what_a_videos_file_is_like_is_said(truth, tools, tmp_path):
    """And it is compared as a player shows it: of half as many columns, twice as wide."""
    frames, path = truth

    def wide(container, stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    tracks = [(np.zeros((1, 4000), np.float32), 0)] * 2
    write(tmp_path / "late.mp4", frames, tracks, late=0.4)
    coded(tmp_path / "wide.mp4", frames[:, :, ::2], prepare=wide)
    reference = compare.watch_reference(path, tools)
    late = compare.compare(reference, tmp_path / "late.mp4", tools)
    told = "\n".join(late.notes)
    assert "2 sound tracks: the default one" in told and "begins 0.4 s after" in told
    clip = compare.compare(reference, tmp_path / "wide.mp4", tools)
    assert "pixels 2 times as wide as high" in clip.notes[0]
    assert clip.curves["psnr"]["full"].min() > 28
    reference = compare.watch_reference(tmp_path / "wide.mp4", tools)
    assert "pixels 2 times as wide as high" in reference.notes[0]


def test_what_a_sound_is_like_is_said(truth, tools, monkeypatch):
    _, path = truth
    long = Track(np.zeros((90, 478, 3)), np.ones(90, bool), np.ones(90), 0, ())

    def quiet(path):
        warnings.warn(f"{path}: its sound is very quiet (at most -50 dB)", stacklevel=2)
        return np.zeros(16_000)

    monkeypatch.setattr(compare, "load_audio", quiet)
    values, notes = compare._sync(path, long, (64, 64), tools)
    assert values["sync"]["offset"] == 2
    assert notes == [
        "its sound is very quiet (at most -50 dB)",
        "its sound ends after 1.0 s: silent from there on",
    ]


def test_a_reference_that_cannot_be_looked_at_is_said(truth, tools, monkeypatch):
    def still(path, model):
        raise UserError("1 different of 6 pictures")

    monkeypatch.setattr(compare, "first_look", still)
    reference = compare.watch_reference(truth[1], tools)
    assert reference.notes == ["1 different of 6 pictures"] and reference.where is None
