"""The benchmark of long speech says something at every length."""

from benchmarks import run_all


def test_twice_the_speech_takes_the_same_memory():
    lines, well = run_all.run("long_speech", tiny=True)
    assert well and [line["seconds"] for line in lines] == [5, 10]
    assert abs(lines[1]["peak_mb"] - lines[0]["peak_mb"]) < 60
