import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emogene_jax import parallel
from emogene_jax.audio_to_motion.batch import (
    disturb,
    draw_neighbours,
    draw_starts,
    in_own_reach,
)
from emogene_jax.audio_to_motion.lip_sync import (
    LipSync,
    clip_sync,
    offset_accuracy,
    sync_confidence,
)
from emogene_jax.audio_to_motion.loss import mouth_weights, squared_error
from emogene_jax.audio_to_motion.stage import (
    _spoken,
    audio_to_motion_stage,
    lip_sync_stage,
    pair_losses,
)
from emogene_jax.audio_to_motion.vae import AudioToMotion, generate

FRAMES = 18  # no multiple of the stride
VAE = AudioToMotion(
    hidden=8,
    latent=4,
    encoder_layers=1,
    decoder_layers=1,
    condition=6,
    flow_hidden=4,
    flow_layers=1,
    flow_blocks=1,
    motion_scale=10.0,
)
EXPERT = LipSync(channels=16, motion_scale=10.0)
STAGES = {
    "audio_to_motion": audio_to_motion_stage(
        VAE,
        EXPERT,
        batch_size=3,
        frames=FRAMES,
        spoken_share=0.4,
        content_noise=0.1,
        pitch_dropout=0.3,
        shape_weight=0.2,
        face=np.random.default_rng(1).normal(0, 4, (68, 3)),
    ),
    "lip_sync": lip_sync_stage(EXPERT, batch_size=3, frames=FRAMES),
}


def clip(frames, seed=0):
    """content [2T, 7] and a motion [T, 204] that follows it."""
    rng = np.random.default_rng(seed)
    smooth = np.apply_along_axis(
        np.convolve, 0, rng.normal(size=(frames + 4, 7)), np.ones(5) / 5, "valid"
    )
    motion = 0.1 * smooth @ np.random.default_rng(99).normal(size=(7, 204)) / 7**0.5
    content = np.repeat(2 * smooth, 2, axis=0)
    return content.astype(np.float32), motion.astype(np.float32)


def make_batch(size=3, frames=FRAMES):
    clips = [clip(frames, seed) for seed in range(size)]
    return {
        "content": jnp.stack([content for content, _ in clips]),
        "f0": jnp.full((size, 2 * frames), 120.0),
        "blink": jnp.zeros((size, frames), jnp.int32),
        "motion": jnp.stack([motion for _, motion in clips]),
        "mask": jnp.ones((size, frames)),
        "speaker": jnp.arange(size) % 2,
    }


@pytest.fixture(scope="module")
def expert():
    params, aux = jax.jit(STAGES["lip_sync"].init)(jax.random.key(0), make_batch())
    return {"params": params, "aux": aux}


@pytest.fixture(scope="module")
def gradients():
    """name -> a compiled value_and_grad of the stage's loss."""
    return {
        name: jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
        for name, stage in STAGES.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_twenty_steps_lower_the_loss(name, gradients, expert):
    stage, batch = STAGES[name], make_batch()
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch)
    frozen = expert if name == "audio_to_motion" else None
    key = jax.random.key(0)
    optimiser = optax.adam(1e-2)
    state = jax.jit(optimiser.init)(params)

    @jax.jit
    def update(params, grads, state):
        updates, state = optimiser.update(grads, state)
        return optax.apply_updates(params, updates), state

    losses = []
    for _ in range(20):
        (loss, (aux, _)), grads = gradients[name](params, aux, frozen, batch, key, 0)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
        params, state = update(params, grads, state)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", STAGES)
def test_padding_has_no_influence(name, gradients, expert):
    stage, batch = STAGES[name], make_batch()
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch)
    frozen = expert if name == "audio_to_motion" else None
    batch["mask"] = batch["mask"].at[1, 11:].set(0)
    other = dict(
        batch,
        content=batch["content"].at[1, 22:].set(9.0),
        f0=batch["f0"].at[1, 22:].set(300.0),
        motion=batch["motion"].at[1, 11:].set(-5.0),
        blink=batch["blink"].at[1, 11:].set(1),
    )
    args = (jax.random.key(1), 0)
    (a, (aux_a, _)), grads_a = gradients[name](params, aux, frozen, batch, *args)
    (b, (aux_b, _)), grads_b = gradients[name](params, aux, frozen, other, *args)
    jax.tree.map(
        np.testing.assert_array_equal, (a, aux_a, grads_a), (b, aux_b, grads_b)
    )


