"""One host of a training on several, or the only one: started by test_parallel.py.

    python host_of_several.py RECORDS WORKDIR

Trains a stage on streamed batches and one on resident data; both are stopped after two
steps and go on from their checkpoints. Then gradients of one batch, from where they end.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from emogene_jax import parallel
from emogene_jax.cli import read_config
from emogene_jax.recipes import lip_sync
from emogene_jax.recipes.run import train_from_config
from emogene_jax.train.loop import train

sys.path.insert(0, str(Path(__file__).parent / "train"))
from tiny_stage import FAST, TOLD, resident, tiny_stage  # noqa: E402

FLAGS = (
    "--config.batch.batch_size=8 --config.batch.frames=(60,) "
    "--config.optimizer.warmup_steps=0 --config.optimizer.schedule=constant"
)


def main(records: str, workdir: Path) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
