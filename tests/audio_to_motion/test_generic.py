"""The built-in voice is there, small, and hears what is always at hand; a person's reach
is how far their mouth moves beside it."""

import jax
import numpy as np
import pytest

from emogene_jax.audio.features import audio_features, choose_content
from emogene_jax.audio.speech_embedding import COMPONENTS
from emogene_jax.audio_to_motion import generic
from emogene_jax.audio_to_motion.generic import (
    EXPERT_FILE,
    FILE,
    as_far,
    between,
    built_in,
    built_in_expert,
    spoken_motion,
)
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.synthetic.takes import make_take

BUILT_IN = (FILE, EXPERT_FILE, COMPONENTS)


def test_it_is_small_and_hears_the_speech_embedding():
    assert sum(file.stat().st_size for file in BUILT_IN) <= 3_000_000
    for model in (built_in(), built_in_expert()):
        assert model.content == choose_content("speech_embedding")
        leaves = jax.tree.leaves(model.trained)
        assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in leaves)


def test_a_mouth_that_it_never_saw_follows_a_voice_that_it_never_heard():
    """Even of the synthetic world, whose voices are no people's."""
    fits = []
    for speaker in range(3):
        take = make_take(0, 900 + speaker, 900 + speaker)
        heard = audio_features(take.waveform, built_in().content)
        made = np.asarray(mouth_shape(spoken_motion(built_in(), *heard[:2])))
        true = take.neutral_motion.reshape(len(made), -1)
        fits.append(np.corrcoef(made[:, 0], np.asarray(mouth_shape(true))[:, 0])[0, 1])
    assert np.mean(fits) > 0.3


def test_padding_changes_nothing():
    take = make_take(0, 1, 1)
    heard = audio_features(take.waveform, built_in().content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generic, "PIECE", 4)
        one = spoken_motion(built_in(), heard.content, heard.f0)
    other = spoken_motion(built_in(), heard.content, heard.f0)
    # Beyond the end its last sound goes on, and reaches back a little.
    np.testing.assert_allclose(one[:-20], other[:-20], atol=1e-3)


def test_written_and_read_again(tmp_path, monkeypatch):
    file = tmp_path / "voice.safetensors"
    for model, kept in ((built_in(), FILE), (built_in_expert(), EXPERT_FILE)):
        generic.write_built_in(model, file)
        assert file.read_bytes() == kept.read_bytes()


def test_between_what_it_was_and_what_it_learned():
    start, learned = {"params": {"a": np.zeros(2)}}, {"params": {"a": np.ones(2)}}
    np.testing.assert_allclose(between(start, learned, 0.25)["params"]["a"], 0.75)


def test_as_far_as_the_person_moves():
    take = make_take(0, 1, 1)
    heard = audio_features(take.waveform, built_in().content)[:2]
    made = spoken_motion(built_in(), *heard).reshape(-1, 68, 3)
    theirs = made * np.array([2.0, 3.0, 3.0], np.float32)
    voice = as_far(built_in(), *heard, theirs.reshape(len(made), -1))
    assert voice.sizes["reach_wide"] == pytest.approx(2, rel=1e-3)
    assert voice.sizes["reach_high"] == pytest.approx(3, rel=1e-3)
    further = spoken_motion(voice, *heard).reshape(-1, 68, 3)
    np.testing.assert_allclose(further, theirs, rtol=1e-2, atol=1e-4)
    # It is then as far, and stays so.
    again = as_far(voice, *heard, theirs.reshape(len(made), -1))
    assert again.sizes["reach_high"] == pytest.approx(3, rel=1e-2)
    # Of a face that was lost nothing is believed.
    still = as_far(built_in(), *heard, 0 * theirs.reshape(len(made), -1))
    assert still.sizes["reach_high"] == generic.NARROWEST
