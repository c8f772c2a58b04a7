"""One host of a training on several, or the only one: started by test_parallel.py.

    python host_of_several.py RECORDS WORKDIR AVATAR

Trains a stage on streamed batches and one on resident data; both are stopped after two
steps and go on from their checkpoints. Then gradients of one batch, from where they end;
and frames of an avatar.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from emogene_jax import parallel
from emogene_jax.avatar.file import load_avatar
from emogene_jax.cli import read_config
from emogene_jax.emotion_to_video.render import Renderer
from emogene_jax.pipeline import perform_idle
from emogene_jax.recipes import lip_sync
from emogene_jax.recipes.run import train_from_config
from emogene_jax.train.loop import train

sys.path.insert(0, str(Path(__file__).parent / "train"))
from tiny_stage import FAST, TOLD, resident, tiny_stage  # noqa: E402

FLAGS = (
    "--config.batch.batch_size=8 --config.batch.frames=(60,) "
    "--config.optimizer.warmup_steps=0 --config.optimizer.schedule=constant"
)


def main(records: str, workdir: Path, avatar: str) -> None:
    parallel.connect()
    constant = FAST._replace(schedule="constant")
    for steps in (2, 4):
        flags = [*FLAGS.split(), f"--config.data={records}"]
        config = read_config("lip_sync:tiny", flags)
        config.train.steps = steps
        result = train_from_config(config, workdir / "streamed")
        train(
            tiny_stage(),
            workdir=workdir / "resident",
            steps=steps,
            batch_source=resident(),
            **TOLD | {"optimizer": constant, "log_steps": 1},
        )
    recipe = lip_sync.build(config, workdir)
    batch = parallel.shard_batch(next(recipe.data(4)))
    assert len(batch["mask"].addressable_shards) == len(parallel.mesh().local_devices)

    def gradient(params, aux, batch):
        def loss(params):
            return recipe.stage.loss(params, aux, None, batch, jax.random.key(1), 4)[:2]

        return jax.grad(loss, has_aux=True)(params)[0]

    gradient = parallel.data_parallel(gradient, donate=())
    made = jax.tree.leaves(gradient(result.params, result.aux, batch))
    if parallel.is_main_process():
        flat = np.concatenate([np.ravel(leaf) for leaf in made])
        np.save(workdir / "gradient.npy", flat)
    render(workdir, load_avatar(avatar))


def render(workdir: Path, person) -> None:
    """Seven frames, of which each device renders its share, and each host gets all."""
    renderer = Renderer(person.fields, batch=1)
    ready = list(renderer.dispatch(*perform_idle(person, 7)))
    assert [len(frames) for (frames, _), _ in ready] == [4, 4]
    frames = list(renderer.frames(*perform_idle(person, 7)))
    index, _ = parallel.host()
    np.save(workdir / f"frames-{index}.npy", np.stack(frames))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
