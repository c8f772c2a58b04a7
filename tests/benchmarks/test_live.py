"""How late live speech is: the benchmark of it."""

import json
import sys
from pathlib import Path

from emogene_jax.avatar.file import save_avatar


def test_tiny_says_how_late_frames_are(person, tmp_path, monkeypatch, capsys):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    save_avatar(person, tmp_path / "avatar")
    argv = ["live.py", "--avatar", str(tmp_path / "avatar")]
    monkeypatch.setattr(sys, "argv", argv)
    import live

    live.main(tiny=True)
    for name in ("live", "timing"):
        sys.modules.pop(name, None)
    (line,) = (
        json.loads(x) for x in capsys.readouterr().out.splitlines() if x[:1] == "{"
    )
    assert line["benchmark"] == "live" and line["frames"] == 25
    assert line["look_ahead_ms"] == 370 and line["median_ms"] > 300
    assert line["median_ms"] <= line["p95_ms"] <= line["most_ms"]