@pytest.fixture(scope="module")
def judged(expert):
    """name -> (a compiled evaluate of the stage, its params, learned statistics)."""
    found, rng = {}, np.random.default_rng(0)

    def moved(statistic):
        # As after a while of learning: no longer what a stage begins with.
        return statistic + rng.uniform(-0.2, 0.2, statistic.shape)

    for name, stage in STAGES.items():
        params, aux = jax.jit(stage.init)(jax.random.key(0), make_batch())
        found[name] = jax.jit(stage.evaluate), params, jax.tree.map(moved, aux)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_held_out_clips_are_judged_each_by_itself(name, judged, expert):
    """What one clip adds to a mean does not depend on which others are beside it, and
    nothing is drawn anew."""
    run, params, aux = judged[name]
    frozen = expert if name == "audio_to_motion" else None
    clips = make_batch(4) | {"speaker": jnp.zeros(4, int)}

    def of(*pair):
        return run(
            params, aux, frozen, {n: x[jnp.array(pair)] for n, x in clips.items()}
        )

    first, second, third, fourth = of(0, 1), of(0, 3), of(2, 1), of(2, 3)
    told = "confidence" if name == "lip_sync" else "spoken"
    assert abs(first[told] - second[told]) > 1e-3  # and it does add something
    for metric in first:
        np.testing.assert_allclose(
            first[metric] - second[metric],
            third[metric] - fourth[metric],
            atol=1e-5 * (1 + abs(first[metric])),
            err_msg=metric,
        )
    chex.assert_trees_all_equal(of(0, 1), first)


@pytest.mark.parametrize("name", STAGES)
def test_held_out_clips_are_judged_by_running_statistics(
    name, judged, expert, gradients
):
    """Not by the batch's own, as clips are that are learned from."""
    run, params, aux = judged[name]
    frozen = expert if name == "audio_to_motion" else None
    other = jax.tree.map(lambda x: 1.1 * x, aux)
    found, moved = (run(params, a, frozen, make_batch()) for a in (aux, other))
    learned = [
        gradients[name](params, a, frozen, make_batch(), jax.random.key(1), 0)[0]
        for a in (aux, other)
    ]
    told = "loss" if name == "lip_sync" else "motion"
    if name == "lip_sync":
        (first, _), (second, _) = learned
    else:
        first, second = (metrics["motion"] for _, (_, metrics) in learned)
    assert abs(found[told] - moved[told]) > 1e-3 * abs(found[told])
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert abs(found[told] - first) > 1e-3 * abs(first)


def test_a_voice_is_judged_by_what_it_makes_of_sound_alone(judged, expert):
    run, params, aux = judged["audio_to_motion"]
    batch = make_batch()
    key = jax.random.key(5)  # of no influence
    made = generate(VAE, params, aux, batch["content"], batch["f0"], key, 0.0)
    found = run(params, aux, None, batch)
    assert "sync" not in found
    weights = mouth_weights(1.0)
    terms = made * VAE.motion_scale, batch["motion"] * VAE.motion_scale, batch["mask"]
    np.testing.assert_allclose(
        found["spoken"], squared_error(*terms, weights), rtol=1e-4
    )
    # The true motion is shown to the posterior alone.
    still = run(params, aux, None, batch | {"motion": 0 * batch["motion"]})
    shown = squared_error(made * VAE.motion_scale, 0 * terms[1], terms[2], weights)
    np.testing.assert_allclose(still["spoken"], shown, rtol=1e-4)
    assert "sync" in run(params, aux, expert, batch)


def test_sync_loss_needs_the_expert(expert, gradients):
    stage, batch = STAGES["audio_to_motion"], make_batch()
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch)
    args = (batch, jax.random.key(1), 0)
    run = gradients["audio_to_motion"]
    (without, (_, metrics)), _ = run(params, aux, None, *args)
    assert "sync" not in metrics
    (with_expert, (_, metrics)), _ = run(params, aux, expert, *args)
    np.testing.assert_allclose(with_expert, without + 0.01 * metrics["sync"], rtol=1e-5)


