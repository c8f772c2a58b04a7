"""The built-in expert on videos, and what it can't judge."""

from itertools import islice

import numpy as np
import pytest

from emogene_jax.audio.features import audio_features
from emogene_jax.audio_to_motion.generic import built_in_expert, sync_of
from emogene_jax.audio_to_motion.lip_sync import clip_sync
from emogene_jax.corpora.watch import Seen
from emogene_jax.evaluate import lip_sync
from emogene_jax.evaluate.metrics import lmd
from emogene_jax.motion_to_emotion.expressions import canonical_rest
from emogene_jax.signals import Camera, Pose, UserError, motion_to_landmarks
from emogene_jax.synthetic.takes import make_take


def seen(motion):
    """A face that moves so, [T, 68, 3] or [T, 204] in eye distances."""
    count = len(motion)
    landmarks = motion_to_landmarks(motion.reshape(count, 68, 3), canonical_rest())
    pose = Pose(np.eye(3)[None].repeat(count, 0), np.zeros((count, 3)))
    return Seen(landmarks, np.ones(count, bool), pose, Camera(1, 1, 1, 1), 25.0)


def test_shifted_lips_are_found():
    """Of the synthetic world, whose mouths are no people's."""
    takes = [make_take(0, 7, n) for n in range(4)]
    waveform = np.concatenate([take.waveform for take in takes])
    motion = np.concatenate([take.neutral_motion for take in takes])
    found = lip_sync.lip_sync(waveform, seen(motion), "clip.mp4")
    assert found["confidence"] > 0.02
    early = np.roll(motion, -5, axis=0)  # lips are early: the sound is late
    late = lip_sync.lip_sync(waveform, seen(early), "clip.mp4")
    assert late["offset"] == found["offset"] + 5
    # At its own offset a shifted clip is as near as before.
    assert late["distance"] == pytest.approx(found["distance"], abs=0.02)


def test_silence_and_short_clips_are_said():
    take = make_take(0, 7, 0)
    with pytest.raises(UserError, match="clip.mp4: its sound is silent"):
        lip_sync.lip_sync(0 * take.waveform, seen(take.neutral_motion), "clip.mp4")
    with pytest.raises(UserError, match="too short"):
        lip_sync.lip_sync(take.waveform, seen(take.neutral_motion[:20]), "clip.mp4")


def test_filmed_lips_with_their_own_sound_late_or_another(shared):
    """Eight seconds of a man whom the expert has not learned from."""
    from emogene_jax.audio.load import load_audio
    from emogene_jax.corpora.watch import seen_of
    from emogene_jax.face.tracking import track_video
    from emogene_jax.media.video import iter_frames

    video = shared / "data" / "portrait" / "german_20s.mp4"
    model = shared / "data" / "models" / "face_landmarker.task"
    track = track_video(islice(iter_frames(video), 200), model)
    face = seen_of(track, (512, 512), 25.0, model)
    sound, length = load_audio(video), 200 * 640
    late = np.concatenate([np.zeros(5 * 640, np.float32), sound])[:length]
    heard = {"own": sound[:length], "late": late, "other": sound[-length:]}
    found = {name: lip_sync.lip_sync(x, face, name) for name, x in heard.items()}
    assert found["own"]["offset"] == 0 and found["late"]["offset"] == 5
    assert found["other"]["confidence"] < 0.6 * found["own"]["confidence"]
    assert found["own"]["distance"] < found["other"]["distance"]


def test_distance_is_between_embeddings_of_length_one():
    rng = np.random.default_rng(0)
    audio, mouth = rng.normal(size=(2, 40, 7))
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    mouth /= np.linalg.norm(mouth, axis=1, keepdims=True)
    audio[4:] = mouth[:-4]  # the sound is late by 4
    found = clip_sync(audio, mouth)
    assert found.offset == 4 and found.distance == pytest.approx(0, abs=1e-6)
    audio[4:] = mouth[:-4] + 0.3 * audio[4:]
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    blurred = clip_sync(audio, mouth)
    lengths = [np.linalg.norm(audio[t + 4] - mouth[t]) for t in range(36)]
    assert blurred.distance == pytest.approx(np.mean(lengths), abs=1e-6)


