"""`emogene prepare`: videos of one person -> a prepared portrait, and its TFDS records."""

from pathlib import Path

from emogene_jax.audio.features import choose_content
from emogene_jax.portrait.prepare import prepare_portrait
from emogene_jax.portrait.records import write_portrait_records


def prepare_data(videos, out, content: str = "auto", **options) -> None:
    """A prepared portrait in folder `out`.

    Args:
        content: audio.features.choose_content. options: of prepare_portrait.
    """
    prepare_portrait(videos, Path(out), content=choose_content(content), **options)
    write_portrait_records(Path(out))
