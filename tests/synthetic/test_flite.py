"""A synthesiser that is not ours is asked, and its answer read."""

import shutil

import numpy as np
import pytest

from emogene_jax.signals import UserError
from emogene_jax.synthetic import flite


def test_phones_follow_one_another():
    told = "pau:0.193 b:0.224 aa:0.435 \n"
    assert flite.phones(told) == [
        ("pau", 0.0, 0.193),
        ("b", 0.193, 0.224),
        ("aa", 0.224, 0.435),
    ]


def test_without_flite_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="flite: not found"):
        flite.say("bob", "slt")


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_what_it_says_is_as_long_as_its_phones():
    waveform, phones = flite.say("Bob made my map.", "slt")
    assert [phone.name for phone in phones if phone.name in flite.LIPS] == list(
        "bbmmmp"
    )
    assert len(waveform) / 16000 == pytest.approx(phones[-1].end, abs=0.1)
    assert np.abs(waveform).max() > 0.05
