"""A prepared portrait comes back as it was saved, and damage is told in a line."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from emogene_jax.portrait import pack
from emogene_jax.portrait.pack import (
    code_pictures,
    load_portrait,
    no_pictures,
    read_stretches,
    save_portrait,
    stretches,
)
from emogene_jax.portrait.schema import Portrait
from emogene_jax.signals import Camera, Pose, UserError

LOSSY = ("frames", "mesh", "content")


def make_portrait(frames=7, size=48, clips=(4, 2, 1), seed=0) -> Portrait:
    """Smooth moving pictures, as a camera gives, and random everything else."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    t = np.arange(frames)[:, None, None]
    blob = np.exp(-(((x - 0.5 - 0.01 * t) ** 2 + (y - 0.4) ** 2) / 0.05))
    matte = (255 * blob).round().astype(np.uint8)
    shades = (0.2 + 0.1 * x + 0.6 * blob)[..., None] * [1.0, 0.8, 0.6]
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    rest_mesh = 5 * normal(478, 3)
    return Portrait(
        frames=(255 * shades).round().astype(np.uint8),
        head_matte=matte,
        torso_matte=matte[:, ::-1],
        background=rng.integers(0, 255, (size, size, 3), np.uint8),
        mesh=rest_mesh + 0.5 * normal(frames, 478, 3),
        landmarks=normal(frames, 68, 3),
        rest_mesh=rest_mesh,
        rest=normal(68, 3),
        pose=Pose(rng.normal(size=(frames, 3, 3)), rng.normal(size=(frames, 3))),
        torso=normal(frames, 6),
        camera=Camera(focal=101.5, cx=24.0, cy=25.0, size=size),
        content=normal(2 * frames, 80),
        f0=normal(2 * frames),
        speech=np.arange(frames) % 2 == 0,
        waveform=rng.integers(-99, 99, 640 * frames).astype(np.int16),
        clip=np.repeat(np.arange(len(clips), dtype=np.int32), clips),
        source_frame=np.arange(frames, dtype=np.int32),
        emotion=np.full(frames, 5, np.int32),
        info={"sources": ["ä.mp4"], "features": "log-mel"},
    )


@pytest.fixture(scope="module")
def portrait():
    return make_portrait()


@pytest.fixture
def folder(portrait, tmp_path):
    save_portrait(portrait, tmp_path / "saved")
    return tmp_path / "saved"


