"""A clock counts each second once, for the innermost stage."""

import pytest

from emogene_jax.corpora import clock
from emogene_jax.corpora.clock import Clock


@pytest.fixture
def wait(monkeypatch):
    """wait(s): s seconds pass, of which the processor works half."""
    passed = [0.0]

    def wait(seconds):
        passed[0] += seconds
        return passed[0]

    monkeypatch.setattr(clock, "_now", lambda: (passed[0], passed[0] / 2))
    return wait


def test_an_inner_stage_stops_the_outer_one(wait):
    counted = Clock()
    wait(100)  # of no stage
    with counted.stage("outer"):
        wait(1)
        for _ in counted.each("inner", (wait(3) for _ in range(2))):
            wait(10)
    wait(100)
    with counted.stage("outer"):
        wait(2)
    assert counted.wall == {"outer": 23, "inner": 6}
    assert counted.processor == {"outer": 11.5, "inner": 3}


def test_a_stage_ends_with_its_error(wait):
    counted = Clock()
    with pytest.raises(ValueError), counted.stage("bad"):
        wait(1)
        raise ValueError
    wait(100)
    with counted.stage("good"):
        wait(2)
    assert counted.wall == {"bad": 1, "good": 2}