def test_samples_are_windows_of_the_resident_data():
    content, motion = clip(60)
    resident = {
        "content": jnp.asarray(content),
        "f0": jnp.arange(120.0),
        "motion": jnp.asarray(motion),
        "blink": jnp.arange(60),
        "start_ok": jnp.array([5, 30], jnp.int32),
    }
    sample = jax.jit(STAGES["lip_sync"].sample)
    batch = sample(resident, jax.random.key(0), 3)
    shapes = {name: (x.shape, x.dtype) for name, x in batch.items()}
    expected = {name: (x.shape, x.dtype) for name, x in make_batch().items()}
    expected["content"] = ((3, 36, 7), jnp.float32)
    assert shapes == expected
    seen = set()
    for step in range(8):
        batch = sample(resident, jax.random.key(0), step)
        for i in range(3):
            start = int(batch["blink"][i, 0])
            seen.add(start)
            np.testing.assert_array_equal(batch["f0"][i], np.arange(36) + 2 * start)
            np.testing.assert_array_equal(
                batch["motion"][i], motion[start : start + FRAMES]
            )
    assert seen == {5, 30}
    again = sample(resident, jax.random.key(0), 7)
    np.testing.assert_array_equal(again["f0"], batch["f0"])


def test_pair_losses_know_true_pairs_from_false():
    starts = jnp.array([[0, 1, 9, 30], [0, 2, 12, 40]])
    truth = jnp.eye(8)
    good, metrics = pair_losses(truth, starts, jnp.array([0, 1]))
    bad, _ = pair_losses(1 - truth, starts, jnp.array([0, 1]))
    assert metrics["accuracy"] == 1
    assert good < 1e-3 < 5 < bad
    # Windows one frame apart are neither true nor false, two frames apart false.
    one_off, _ = pair_losses(truth.at[0, 1].set(1.0), starts, jnp.array([0, 1]))
    np.testing.assert_allclose(one_off, good)
    two_off, metrics = pair_losses(truth.at[5, 4].set(1.0), starts, jnp.array([0, 1]))
    assert two_off > good + 0.3
    assert metrics["accuracy"] == 1  # which asks for three
    # Of one speaker's clips, only windows of the same clip are known to be false.
    across = truth.at[0, 5].set(1.0)
    one, _ = pair_losses(across, starts, jnp.array([3, 3]))
    two, _ = pair_losses(across, starts, jnp.array([3, 4]))
    assert one < 1e-3 < two


def test_half_of_the_windows_are_near_another():
    mask = jnp.ones((2, 40)).at[1, 12:].set(0)  # 36 windows, and 8
    starts = draw_starts(jax.random.key(0), mask, 50)
    near = draw_neighbours(jax.random.key(1), mask, starts)
    assert (starts >= 0).all() and (near >= 0).all()
    for clip, room in enumerate((36, 8)):
        assert starts[clip].max() < room and near[clip].max() < room
    distances = np.abs(near - starts)[0]
    assert set(distances.tolist()) == {2, 3, 4, 5}
    assert {-1, 1} <= set(np.sign(near - starts)[0].tolist())


def test_disturbed_sound():
    batch = make_batch(64)
    heard = disturb(jax.random.key(0), batch, 0.5, 0.0, 0.25)
    np.testing.assert_allclose((heard["content"] - batch["content"]).std(), 0.5, 0.02)
    silent = (heard["f0"] == 0).all(1)
    assert 0.1 < silent.mean() < 0.4
    change = (heard["f0"] / batch["f0"])[~silent]
    np.testing.assert_allclose(change, change[:, :1] * np.ones(change.shape), 1e-5)
    assert 0.1 < np.log(change[:, 0]).std() < 0.4
    np.testing.assert_array_equal(heard["motion"], batch["motion"])
    quiet = disturb(jax.random.key(0), batch, 0.5, 0.0, 0.0)
    np.testing.assert_array_equal(quiet["f0"], batch["f0"])
    deaf = disturb(jax.random.key(0), batch, 0.0, 0.25, 0.0)["content"]
    gone = (deaf == 0).all(1)  # of whole clips
    assert 0.15 < gone.mean() < 0.35
    kept = np.where(gone[:, None], 0, batch["content"] / 0.75)
    np.testing.assert_allclose(deaf, kept, 1e-5)


