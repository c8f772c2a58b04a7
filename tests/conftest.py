"""Eight simulated devices, of which tests use one unless they ask for all; where the
shared data is, and what is made once for all tests: a small filmed character, and an
avatar of it."""

import contextlib
import gc
import os
import sys
from pathlib import Path

import jaxlib

# aiortc loads it; where TensorFlow was loaded before, that ends the process.
with contextlib.suppress(ImportError):
    import pylibsrtp  # noqa: F401

# Later ones (0.12 for sure) know no other, and end where they are told of an unknown flag.
OTHER_EMITTERS = jaxlib.__version__ < "0.11"

# Tracing makes millions of objects that stay: looking for garbage among them after each 700
# takes 7 % of a test's processor time; now half of that.
gc.set_threshold(100_000)

# Tests' products are small: more threads would only wait for them, turning on a core that
# another worker needs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        # Eight devices share a runner's two processors: they may wait for each other
        # longer than the minute after which XLA gives up, and aborts the process.
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        # Most programs here run once: they take longer to compile than to run.
        "--xla_backend_optimization_level=1",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false" if OTHER_EMITTERS else "",
    ]
).strip()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from emogene_jax import parallel  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)


def mesh_of(count):
    """The mesh of the first `count` devices."""
    kind = (jax.sharding.AxisType.Auto,)
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), (parallel.AXIS,), axis_types=kind, devices=devices)


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """Tests run on one of the eight devices, for which XLA compiles three times as fast."""
    alone = mesh_of(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "mesh", lambda: alone)
        yield


@pytest.fixture
def on_an_accelerator(monkeypatch):
    """A function: from now on programs are written as for a GPU (or "tpu"), and run on the
    CPU."""

    def use(platform="gpu"):
        monkeypatch.setattr(parallel, "_platform", lambda: platform)

    return use


@pytest.fixture
def use_devices(monkeypatch):
    """A function: from now on there are so many, up to eight."""

    def forget():
        # A renderer's programs are kept, and are of the devices that there were.
        render = sys.modules.get("emogene_jax.emotion_to_video.render")
        if render is not None:
            render._program.cache_clear()

    def use(count):
        forget()
        chosen = mesh_of(count)
        monkeypatch.setattr(parallel, "mesh", lambda: chosen)

    yield use
    forget()


@pytest.fixture
def eight_devices(use_devices):
    """All of them, for tests of what is split among devices."""
    use_devices(8)


def pytest_configure(config):
    """Tests, and processes they start, share what they compile."""
    folder = config.rootpath / ".pytest_cache" / "xla"
    folder = parallel.enable_compilation_cache(folder)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # All programs: hundreds of small ones are compiled by one process after another.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that workers end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs and golden numbers; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("EMOGENE_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set $EMOGENE_SHARED")
    return folder


@pytest.fixture(scope="session")
def filmed():
    """A portrait of 32 px: the synthetic character says a word, and one happily."""
    from emogene_jax.synthetic.portrait import synthetic_portrait
    from emogene_jax.synthetic.takes import make_take

    words = [(0, "neutral"), (1, "happy")]
    takes = [make_take(0, 0, n, name, sentence_seconds=1.4) for n, name in words]
    return synthetic_portrait(size=32, takes=takes)