def test_comes_back_elsewhere(portrait, folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    loaded = load_portrait(moved)
    for name, value in portrait._asdict().items():
        if isinstance(value, np.ndarray) and name not in LOSSY:
            np.testing.assert_array_equal(getattr(loaded, name), value, err_msg=name)
            assert getattr(loaded, name).dtype == value.dtype, name
    np.testing.assert_array_equal(loaded.pose.rotation, portrait.pose.rotation)
    np.testing.assert_allclose(loaded.content, portrait.content, rtol=1e-3)
    np.testing.assert_allclose(loaded.mesh, portrait.mesh, atol=2e-3)
    assert loaded.camera == portrait.camera and loaded.info == portrait.info
    error = np.mean((loaded.frames.astype(float) - portrait.frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 44


def test_stretches_stay_within_clips(folder):
    parts = list(read_stretches(folder))
    assert [int(part["start"]) for part in parts] == [0, 4, 6]
    assert [len(part["f0"]) for part in parts] == [8, 4, 2]


def test_stretches_stop_where_frames_are_held_out():
    clip = np.repeat([0, 1, 2], [130, 20, 4])
    whole = [(0, 100), (100, 130), (130, 150), (150, 154)]
    assert stretches(clip) == stretches(clip, 24) == whole
    assert stretches(clip, 14) == [*whole[:2], (130, 140), (140, 150), (150, 154)]


def test_pictures_can_be_left_out(portrait, folder):
    loaded = load_portrait(folder, pictures=False)
    assert loaded.frames.shape == (7, 0, 0, 3) and loaded.head_matte.shape == (7, 0, 0)
    np.testing.assert_array_equal(loaded.landmarks, portrait.landmarks)
    np.testing.assert_array_equal(loaded.background, portrait.background)


def test_pictures_coded_before_come_out_alike(portrait, tmp_path):
    pictures = portrait.frames, portrait.head_matte, portrait.torso_matte
    bare = portrait._replace(**no_pictures(7))
    for _ in range(20):
        began = int(time.time())
        save_portrait(portrait, tmp_path / "saved")
        parts = ([p[a:b] for p in pictures] for a, b in stretches(portrait.clip))
        save_portrait(bare, tmp_path / "other", code_pictures(parts))
        if int(time.time()) == began:  # coded pictures hold the second
            break
    for name in ("portrait.npz", "portrait.json"):
        same = [(tmp_path / made / name).read_bytes() for made in ("saved", "other")]
        assert same[0] == same[1], name


def test_pictures_are_coded_as_they_come(portrait, monkeypatch):
    done, waiting = [], []
    encode = pack._encode
    monkeypatch.setattr(pack, "_encode", lambda p: done.append(1) or encode(p))

    def parts():
        for row in range(20):
            waiting.append(row - len(done) / 3)
            part = slice(row % 7, row % 7 + 1)
            yield (
                portrait.frames[part],
                portrait.head_matte[part],
                portrait.torso_matte[part],
            )

    coded = code_pictures(parts())
    assert len(coded["frames_ends"]) == 20 and max(waiting) <= pack._WAITING


def test_codecs_are_there_before_threads_ask(portrait, monkeypatch):
    """A thread that finds Pillow half-way through finding them fails."""
    Image.init()
    every = dict(Image.SAVE_ALL)
    half = {name: save for name, save in every.items() if name != "AVIF"}
    monkeypatch.setattr(Image, "SAVE_ALL", half)
    monkeypatch.setattr(Image, "init", lambda: half.update(every))
    part = portrait.frames[:2], portrait.head_matte[:2], portrait.torso_matte[:2]
    assert code_pictures([part])["frames_ends"][-1] > 0


def test_replaces_a_portrait_but_no_other_folder(portrait, folder, tmp_path):
    save_portrait(portrait._replace(info={"again": True}), folder)
    assert load_portrait(folder).info == {"again": True}
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="other files"):
        save_portrait(portrait, tmp_path / "mine")


def test_a_failed_save_leaves_nothing(portrait, tmp_path):
    with pytest.raises(TypeError):
        save_portrait(portrait._replace(info={"no json": object()}), tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["absent", "cut", "header", "version", "picture"])
def test_damage_is_told_in_a_line(folder, damage):
    packed, header = folder / "portrait.npz", folder / "portrait.json"
    if damage == "absent":
        packed.unlink()
    elif damage == "cut":
        packed.write_bytes(packed.read_bytes()[:-999])
    elif damage == "header":
        header.write_text("{")
    elif damage == "version":
        header.write_text(header.read_text().replace('"format": 2', '"format": 9'))
    else:
        packed.write_bytes(packed.read_bytes().replace(b"ftypavis", b"ftypnone"))
    with pytest.raises(UserError) as error:
        load_portrait(folder)
    assert "portrait." in str(error.value) and "\n" not in str(error.value)


def test_no_portrait(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="no portrait.json"):
        load_portrait(tmp_path)
    with pytest.raises(UserError, match="no portrait.json"):
        load_portrait(tmp_path / "a.png")


def test_a_portrait_is_told_from_others_whenever_it_was_coded(tmp_path, monkeypatch):
    """Coded pictures hold the time of day."""
    made, other = make_portrait(), make_portrait(seed=1)
    monkeypatch.setattr(pack, "_encode", coded_at(b"noon", pack._encode))
    save_portrait(made, tmp_path / "noon")
    monkeypatch.setattr(pack, "_encode", coded_at(b"night", pack._encode))
    save_portrait(made, tmp_path / "night")
    save_portrait(other, tmp_path / "other")
    found = [pack.portrait_digest(tmp_path / n) for n in ("noon", "night", "other")]
    assert found[0] == found[1] != found[2]


def coded_at(time: bytes, encode):
    return lambda pictures: np.append(encode(pictures), np.frombuffer(time, np.uint8))
