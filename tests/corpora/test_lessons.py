"""Lips of synthetic speakers close where a phone says so, and nothing else changes."""

import numpy as np

from emogene_jax.audio_to_motion.generic import built_in
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.corpora import clips, lessons, portrait_videos
from emogene_jax.signals import landmarks_to_motion
from emogene_jax.synthetic.flite import Phone
from emogene_jax.synthetic.motion import identity
from emogene_jax.synthetic.takes import make_take


def test_lips_are_shut_for_as_long_as_a_phone_lasts():
    phones = [Phone("ah", 0.0, 0.4), Phone("p", 0.4, 0.48), Phone("t", 0.6, 0.7)]
    shut = lessons.closure(phones, 25)
    np.testing.assert_allclose(shut[9:14], [0, 1, 1, 1, 0], atol=1e-6)
    assert not shut[14:].any()


def test_the_shortest_phone_closes_a_frame():
    shut = lessons.closure([Phone("b", 0.41, 0.42)], 20)
    assert shut.max() > 0.85 and (shut > 0).sum() <= 3


def test_closed_lips_meet_and_open_ones_stay():
    motion = np.random.default_rng(0).normal(0, 0.02, (30, 68, 3)).astype(np.float32)
    shut = np.r_[np.zeros(10), np.full(10, 0.5), np.ones(10)]
    made = lessons.closed_lips(motion, shut)
    np.testing.assert_array_equal(made[:10], motion[:10])
    np.testing.assert_array_equal(made[..., [0, 2]], motion[..., [0, 2]])
    flat = (each.reshape(30, -1) for each in (motion, made))
    before, after = (np.asarray(mouth_shape(each))[:, 0] for each in flat)
    assert after[20:].max() < 1e-6
    open_lips = before > 0
    np.testing.assert_allclose(after[~open_lips], before[~open_lips])
    half = open_lips[10:20]
    np.testing.assert_allclose(after[10:20][half], before[10:20][half] / 2, atol=1e-6)


def test_lessons_are_clips_to_train_on(monkeypatch, tmp_path):
    take = make_take(0, 0, 0)
    phones = [Phone("b", 0.5, 0.6), Phone("s", 0.6, 1.2)]
    monkeypatch.setattr(lessons, "say", lambda text, speaker: (take.waveform, phones))
    lessons.write_lessons(built_in(), ["awb"], ["one", "two"], tmp_path)
    paths = clips.kept_paths(tmp_path, clips.DONE)
    labels = [portrait_videos.labels(path) for path in paths]
    assert [each.identity for each in labels] == ["flite_awb"] * 2
    assert {each.split for each in labels} == {"train"}
    clip = clips.read_clip(tmp_path, paths[0])
    frames = len(clip["found"])
    assert clip["content"].shape == (2 * frames, 96) and len(clip["f0"]) == 2 * frames
    motion = landmarks_to_motion(clip["landmarks"], identity(0))
    opening = np.asarray(mouth_shape(motion.reshape(frames, -1)))[:, 0]
    assert opening[13:15].max() < 1e-3 and np.isfinite(motion).all()
