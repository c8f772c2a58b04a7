"""A voice is learned from records or from one person's portrait; with an expert that is
trusted, of the same content, or without."""

import warnings

import jax
import numpy as np
import pytest

from emogene_jax.audio.features import LOG_MEL, choose_content
from emogene_jax.audio_to_motion.generic import built_in
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import lip_sync_stage
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate
from emogene_jax.portrait.pack import save_portrait
from emogene_jax.portrait.takes import NEUTRAL, takes_of
from emogene_jax.recipes import audio_to_motion
from emogene_jax.recipes.run import stage_config, train_from_config
from emogene_jax.signals import Pose, UserError, motion_to_landmarks
from emogene_jax.synthetic.records import World, write_synthetic
from emogene_jax.train import checkpoint

FRAMES = 120


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """(folder of records, an expert's (params, aux), its config's record)."""
    folder = tmp_path_factory.mktemp("expert")
    records = write_synthetic(World(0, 2, 1, 1, ("neutral", "happy"), (1.0,)), folder)
    frames = np.zeros((2, 20, 204), np.float32)
    batch = {"content": np.zeros((2, 40, 80), np.float32), "motion": frames}
    init = jax.jit(lip_sync_stage(LipSync(channels=8)).init)
    record = {"model": {"channels": 8}, "content": LOG_MEL}
    return records, init(jax.random.key(0), batch), record


def listening(records, workdir):
    given = {"data": str(records), "frozen.lip_sync": str(workdir)}
    return stage_config("audio_to_motion", "tiny", given)


@pytest.mark.parametrize("loss, trusted", [(0.3, True), (0.65, False), (None, True)])
def test_only_a_trustworthy_expert_is_listened_to(expert, tmp_path, loss, trusted):
    """By its loss on held-out clips, whatever it was where it learned."""
    records, learned, record = expert
    metrics = {"loss": 9.0} if loss is None else {"loss": 0.1, "val_loss": loss}
    record = {"config": record, "metrics": {} if loss is None else metrics}
    checkpoint.write(tmp_path, *learned, record)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        recipe = audio_to_motion.build(listening(records, tmp_path), tmp_path)
    assert (recipe.frozen is not None) == trusted
    ours = [str(one.message) for one in told if "sync loss" in str(one.message)]
    assert len(ours) == (not trusted)
    assert trusted or "0.65 is above 0.6" in ours[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": {"type": "hubert", "channels": 1024}}, "found log_mel of 80 chan"),
        ({"content": None}, "names no channels"),
        ({"model": {"hidden": 3}}, "names no channels"),
    ],
)
def test_an_expert_of_other_content_is_refused(expert, tmp_path, changes, message):
    records, learned, record = expert
    record = {n: v for n, v in (record | changes).items() if v is not None}
    if "content" not in record:  # imported: nobody knows
        learned = ({"hubert_encoder": {}}, {})
        record["model"] = {}
    checkpoint.write(tmp_path, *learned, {"config": record})
    with pytest.raises(UserError, match=message) as error:
        audio_to_motion.build(listening(records, tmp_path), tmp_path)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_expert_that_hears_other_channels_is_refused(expert, tmp_path):
    """Imported, it says nothing of its content; its weights do."""
    records, (params, aux), record = expert
    first = params["hubert_encoder"]["layers_0"]["conv"]["kernel"]
    wide = jax.tree.map(np.asarray, params)
    kernel = np.zeros((first.shape[0], 1024, first.shape[2]), np.float32)
    wide["hubert_encoder"]["layers_0"]["conv"]["kernel"] = kernel
    checkpoint.write(tmp_path, wide, aux, {"config": {"model": record["model"]}})
    with pytest.raises(UserError, match="hears 1024 channels, the data has 80"):
        audio_to_motion.build(listening(records, tmp_path), tmp_path)


