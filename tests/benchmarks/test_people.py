"""The benchmark of people counts specks and pools what came out of each."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def people(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import people

    yield people
    for name in ("people", "create", "portraits", "timing"):
        sys.modules.pop(name, None)


def test_specks_are_isolated_and_not_filmed(people):
    filmed = np.full((2, 40, 40, 3), 100, np.uint8)
    head = np.zeros((2, 40, 40), np.uint8)
    head[:, :20] = 255
    assert people.specks(filmed, filmed, head) == 0
    shown = filmed.copy()
    shown[0, 5, 5] = shown[0, 9, 30] = 200  # two specks on the head
    shown[0, 30, 5] = 200  # one beside it
    assert people.specks(shown, filmed, head) == round(2 / 1.6, 3)
    assert people.specks(shown, shown, head) == 0  # it was filmed
    shown = filmed.copy()
    shown[:, 4:12, 4:12] = 200  # wrong, but no speck
    assert people.specks(shown, filmed, head) == 5  # its four corners


def test_people_are_pooled(people):
    rows = [{"full": 30.0, "mouth": 28.0}, {"full": 34.0, "mouth": 29.0}]
    told = people.pooled(rows)
    assert told["full"] == {"mean": 32.0, "least": 30.0, "most": 34.0}
    assert told["mouth"]["mean"] == 28.5
