"""The built-in expert on videos, and what it can't judge."""

import numpy as np
import pytest

from emogene_jax.audio.features import audio_features
from emogene_jax.audio_to_motion.generic import built_in_expert, sync_of
from emogene_jax.corpora.watch import Seen
from emogene_jax.evaluate import lip_sync
from emogene_jax.motion_to_emotion.expressions import canonical_rest
from emogene_jax.signals import Camera, Pose, UserError, motion_to_landmarks
from emogene_jax.synthetic.takes import make_take


@pytest.fixture
def shown(monkeypatch):
    """A function: from now on a video has that sound and those lips."""

    def show(waveform, motion):
        count = len(motion)
        landmarks = motion_to_landmarks(motion.reshape(count, 68, 3), canonical_rest())
        pose = Pose(np.eye(3)[None].repeat(count, 0), np.zeros((count, 3)))
        seen = Seen(landmarks, np.ones(count, bool), pose, Camera(1, 1, 1, 1), 25.0)
        monkeypatch.setattr(lip_sync, "load_audio", lambda path: waveform)
        monkeypatch.setattr(lip_sync, "watch", lambda path, face_model: seen)

    return show


def test_shifted_lips_are_found(shown):
    """Of the synthetic world, whose mouths are no people's."""
    takes = [make_take(0, 7, n) for n in range(4)]
    waveform = np.concatenate([take.waveform for take in takes])
    motion = np.concatenate([take.neutral_motion for take in takes])
    shown(waveform, motion)
    found = lip_sync.lip_sync("clip.mp4")
    assert found["confidence"] > 0.02
    shown(waveform, np.roll(motion, -5, axis=0))  # lips are early: the sound is late
    late = lip_sync.lip_sync("clip.mp4")
    assert late["offset"] == found["offset"] + 5


def test_silence_and_short_clips_are_said(shown):
    take = make_take(0, 7, 0)
    shown(0 * take.waveform, take.neutral_motion)
    with pytest.raises(UserError, match="silent"):
        lip_sync.lip_sync("clip.mp4")
    shown(take.waveform, take.neutral_motion[:20])
    with pytest.raises(UserError, match="too short"):
        lip_sync.lip_sync("clip.mp4")


def test_other_sound_is_less_in_sync():
    takes = [make_take(0, 7, n) for n in range(2)]
    expert = built_in_expert()
    heard = [audio_features(t.waveform, expert.content).content for t in takes]
    motion = [t.neutral_motion.reshape(len(t.motion), -1) for t in takes]
    count = min(map(len, motion))
    own = [sync_of(expert, heard[i], motion[i]).confidence for i in (0, 1)]
    other = sync_of(expert, heard[0][: 2 * count], motion[1][:count]).confidence
    assert other < np.mean(own)
