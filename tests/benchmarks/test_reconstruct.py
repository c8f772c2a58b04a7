"""The benchmark of the field's protocol measures what was held out, all of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from emogene_jax.audio.load import load_audio
from emogene_jax.avatar.file import save_avatar
from emogene_jax.evaluate import compare, networks
from emogene_jax.media.video import iter_frames
from emogene_jax.portrait.pack import load_portrait, save_portrait
from emogene_jax.signals import UserError


@pytest.fixture
def bench(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import reconstruct

    yield reconstruct
    for name in ("reconstruct", "create", "portraits", "timing"):
        sys.modules.pop(name, None)


@pytest.fixture
def tools(monkeypatch):
    """Pixels alone."""

    def absent(path):
        raise UserError("no face model anywhere")

    nothing = networks.Networks(None, None, None, None, {"inception": "no weights"})
    monkeypatch.setattr(compare, "find_model", absent)
    monkeypatch.setattr(networks, "load_networks", lambda weights: nothing)
    return compare.load_tools()


def test_what_is_written_comes_back_as_it_was(bench, tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    sound = rng.integers(-9000, 9000, 5 * 640).astype(np.int16)
    file = bench.write(tmp_path / "a.mkv", frames, sound)
    np.testing.assert_array_equal(list(iter_frames(file)), frames)
    np.testing.assert_allclose(load_audio(file) * 32768, sound, atol=1)
    mute = bench.write(tmp_path / "mute.mkv", frames, sound[:0])
    np.testing.assert_array_equal(list(iter_frames(mute)), frames)


def test_a_row_by_speech_and_one_by_tracked_landmarks(
    bench, tools, person, filmed, tmp_path, capsys
):
    total, held = len(filmed.clip), 6
    cut = {"frames": total, "held_out": held}
    info = person.info | {"configs": {"head": {"portrait": cut}}}
    save_avatar(person._replace(info=info), tmp_path / "avatar")
    (tmp_path / "avatar" / "metrics.json").write_text(json.dumps({"train_seconds": 3}))
    save_portrait(filmed, tmp_path / "portrait")
    folders = tmp_path / "avatar", tmp_path / "portrait"
    rows, told = bench.reconstruct(*folders, tmp_path, tools)
    assert set(rows) == {"speech", "tracked"}
    assert told["held_out_frames"] == held and told["training_frames"] == total - held
    assert told["frames_per_second"] > 0 and told["megabytes"] > 0
    shown = np.stack(list(iter_frames(tmp_path / "tracked.mkv")))
    true = load_portrait(tmp_path / "portrait").frames[-held:].astype(float)
    errors = ((shown - true) ** 2).mean((1, 2, 3))
    expected = np.mean(10 * np.log10(255**2 / errors))
    assert rows["tracked"]["psnr"]["full"] == pytest.approx(expected, abs=1e-3)
    assert set(rows["speech"]["psnr"]) == {"full", "head"}
    bench.show(rows, told)
    text = capsys.readouterr().err
    assert "PSNR head" in text and "TalkingGaussian" in text and "3 s;" in text


def test_published_rows_have_all_their_columns(bench):
    for title, (header, *rows) in bench.PUBLISHED.items():
        assert rows and all(len(row) == len(header) for row in rows), title