def test_lse_against_slow_loops():
    rng = np.random.default_rng(0)
    lips, audio = rng.normal(size=(2, 12, 6))
    audio[3:] = lips[:-3] + 0.1 * rng.normal(size=(9, 6))  # the sound is late by 3
    means = {}
    for late in range(-5, 6):
        apart = []
        for t in range(12):
            there = 0 <= t + late < 12
            heard = audio[t + late] if there else np.zeros(6)
            apart.append(np.sqrt(sum((lips[t] - heard + 1e-6) ** 2)))
        means[late] = np.mean(apart)
    found = lip_sync.lse(lips, audio, furthest=5)
    assert found["offset"] == min(means, key=means.get) == 3
    assert found["lse_d"] == pytest.approx(means[3])
    assert found["lse_c"] == pytest.approx(np.median(list(means.values())) - means[3])


def test_lse_is_syncnets_own():
    """Against the distances of its authors' code, in PyTorch."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    lips, audio = rng.normal(size=(2, 40, 8)).astype(np.float32)
    one, other = torch.from_numpy(lips), torch.from_numpy(audio)
    padded = torch.nn.functional.pad(other, (0, 0, 15, 15))
    apart = torch.nn.functional.pairwise_distance
    rows = [apart(one[i : i + 1].repeat(31, 1), padded[i : i + 31]) for i in range(40)]
    means = torch.stack(rows, 1).mean(1)
    found = lip_sync.lse(lips, audio)
    assert found["lse_d"] == pytest.approx(float(means.min()), abs=1e-4)
    assert found["lse_c"] == pytest.approx(
        float(means.median() - means.min()), abs=1e-4
    )


@pytest.fixture(scope="module")
def syncnet():
    """SyncNet in PyTorch, as its authors write it, with random parameters."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def dense():
        layers = (
            nn.Linear(512, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, 1024),
        )
        return nn.Sequential(*layers)

    def part(conv, norm):
        return [conv, norm(conv.out_channels), nn.ReLU()]

    def conv2(*sizes, padding=1):
        return part(nn.Conv2d(*sizes, padding=padding), nn.BatchNorm2d)

    def conv3(*sizes, stride=1, padding=(0, 1, 1)):
        made = nn.Conv3d(*sizes, stride=stride, padding=padding)
        return part(made, nn.BatchNorm3d)

    half = {"kernel_size": (1, 3, 3), "stride": (1, 2, 2)}
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {
            "netcnnaud": nn.Sequential(
                *conv2(1, 64, 3),
                nn.MaxPool2d(1, 1),
                *conv2(64, 192, 3),
                nn.MaxPool2d(3, (1, 2)),
                *conv2(192, 384, 3),
                *conv2(384, 256, 3),
                *conv2(256, 256, 3),
                nn.MaxPool2d(3, 2),
                *conv2(256, 512, (5, 4), padding=0),
            ),
            "netcnnlip": nn.Sequential(
                *conv3(3, 96, (5, 7, 7), stride=(1, 2, 2), padding=0),
                nn.MaxPool3d(**half),
                *conv3(96, 256, (1, 5, 5), stride=(1, 2, 2)),
                nn.MaxPool3d(**half, padding=(0, 1, 1)),
                *conv3(256, 256, (1, 3, 3)),
                *conv3(256, 256, (1, 3, 3)),
                *conv3(256, 256, (1, 3, 3)),
                nn.MaxPool3d(**half),
                *conv3(256, 512, (1, 6, 6), padding=0),
            ),
            "netfcaud": dense(),
            "netfclip": dense(),
        }
    )
    for name, values in net.state_dict().items():
        if name.endswith("running_var"):
            values.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            values.normal_(0, 0.3)
    return net.eval()


def test_syncnet_embeds_as_pytorch_does(syncnet, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(syncnet.state_dict(), tmp_path / lip_sync.SYNCNET)
    state = lip_sync.SyncNet(tmp_path / lip_sync.SYNCNET)._state
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (2, 3, 5, 224, 224)).astype(np.float32)
    sound = rng.normal(size=(2, 1, 13, 20)).astype(np.float32)
    with torch.no_grad():
        lips = syncnet["netcnnlip"](torch.from_numpy(pictures)).flatten(1)
        lips = syncnet["netfclip"](lips).numpy()
        heard = syncnet["netcnnaud"](torch.from_numpy(sound)).flatten(1)
        heard = syncnet["netfcaud"](heard).numpy()
    np.testing.assert_allclose(lip_sync.embed_lips(state, pictures), lips, atol=1e-4)
    np.testing.assert_allclose(lip_sync.embed_sound(state, sound), heard, atol=1e-4)