@pytest.fixture(scope="session")
def heard_of():
    """Makes a portrait of takes (data.synthetic) of one person: everything but the
    pictures."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.portrait.schema import Portrait
    from emogene_jax.signals import EMOTIONS, Pose, motion_to_landmarks

    def portrait(takes):
        rest, lengths = takes[0].rest, [len(take.motion) for take in takes]
        landmarks = [motion_to_landmarks(take.motion, rest) for take in takes]
        landmarks = np.concatenate(landmarks)
        sound = [audio_features(take.waveform) for take in takes]
        emotion = [EMOTIONS.index(take.emotion) for take in takes]
        black = np.zeros((len(landmarks), 1, 1), np.uint8)
        return Portrait(
            *(black, black, black, black[0]),
            *(landmarks, landmarks, rest, rest),
            pose=Pose(*(np.concatenate(p) for p in zip(*(t.pose for t in takes)))),
            torso=np.zeros((len(landmarks), 6), np.float32),
            camera=None,
            content=np.concatenate([features.content for features in sound]),
            f0=np.concatenate([features.f0 for features in sound]),
            speech=np.concatenate([features.speech for features in sound]),
            waveform=np.zeros(0, np.int16),
            clip=np.repeat(np.arange(len(takes)), lengths).astype(np.int32),
            source_frame=np.concatenate([np.arange(n) for n in lengths]),
            emotion=np.repeat(emotion, lengths).astype(np.int32),
            info={"intensity": [take.intensity for take in takes]},
        )

    return portrait


@pytest.fixture(scope="session")
def untrained(filmed):
    """Fields of the character as they are before the first step, and a ghost of a head
    that its torso hides nothing of."""
    from emogene_jax.emotion_to_video.draw import drawable
    from emogene_jax.emotion_to_video.head import HeadSize
    from emogene_jax.emotion_to_video.head_stage import head_stage
    from emogene_jax.emotion_to_video.render import Fields
    from emogene_jax.emotion_to_video.torso import TorsoSize
    from emogene_jax.emotion_to_video.torso_stage import torso_stage
    from emogene_jax.recipes.person import measure

    sizes = HeadSize(8, 4, 2, 4, 2, 8, 16), TorsoSize(8, 16, 4, 4, 8)
    person = measure(filmed, None)
    data = drawable(filmed, person.rig, person.code)
    params = []
    for make, size in zip((head_stage, torso_stage), sizes, strict=True):
        part = make(filmed.camera, size, frames=8, rays=16)
        init = jax.jit(lambda key, batch, part=part: part.init(key, batch))
        params.append(init(jax.random.key(0), data))
    (head, aux), (torso, _) = params
    return Fields(
        person.rig,
        head,
        aux["density"],
        torso,
        person.code,
        filmed.camera,
        filmed.background,
        *sizes,
        samples=8,
    )


@pytest.fixture(scope="session")
def learn_head(filmed, untrained):
    """(resident data, optax transform, steps) -> (parameters, density, losses) of the
    untrained head."""
    import jax.numpy as jnp
    import optax

    from emogene_jax.emotion_to_video.head_stage import head_stage

    size = untrained.head_size
    part = head_stage(filmed.camera, size, frames=8, rays=64, samples=8)
    frozen = {"rig": jax.tree.map(jnp.asarray, untrained.rig)}

    def learn(data, transform, steps):
        data = jax.tree.map(jnp.asarray, data)

        def step(carry, number):
            params, aux, optimizer = carry
            key = jax.random.fold_in(jax.random.key(0), number)
            batch = part.sample(data, key, number)
            (value, (aux, _)), grads = jax.value_and_grad(part.loss, has_aux=True)(
                params, aux, frozen, batch, key, number
            )
            updates, optimizer = transform.update(grads, optimizer, params)
            return (optax.apply_updates(params, updates), aux, optimizer), value

        @jax.jit
        def run(params, density):
            start = params, {"density": density}, transform.init(params)
            (params, aux, _), losses = jax.lax.scan(step, start, jnp.arange(steps))
            return params, aux["density"], losses

        return run(untrained.head, untrained.density)

    return learn


@pytest.fixture(scope="session")
def person(filmed, untrained):
    """An avatar that moves, but has learned nothing."""
    import jax.numpy as jnp

    from emogene_jax.audio_to_motion.initial import initial_variables
    from emogene_jax.audio_to_motion.vae import AudioToMotion
    from emogene_jax.avatar.file import Avatar
    from emogene_jax.motion_to_emotion.blink import shut_lids
    from emogene_jax.motion_to_emotion.deformation import Deformer
    from emogene_jax.motion_to_emotion.manifold import fit_manifold
    from emogene_jax.signals import Posture

    sizes = {
        "hidden": 8,
        "latent": 4,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "condition": 6,
        "flow_hidden": 4,
        "flow_layers": 1,
        "flow_blocks": 2,
        "motion_scale": 10.0,
        "downsample": "stack",
    }
    key = jax.random.key(1)
    params, aux = initial_variables(
        AudioToMotion(**sizes),
        key,
        np.zeros((1, 16, 80), np.float32),
        np.zeros((1, 16), np.float32),
        jnp.zeros((1, 8, 204)),
        jnp.ones((1, 8)),
        jnp.zeros((1, 2, 4)),
    )
    ones = jnp.ones(1)
    deformation = jax.jit(Deformer(8).init)(
        key, jnp.zeros((1, 204)), jnp.eye(8)[:1], ones
    )
    info = {
        "audio_to_motion": sizes,
        "content": {"type": "log_mel", "channels": 80},
        "request": None,
    }
    return Avatar(
        untrained,
        jax.device_get({"params": params, "aux": aux}),
        jax.device_get(deformation["params"]),
        fit_manifold(np.random.default_rng(0).normal(0, 0.3, (300, 68, 3))),
        filmed.rest,
        shut_lids(np.zeros((1, 68, 3), np.float32), filmed.rest),
        Posture(*filmed.pose, filmed.torso),
        info,
    )


@pytest.fixture(scope="session")
def work(filmed, untrained, person, tmp_path_factory):
    """{name: folder}: the character's prepared portrait, and a work directory of each
    stage that has learned nothing; by their configs the five fit each other."""
    from emogene_jax.portrait.pack import save_portrait
    from emogene_jax.recipes import head
    from emogene_jax.recipes.run import stage_config
    from emogene_jax.recipes.torso import params_digest
    from emogene_jax.train import checkpoint

    place = tmp_path_factory.mktemp("work")
    names = ("portrait", "head", "torso", "audio_to_motion", "deformation")
    folders = {name: place / name for name in names}
    save_portrait(filmed, folders["portrait"])
    config = stage_config("head", "tiny", {"data": str(folders["portrait"])})
    config.augment.frames = 0
    recipe = head.build(config, place)
    params, aux = jax.jit(recipe.stage.init)(jax.random.key(0), recipe.data)
    record = {"config": config.to_dict()}
    checkpoint.write(folders["head"], params, aux, record, fixed=recipe.fixed)
    behind = stage_config("torso", "tiny", {"data": config.data}).to_dict()
    behind["frozen"] = {"head_digest": params_digest(params)}
    behind["portrait"] = record["config"]["portrait"]
    behind["model"] = untrained.torso_size._asdict()
    checkpoint.write(folders["torso"], untrained.torso, {}, {"config": behind})
    voice = {"model": person.info["audio_to_motion"], "content": person.info["content"]}
    learned = (person.audio_to_motion[part] for part in ("params", "aux"))
    checkpoint.write(folders["audio_to_motion"], *learned, {"config": voice})
    checkpoint.write(folders["deformation"], person.deformation, {}, {"config": {}})
    return folders


@pytest.fixture(scope="session")
def other_portrait(filmed, tmp_path_factory):
    """The folder of a portrait of the same length that is not the character's."""
    from emogene_jax.portrait.pack import save_portrait

    folder = tmp_path_factory.mktemp("other") / "portrait"
    save_portrait(filmed._replace(landmarks=filmed.landmarks + 0.01), folder)
    return folder