def test_the_built_in_expert_is_listened_to_where_it_hears_the_same(filmed, tmp_path):
    content = choose_content("speech_embedding")
    count = len(filmed.clip)
    for name, heard in (("same", content), ("other", LOG_MEL)):
        calm = filmed._replace(
            emotion=np.full_like(filmed.emotion, NEUTRAL),
            content=np.zeros((2 * count, heard["channels"]), np.float32),
            info=filmed.info | {"content": heard},
        )
        save_portrait(calm, tmp_path / name)
        given = {"frozen.lip_sync": "built_in", "holdout_seconds": 0.0}
        config = of_portrait(tmp_path / name, **given)
        recipe = audio_to_motion.build(config, tmp_path / "work")
        assert (recipe.frozen is not None) == (name == "same")


def test_a_persons_voice_keeps_a_share_of_the_generic_one(filmed, tmp_path):
    count = len(filmed.clip)
    calm = filmed._replace(
        emotion=np.full_like(filmed.emotion, NEUTRAL),
        content=np.ones((2 * count, 96), np.float32),
        info=filmed.info | {"content": choose_content("speech_embedding")},
    )
    save_portrait(calm, tmp_path / "portrait")
    given = {"holdout_seconds": 0.0, "generic_share": 0.75}
    config = of_portrait(tmp_path / "portrait", "adapted", **given)
    recipe = audio_to_motion.build(config, tmp_path / "voice")
    start = built_in().trained["params"]
    learned = jax.tree.map(lambda leaf: leaf + 4, recipe.initial[0])
    record = {"config": config.to_dict()}
    place = tmp_path / "voice"
    checkpoint.write(place, learned, recipe.initial[1], record, fixed=recipe.fixed)
    made = audio_to_motion.voice_of(place).trained["params"]
    for before, kept in zip(*map(jax.tree.leaves, (start, made)), strict=True):
        np.testing.assert_allclose(kept, before + 1, rtol=1e-5)


def speaking(filmed, content, motion, clip, **more):
    """A portrait of somebody who moves so, and is heard so."""
    count = len(motion)
    black = np.zeros((count, 32, 32), np.uint8)
    landmarks = motion_to_landmarks(motion, filmed.rest)
    front = np.eye(3)[None].repeat(count, 0), np.tile([0.0, 0, -60], (count, 1))
    told = {
        "frames": black[..., None].repeat(3, -1),
        "head_matte": black,
        "torso_matte": black,
        "mesh": landmarks,
        "landmarks": landmarks,
        "pose": Pose(*front),
        "content": content,
        "f0": np.full(2 * count, 120.0, np.float32),
        "speech": np.ones(count, bool),
        "waveform": np.ones(640 * count, np.int16),
        "clip": clip.astype(np.int32),
        "source_frame": np.arange(count, dtype=np.int32),
        "emotion": np.full(count, NEUTRAL, np.int32),
        "info": {"content": {"type": "log_mel", "channels": content.shape[1]}},
    }
    return filmed._replace(**told | more)


def of_portrait(folder, variant="tiny", **changes):
    return stage_config("audio_to_motion", variant, {"data": str(folder)} | changes)


def test_windows_stay_within_clips_and_the_end_is_held_out(filmed, tmp_path):
    calm = filmed._replace(emotion=np.full_like(filmed.emotion, NEUTRAL))
    save_portrait(calm, tmp_path / "portrait")
    config = of_portrait(tmp_path / "portrait", holdout_seconds=1.0)
    recipe = audio_to_motion.build(config, tmp_path)
    known = len(filmed.clip) - 25
    assert len(recipe.data["motion"]) == known
    assert len(recipe.data["content"]) == len(recipe.data["f0"]) == 2 * known
    starts, clip = recipe.data["start_ok"], filmed.clip[:known]
    assert (clip[starts] == clip[starts + 19]).all()
    assert len(starts) == known - 2 * 19
    (held,) = recipe.val_batches
    assert held["motion"].shape == (1, 20, 204)  # of 25 frames
    heard = filmed.content[2 * known :][:40]
    np.testing.assert_allclose(held["content"][0], heard, atol=2e-2)
    assert config.content.to_dict() == LOG_MEL
    whole = of_portrait(tmp_path / "portrait", holdout_seconds=0.0)
    assert not audio_to_motion.build(whole, tmp_path).val_batches


