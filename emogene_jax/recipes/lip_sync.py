"""The lip-sync expert: configs/lip_sync.py -> what is trained on what."""

from pathlib import Path

from emogene_jax.audio_to_motion.lip_sync import LipSync
from emogene_jax.audio_to_motion.stage import lip_sync_stage
from emogene_jax.recipes.recipe import Recipe, of_same_content, records


def build(config, workdir: Path) -> Recipe:
    """The recipe of a config (recipe.Recipe)."""
    from emogene_jax.input.batches import clip_batches, records_content

    batches, held, folder = records(config, workdir, clip_batches)
    of_same_content(config, records_content(folder), None, "")
    model = LipSync(**config.model.to_dict())
    return Recipe(lip_sync_stage(model, **config.stage.to_dict()), batches, held)
