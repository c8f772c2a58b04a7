"""Trees of arrays: what they are made of, said in words a user can follow."""

from typing import Any

import jax
import numpy as np


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{place joined with slashes: shape} of a tree of arrays, or of shapes."""
    return {name: tuple(leaf.shape) for name, leaf in _leaves(tree)}


def difference(found: Any, expected: Any) -> str | None:
    """In words, the first array of `found` whose shape is not that of `expected` (trees
    of arrays, or of shapes); None = there is none. Parameters come first: they tell most.
    """
    found, expected = shapes(found), shapes(expected)
    names = sorted(found.keys() | expected.keys())
    names.sort(key=lambda name: not name.startswith("params"))
    for name in names:
        if found.get(name) != expected.get(name):
            told = (_words(found.get(name)), _words(expected.get(name)))
            return f"{name} is {told[0]}, expected {told[1]}"
    return None


def not_finite(tree: Any) -> str | None:
    """The place of the first array that holds NaN or infinity; None = there is none."""
    for name, leaf in _leaves(tree):
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
            return name
    return None


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    keystr = jax.tree_util.keystr
    return [(keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _words(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