def test_frames_whose_neutral_motion_nobody_knows_are_left_out(work, filmed, tmp_path):
    """The happy take's sentence was not said neutrally."""
    config = of_portrait(work["portrait"], holdout_seconds=0.0)
    data, takes = audio_to_motion.build(config, tmp_path).data, takes_of(filmed)
    assert 0 < takes.known.sum() < len(takes.known)
    learned = data["motion"].reshape(-1, 68, 3)
    np.testing.assert_allclose(learned, takes.neutral[takes.known], atol=1e-4)
    assert len(data["content"]) == 2 * len(learned)


def test_a_portrait_without_sound_is_refused(filmed, tmp_path):
    mute = filmed._replace(waveform=filmed.waveform[:0])
    save_portrait(mute, tmp_path / "mute")
    with pytest.raises(UserError, match="mute: no sound track, expected speech"):
        audio_to_motion.build(of_portrait(tmp_path / "mute"), tmp_path)


SMALL = {
    "model.hidden": 16,
    "model.latent": 4,
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
    "model.condition": 16,
    "model.flow_hidden": 4,
    "model.flow_layers": 1,
    "model.flow_blocks": 1,
    "batch.frames": (40,),
    "holdout_seconds": 0.0,
}


@pytest.fixture(scope="module")
def speaker(filmed, tmp_path_factory):
    """A mouth that follows its sound, brows that do not, and what was learned of them."""
    rng = np.random.default_rng(0)
    smooth = [
        np.convolve(row, np.ones(5) / 5**0.5, "valid")
        for row in rng.normal(size=(3, FRAMES + 4))
    ]
    motion = np.zeros((FRAMES, 68, 3), np.float32)
    motion[:, 48:68, 1] = 0.05 * smooth[0][:, None]
    motion[:, 17:27, 1] = 0.05 * smooth[2][:, None]
    content = np.stack([smooth[0], smooth[1]], 1).repeat(2, axis=0).astype(np.float32)
    folder = tmp_path_factory.mktemp("person")
    clip = np.repeat([0, 1], [80, 40])
    save_portrait(speaking(filmed, content, motion, clip), folder / "portrait")
    steps = {f"train.{name}": 300 for name in ("steps", "ckpt_steps", "val_steps")}
    variant = f"person,frames={FRAMES}"
    config = of_portrait(folder / "portrait", variant, **SMALL | steps)
    result = train_from_config(config, folder / "voice")
    model = AudioToMotion(**config.model.to_dict())
    trained, f0 = (result.ema_params, result.aux), np.full((1, 2 * FRAMES), 120.0)
    made = jax.jit(
        lambda key, temperature: generate(
            model, *trained, content[None], f0.astype(np.float32), key, temperature
        )[0].reshape(-1, 68, 3)
    )
    return motion, made


@pytest.mark.slow
def test_the_mouth_follows_the_sound(speaker):
    motion, made = speaker
    mean = np.asarray(made(jax.random.key(0), 0.0))
    assert np.corrcoef(mean[:, 60, 1], motion[:, 60, 1])[0, 1] > 0.9
    for seed in range(3):
        lively = np.asarray(made(jax.random.key(seed), 0.5))
        assert np.corrcoef(lively[:, 60, 1], motion[:, 60, 1])[0, 1] > 0.8


@pytest.mark.slow
def test_seeds_differ(speaker):
    motion, made = speaker
    seeds = np.stack([made(jax.random.key(seed), 1.0) for seed in range(6)])
    spread = seeds.std(0)[:, :, 1].mean(0) / motion[:, :, 1].std(0).clip(1e-6)
    assert spread[17:27].mean() > 0.1
