"""What a person does: head poses without jumps, a mouth that closes, emotions in time."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emogene_jax import pipeline
from emogene_jax.rigid import rotation_exp, rotation_log
from emogene_jax.signals import AudioFeatures, Posture


def nodding(frames=80):
    """Slow movement with a rest in the middle: no step above 0.02 rad and 0.1 cm."""
    time = np.arange(frames) / 25
    still = np.clip(np.abs(time - 1.6) - 0.4, 0, None) * np.sign(time - 1.6)
    turn = np.stack([0.2 * np.sin(2 * still), 0.15 * still, 0 * still], -1)
    place = np.stack([np.sin(2 * still), 0 * still, -60 + 0 * still], -1)
    return Posture(rotation_exp(turn), place, np.tile(place, 2) / 100)


def steps(pose):
    """The largest turn (rad) and shift (cm) from one frame to the next."""
    pairs = zip(pose.rotation[1:], pose.rotation[:-1], strict=True)
    turns = [np.linalg.norm(rotation_log(b @ a.T)) for b, a in pairs]
    shifts = np.linalg.norm(np.diff(pose.translation, axis=0), axis=-1)
    return max(turns, default=0), max(shifts, default=0)


stretch = st.tuples(st.booleans(), st.integers(1, 60))


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40, deadline=None)
@given(st.lists(stretch, min_size=1, max_size=6), st.integers(0, 9))
def test_heads_never_jump_whatever_is_said(stretches, seed):
    speech = np.concatenate([np.full(n, said) for said, n in stretches])
    source = nodding()
    pose = pipeline.postures(source, speech, seed)
    assert len(pose.rotation) == len(pose.translation) == len(speech)
    # The torso is always where it was with the head's pose.
    np.testing.assert_allclose(pose.torso[:, 3:], pose.translation / 100, atol=1e-9)
    turn, shift = steps(pose)
    # The source's own steps, and those of easing over from one piece to another.
    assert turn < 0.08 and shift < 0.35
    identity = pose.rotation @ pose.rotation.swapaxes(-1, -2)
    np.testing.assert_allclose(
        identity, np.eye(3)[None].repeat(len(speech), 0), atol=1e-6
    )


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_stretches_cover_everything_once(speech):
    speech = np.array(speech)
    found = pipeline._stretches(speech)
    assert found[0][0] == 0 and found[-1][1] == len(speech)
    for (_, stop, talking), (start, _, other) in zip(found, found[1:], strict=False):
        assert stop == start and talking != other
    for start, stop, talking in found:
        if not talking:
            assert not speech[start:stop].any()


def spoken(frames, seed=0, silent=()):
    """Features of somebody who babbles, and is silent in the slices `silent`."""
    rng = np.random.default_rng(seed)
    speech = np.ones(frames, bool)
    for part in silent:
        speech[part] = False
    content = rng.normal(size=(2 * frames, 80)).astype(np.float32)
    return AudioFeatures(content, np.full(2 * frames, 150, np.float32), speech)


@pytest.fixture(scope="module")
def mover(person):
    """The person, with a decoder that is not silent before it has learned."""
    trained = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape) / 10,
        person.audio_to_motion["params"],
    )
    return person._replace(
        audio_to_motion={"params": trained, "aux": person.audio_to_motion["aux"]}
    )


def test_silence_closes_the_mouth(mover):
    quiet = slice(30, 70)
    motion = pipeline.neutral_motion(mover, spoken(100, silent=[quiet]), 0)
    assert motion.shape == (100, 68, 3)
    size = np.abs(motion).max((1, 2))
    assert size[:25].min() > 1e-3 and size[75:].min() > 1e-3
    assert size[45:55].max() < 1e-6
    # It closes over some frames, not at once.
    share = size[30:45] / size[:25].mean()
    assert (np.abs(np.diff(share)) < 0.8).all()


def test_motion_goes_on_where_chunks_meet(mover):
    border = pipeline.CHUNK
    features = spoken(border + 40)
    motion = pipeline.neutral_motion(mover, features, 0)
    assert motion.shape == (border + 40, 68, 3) and np.isfinite(motion).all()
    steps = np.linalg.norm(np.diff(motion, axis=0), axis=-1).mean(-1)
    assert steps[border - 1] <= 1.2 * np.delete(steps, border - 1).max()
    # What is said later does not change what was done before.
    part = AudioFeatures(
        features.content[: 2 * border],
        features.f0[: 2 * border],
        features.speech[:border],
    )
    shorter = pipeline.neutral_motion(mover, part, 0)
    np.testing.assert_allclose(shorter[:400], motion[:400], atol=1e-5)


def test_performing_is_a_function_of_the_seed(mover):
    features = spoken(60, silent=[slice(20, 40)])
    track = [(0.0, "happy", 1.0)]
    first, same, other = (
        pipeline.perform(mover, features, track, seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.motion, same.motion)
    np.testing.assert_array_equal(first.pose.rotation, same.pose.rotation)
    assert np.abs(first.motion - other.motion).max() > 1e-3
    assert first.motion.shape == (60, 68, 3) and len(first.pose.rotation) == 60


def test_emotions_change_when_the_track_says_so(mover):
    features = spoken(100)
    track = [(0.0, "neutral", 1.0), (2.0, "sad", 1.0)]
    mixed = pipeline.perform(mover, features, track).motion
    plain = pipeline.perform(mover, features, track[:1]).motion
    sad = pipeline.perform(mover, features, [(0.0, "sad", 1.0)]).motion
    np.testing.assert_allclose(mixed[:40], plain[:40], atol=1e-6)
    np.testing.assert_allclose(mixed[60:], sad[60:], atol=1e-6)
    assert np.abs(mixed[60:] - plain[60:]).max() > 1e-2


def test_no_intensity_is_no_emotion(mover):
    features = spoken(40)
    none = pipeline.perform(mover, features, [(0.0, "angry", 0.0)]).motion
    other = pipeline.perform(mover, features, [(0.0, "happy", 0.0)]).motion
    np.testing.assert_allclose(none, other, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 100])
def test_idling_moves_lids_and_head_alone(person, frames):
    idle = pipeline.perform_idle(person, frames, seed=1)
    assert idle.motion.shape == (frames, 68, 3)
    assert len(idle.pose.rotation) == frames
    lids = np.zeros(68, bool)
    lids[36:48] = True
    np.testing.assert_array_equal(idle.motion[:, ~lids], 0)
    if frames == 100:
        assert np.abs(idle.motion[:, lids]).max() > 0
        assert np.ptp(idle.pose.translation, axis=0).max() > 0