def test_in_its_own_reach_each_mouth_moves_as_far():
    batch = make_batch(8)
    far = dict(batch, motion=3 * batch["motion"])
    one, other = (in_own_reach(each, 0)["motion"] for each in (batch, far))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    # What is hardly a mouth counts as the usual one: nothing explodes.
    still = in_own_reach(dict(batch, motion=1e-6 * batch["motion"]), 25)["motion"]
    assert np.abs(still).max() < 1e-3


@pytest.mark.parametrize("share, expected", [(0.5, 4), (0.25, 2), (1.0, 8), (0.1, 0)])
def test_share_of_clips_that_come_from_speech_alone(share, expected):
    assert _spoken(8, share).sum() == expected


def test_confidence_of_every_window(expert):
    content, motion = clip(30)
    args = (EXPERT, expert["params"], expert["aux"], content)
    whole = sync_confidence(*args, motion.reshape(30, 68, 3))
    mouth = sync_confidence(*args, motion.reshape(30, 68, 3)[:, 48:68])
    assert whole.shape == (26,)
    np.testing.assert_allclose(whole, mouth, atol=1e-6)
    assert (whole >= 0).all() and (whole <= 1 + 1e-6).all()
    part = sync_confidence(EXPERT, *args[1:3], content[8:18], motion[4:9])
    np.testing.assert_allclose(part, whole[4:5], atol=1e-5)


def test_offset_accuracy():
    audio = jnp.eye(12)
    assert (offset_accuracy(audio, audio) == 1).all()
    late = jnp.roll(audio, 4, axis=0)  # each audio's mouth is four windows later
    assert (offset_accuracy(audio, late) < 1).any()


@pytest.mark.parametrize("late", [-15, -3, 0, 7])
def test_offset_of_a_clip(late):
    windows = np.eye(100, dtype=np.float32)
    found = clip_sync(np.roll(windows, late, 0), windows)
    assert found.offset == late
    assert found.confidence > 0.8
    assert clip_sync(windows, 0 * windows).confidence == 0
    assert clip_sync(windows[:20], windows[:20]) is None


def test_pictures_show_what_is_valid_and_move(expert):
    batch = make_batch() | {"mask": jnp.ones((3, FRAMES)).at[0, 12:].set(0)}
    stage = STAGES["audio_to_motion"]
    params, aux = jax.jit(stage.init)(jax.random.key(0), batch)
    shown = stage.images(params, aux, None, batch)
    assert shown["motion"].dtype == np.uint8 and shown["motion"].shape[0] == 12
    assert np.abs(np.diff(shown["motion"].astype(int), axis=0)).max() > 100
    found = STAGES["lip_sync"].images(expert["params"], expert["aux"], None, batch)
    assert found["confidence"].shape[0] == 4 * (12 - 4)


@pytest.mark.parametrize("name", STAGES)
def test_eight_accelerators_learn_what_a_cpu_does(
    name, expert, on_an_accelerator, use_devices
):
    stage, batch = STAGES[name], make_batch(8)
    told = jax.jit(stage.init)(jax.random.key(0), batch)
    told = *told, expert if name == "audio_to_motion" else None

    def gradient(*told):
        return jax.grad(stage.loss, has_aux=True)(*told, jax.random.key(1), 0)[0]

    before = jax.jit(gradient)(*told, batch)
    on_an_accelerator()
    use_devices(8)
    placed = *parallel.replicate(told), parallel.shard_batch(batch)
    step = parallel.data_parallel(gradient, donate=()).lower(*placed).compile()
    before, after = jax.device_get((before, step(*placed)))
    difference = optax.tree.norm(optax.tree.sub(before, after))
    assert difference < 1e-4 * optax.tree.norm(before)
    # The expert compares every sound with every mouth of the batch.
    sent = r" (all-gather|all-to-all|collective-permute)\("
    assert name == "lip_sync" or not re.search(sent, step.as_text())