def test_syncnet_reads_a_checkpoint_and_refuses_others(syncnet, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(lip_sync, "_BATCH", 2)  # five windows: the last is padded
    # As its authors' file is: of a PyTorch that kept no count of batches.
    kept = {k: v for k, v in syncnet.state_dict().items() if "num_batches" not in k}
    old = {"_use_new_zipfile_serialization": False}
    torch.save(kept, tmp_path / lip_sync.SYNCNET, **old)
    net = lip_sync.SyncNet(tmp_path / lip_sync.SYNCNET)
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (9, 224, 224, 3), dtype=np.uint8)
    found = net(rng.normal(0, 0.1, 9 * 640), crops)
    assert set(found) == {"lse_c", "lse_d", "offset"} and found["lse_d"] > 0
    with pytest.raises(UserError, match="too short"):
        net(np.zeros(640), crops[:3])
    torch.save({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UserError, match="not SyncNet's parameters"):
        lip_sync.SyncNet(tmp_path / "other")


def test_cepstra_are_those_of_python_speech_features():
    """Its version 0.6 gave these numbers."""
    time = np.arange(3200)
    sound = 8000 * np.sin(0.05 * time) + 3000 * np.sin(0.4 * time * time / 3200)
    # fmt: off
    first = [16.983, 23.276, 15.741, 12.094, 8.647, 4.424, 0.929,
             -3.051, -6.139, -8.741, -9.959, -10.854, -10.976]
    last = [19.818, 2.11, -19.181, 28.519, 50.313, 0.472, -17.171,
            22.977, 22.121, -21.938, -19.969, 8.825, -2.267]
    # fmt: on
    found = lip_sync.mfcc(sound.astype(np.int16))
    assert found.shape == (19, 13)
    np.testing.assert_allclose(found[[0, -1]], [first, last], atol=6e-4)
    assert np.isfinite(lip_sync.mfcc(np.zeros(1000))).all()


def test_mouth_crops_show_the_lower_face():
    frame = np.zeros((100, 100, 3), np.uint8)
    landmarks = np.full((68, 2), 50.0)
    landmarks[0], landmarks[1] = (30, 30), (70, 70)  # a box of 40 about (50, 50)
    frame[30:86, 22:78] = 200  # 1.4 halves to each side; from its top to 1.8 below
    crop = lip_sync.mouth_crop(frame, landmarks)
    assert crop.shape == (224, 224, 3) and crop[3:-3, 3:-3].min() == 200
    frame[:] = 0
    frame[28:88, 20:80] = 200
    frame[30:86, 22:78] = 0
    assert lip_sync.mouth_crop(frame, landmarks)[3:-3, 3:-3].max() == 0


def test_other_sound_is_less_in_sync():
    takes = [make_take(0, 7, n) for n in range(2)]
    expert = built_in_expert()
    heard = [audio_features(t.waveform, expert.content).content for t in takes]
    motion = [t.neutral_motion.reshape(len(t.motion), -1) for t in takes]
    count = min(map(len, motion))
    own = [sync_of(expert, heard[i], motion[i]).confidence for i in (0, 1)]
    other = sync_of(expert, heard[0][: 2 * count], motion[1][:count]).confidence
    assert other < np.mean(own)
    frozen = np.broadcast_to(motion[0][0], motion[0].shape)
    assert sync_of(expert, heard[0], frozen).confidence < 0.1 * np.mean(own)


def test_landmark_distance_sees_frozen_and_wrong_lips():
    """A face that trembles a little is nearer than one that stands still or says another
    sentence; which of these is worse, distance does not tell (sync does)."""
    own, other = (make_take(0, 7, n).neutral_motion[:60] for n in range(2))
    own, other = (100 * x.reshape(60, 68, 3)[..., :2] for x in (own, other))  # px
    noise = np.random.default_rng(0).normal(0, 0.3, own.shape)
    frozen = np.broadcast_to(own[:1], own.shape)
    assert lmd(own, own) == 0
    assert 0 < lmd(own, own + noise) < min(lmd(own, frozen), lmd(own, other))
