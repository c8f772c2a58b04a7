"""Official checkpoints through `emogene import`: the same numbers, and one line where
that can't be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from emogene_jax import cli
from emogene_jax.audio_to_motion.import_weights import official_name
from emogene_jax.audio_to_motion.initial import initial_variables
from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.vae import AudioToMotion
from emogene_jax.commands.create import heard_content
from emogene_jax.motion_to_emotion.deformation import deform
from emogene_jax.recipes import audio_to_motion
from emogene_jax.recipes.audio_to_motion import voice_of
from emogene_jax.recipes.motion_to_emotion import load_deformation
from emogene_jax.signals import UserError
from emogene_jax.train import checkpoint

GOLDEN = {"audio_to_motion": "vae", "lip_sync": "sync", "motion_to_emotion": "ldm"}
TOLERANCE = 1e-4


def run(path, stage, out, *more):
    command = ["import", str(path), "--stage", stage, "--out", str(out), *more]
    return cli.main(command)


def refused(capsys, *args) -> str:
    """The one line with which an import is refused."""
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert len(error) < 900
    return error


def expert_state(content: int = 80) -> dict[str, np.ndarray]:
    """A small lip-sync expert under the official names."""
    params, aux = initial_variables(
        LipSync(channels=8),
        jax.random.key(0),
        jnp.zeros((1, 10, content)),
        jnp.zeros((1, 5, 60)),
    )
    flat = traverse_util.flatten_dict({"params": params, **aux})
    return {
        official_name(path[1:]): np.ascontiguousarray(
            np.asarray(value).T if path[-1] == "kernel" else value
        )
        for path, value in flat.items()
    }


def deformation_state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"emotion_embedding.weight": (8, 16)}
    for layer, (out, size) in {0: (5, 220), 2: (5, 5), 4: (204, 5)}.items():
        shapes[f"regressor.{layer}.weight"] = (out, size)
        shapes[f"regressor.{layer}.bias"] = (out,)
    return {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def golden(shared, tmp_path_factory):
    """imported(stage, kind): (a work directory, inputs and outputs)."""
    folder, made = tmp_path_factory.mktemp("imported"), {}

    def imported(stage, kind):
        source = shared / "golden" / f"{GOLDEN[stage]}.safetensors"
        if not source.exists():
            pytest.skip(f"no golden/{source.name} in {shared}")
        if (stage, kind) not in made:
            out = folder / f"{stage}-{kind}"
            if kind == "trainer":
                source = saved_by_the_trainer(folder / stage, load_file(source))
            assert run(source, stage, out, "--unit-per-eye-distance", "9") == 0
            made[stage, kind] = out
        name = f"{GOLDEN[stage]}_io.npz"
        with np.load(shared / "golden" / name, allow_pickle=False) as arrays:
            return made[stage, kind], dict(arrays)

    return imported


def saved_by_the_trainer(folder, state):
    """A folder as the official trainer leaves it, old checkpoint and new."""
    torch = pytest.importorskip("torch")
    folder.mkdir()
    tensors = {f"module.{k}": torch.from_numpy(v.copy()) for k, v in state.items()}
    whole = {
        "state_dict": {"model": tensors, "other": {"weight": torch.zeros(3)}},
        "global_step": 40_000,
        "checkpoint_callback_best": np.float64(0.5),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
    }
    for name in ("model_ckpt_steps_40000.ckpt", "model_ckpt_steps_8000.ckpt"):
        torch.save(whole, folder / name, _use_new_zipfile_serialization=False)
        whole = {"state_dict": {}}
    return folder


KINDS = pytest.mark.parametrize("kind", ["safetensors", "trainer"])


@KINDS
@pytest.mark.parametrize("batch", [1, 2])
def test_vae_is_the_official_one(golden, kind, batch):
    workdir, io = golden("audio_to_motion", kind)
    sizes, trained, _ = voice_of(workdir)
    model = AudioToMotion(**sizes)
    variables = {"params": trained["params"], **trained["aux"]}
    unit, rows = model.motion_scale, slice(0, batch)
    assert unit == 9.0
    noise, prior = (io[n].transpose(0, 2, 1)[rows] for n in ("noise", "prior_noise"))
    heard = io["hubert"][rows], io["f0"][rows]
    mask = io["mask"][rows]
    apply = jax.jit(model.apply, static_argnames="method")
    out = apply(variables, *heard, io["y"][rows] / unit, mask, noise)
    close = {"atol": TOLERANCE, "rtol": 0}
    np.testing.assert_allclose(out.motion * unit, io["recon"][rows], **close)
    np.testing.assert_allclose(out.mean, io["m_q"][rows], **close)
    np.testing.assert_allclose(out.log_std, io["logs_q"][rows], **close)
    np.testing.assert_allclose(out.prior_latent, io["z_p"][rows], **close)
    if batch == len(io["y"]):
        np.testing.assert_allclose(out.kl, io["kl"], **close)
    made = apply(variables, *heard, prior, method="decode") * mask[..., None]
    np.testing.assert_allclose(made * unit, io["generated"][rows], **close)


def test_flow_goes_there_and_back(golden):
    workdir, io = golden("audio_to_motion", "safetensors")
    sizes, trained, _ = voice_of(workdir)
    variables = {"params": trained["params"], **trained["aux"]}

    def there_and_back(module, z, g):
        flow, ones = module.vae.prior_flow, jnp.ones_like(z[..., :1])
        moved = flow(z, ones, g)
        return moved, flow(moved, ones, g, inverse=True)

    z = io["noise"].transpose(0, 2, 1)
    g = np.random.default_rng(0).normal(size=(*z.shape[:2], 128)).astype(np.float32)
    model = AudioToMotion(**sizes)
    apply = jax.jit(model.apply, static_argnames="method")
    moved, back = apply(variables, z, g, method=there_and_back)
    assert np.abs(moved - z).max() > 0.1
    np.testing.assert_allclose(back, z, atol=TOLERANCE, rtol=0)


@KINDS
@pytest.mark.parametrize("batch", [1, 2])
def test_expert_is_the_official_one(golden, kind, batch):
    workdir, io = golden("lip_sync", kind)
    saved = checkpoint.load(workdir)
    model = LipSync(**saved.config["config"]["model"])
    made = model.apply(
        {"params": saved.params, **saved.aux},
        io["hubert"][:batch],
        io["mouth"][:batch] / 9.0,
    )
    for ours, name in zip(made, ("audio_embedding", "mouth_embedding"), strict=True):
        np.testing.assert_allclose(ours, io[name][:batch], atol=TOLERANCE, rtol=0)


@KINDS
@pytest.mark.parametrize("batch", [1, 2])
def test_deformation_is_the_official_one(golden, kind, batch):
    workdir, io = golden("motion_to_emotion", kind)
    params = load_deformation(workdir)
    motion = io["landmarks"][:batch].reshape(batch, 68, 3) / 9.0
    for row in range(8):
        weights = np.eye(8, dtype=np.float32)[[row] * batch]
        made = deform(params, motion, weights, np.full(batch, 0.7, np.float32))
        theirs = io[f"emotion_{row}"][:batch].reshape(batch, 68, 3)
        np.testing.assert_allclose(made * 9.0, theirs, atol=TOLERANCE, rtol=0)


def test_what_was_imported_is_recorded(tmp_path):
    save_file(expert_state(), tmp_path / "expert.safetensors")
    out = tmp_path / "new" / "expert"
    assert run(tmp_path / "expert.safetensors", "lip_sync", out) == 0
    config = checkpoint.load(out).config["config"]
    assert config["name"] == "lip_sync"
    assert config["content"] == {"type": "log_mel", "channels": 80}
    assert config["motion_unit"] == {"per_eye_distance": 8.9}
    assert config["model"] == {"channels": 8, "motion_scale": 8.9}


def test_a_model_that_hears_something_else_is_refused(golden):
    workdir, _ = golden("audio_to_motion", "safetensors")
    wanted = voice_of(workdir)[2]
    assert wanted == {"type": "hubert", "channels": 1024}
    with pytest.raises(UserError, match="log_mel of 80.*hubert of 1024 channels"):
        heard_content("log_mel", workdir, wanted)
    with pytest.raises(UserError, match="of motion_to_emotion"):
        load_deformation(workdir)
    other, _ = golden("motion_to_emotion", "safetensors")
    with pytest.raises(UserError, match="of audio_to_motion"):
        voice_of(other)


def test_an_imported_expert_judges_a_training(tmp_path):
    for content in (80, 16):
        save_file(expert_state(content), tmp_path / f"{content}.safetensors")
        out = tmp_path / str(content)
        assert run(tmp_path / f"{content}.safetensors", "lip_sync", out) == 0
    overrides = [f"--config.frozen.lip_sync={tmp_path / '80'}"]
    config = cli.read_config("audio_to_motion:tiny", overrides)
    recipe = audio_to_motion.build(config, tmp_path / "run")
    assert config.content.to_dict() == {"type": "log_mel", "channels": 80}

    def sync(batch):
        params, aux = jax.jit(recipe.stage.init)(jax.random.key(0), batch)
        key = jax.random.key(1)
        losses = recipe.stage.loss(params, aux, recipe.frozen, batch, key, 0)
        return losses[1][1]["sync"]

    assert jax.eval_shape(sync, recipe.val_batches[0]).shape == ()
    config.frozen.lip_sync = str(tmp_path / "16")
    with pytest.raises(UserError, match="log_mel of 80 .*expected hubert of 16"):
        audio_to_motion.build(config, tmp_path / "run")


def test_wrong_names_are_listed(tmp_path, capsys):
    state = expert_state()
    del state["mouth_encoder.3.conv_block.0.bias"]
    save_file(state | {"stranger": np.zeros(2)}, tmp_path / "a.safetensors")
    error = refused(capsys, tmp_path / "a.safetensors", "lip_sync", tmp_path / "out")
    assert "missing: mouth_encoder.3.conv_block.0.bias; unexpected: stranger" in error
    few = {k: v for k, v in expert_state().items() if k.startswith("hubert_encoder")}
    save_file(few, tmp_path / "b.safetensors")
    error = refused(capsys, tmp_path / "b.safetensors", "lip_sync", tmp_path / "out")
    assert " more; unexpected: none" in error
    flat = expert_state() | {"hubert_encoder.0.conv_block.0.weight": np.zeros(3)}
    save_file(flat, tmp_path / "c.safetensors")
    refused(capsys, tmp_path / "c.safetensors", "lip_sync", tmp_path / "out")
    broken = deformation_state()
    broken["regressor.2.bias"][0] = np.nan
    save_file(broken, tmp_path / "d.safetensors")
    args = tmp_path / "d.safetensors", "motion_to_emotion", tmp_path / "out"
    assert "regressor.2.bias holds NaN" in refused(capsys, *args)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors"}


def test_another_stage_is_named(tmp_path, capsys):
    save_file(deformation_state(), tmp_path / "a.safetensors")
    error = refused(capsys, tmp_path / "a.safetensors", "lip_sync", tmp_path / "out")
    assert "looks like motion_to_emotion, expected a model of lip_sync" in error


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_damaged_files_are_refused(tmp_path, capsys, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".ckpt":
        torch = pytest.importorskip("torch")
        torch.save(
            {k: torch.from_numpy(v) for k, v in deformation_state().items()}, path
        )
    else:
        save_file(deformation_state(), path)
    whole = path.read_bytes()
    content = {"empty": b"", "text": b"not weights\n", "cut": whole[: len(whole) // 2]}
    path.write_bytes(content[damage])
    error = refused(capsys, path, "motion_to_emotion", tmp_path / "out")
    assert str(path) in error
    assert list(tmp_path.iterdir()) == [path]


class Stranger:
    """Something that a checkpoint has no need of."""


def test_pickled_objects_are_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"emotion_embedding.weight": Stranger()}, path)
    error = refused(capsys, path, "motion_to_emotion", tmp_path / "out")
    assert "without other pickled objects" in error


def test_without_pytorch_says_what_to_do(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.ckpt").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = refused(capsys, tmp_path / "a.ckpt", "lip_sync", tmp_path / "out")
    # Not the extra "parity", which brings no PyTorch on Python 3.12.
    assert "pip install torch)" in error and ".safetensors" in error


def test_what_lies_there_stays(tmp_path, capsys):
    save_file(deformation_state(), tmp_path / "a.safetensors")
    args = tmp_path / "a.safetensors", "motion_to_emotion", tmp_path / "out"
    (tmp_path / "out").mkdir()
    assert run(*args) == 0  # an empty folder is a new one
    before = sorted(p.name for p in (tmp_path / "out").iterdir())
    capsys.readouterr()
    assert "found other files" in refused(capsys, *args)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == before
    (tmp_path / "empty").mkdir()
    args = tmp_path / "empty", "lip_sync", tmp_path / "other"
    assert "model_ckpt_steps_N.ckpt" in refused(capsys, *args)
