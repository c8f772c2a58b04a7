"""Where things that can be had again are kept: model files, compiled programs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$EMOGENE_CACHE, else emogene_jax in the user's cache; it may not exist yet."""
    given = os.environ.get("EMOGENE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emogene_jax"
