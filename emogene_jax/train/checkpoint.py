"""What a work directory holds: Orbax checkpoints, and nothing else knows of Orbax.

    workdir/checkpoints/<step>/state    {params, aux, opt_state, ema, step}
    workdir/checkpoints/<step>/config   JSON

Saving is asynchronous. A checkpoint counts once it is whole: what a killed process left
half-written is ignored, and replaced when its step comes round again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from emogene_jax import parallel
from emogene_jax.signals import UserError
from emogene_jax.train.state import TrainState
from emogene_jax.trees import difference


class Saved(NamedTuple):
    """What a work directory has to give to other parts."""

    params: Any  # the moving average where there is one
    aux: Any
    config: dict
    step: int


class Checkpoints:
    """The checkpoints of one work directory, the newest `keep` of them."""

    def __init__(self, workdir: Path, keep: int = 2):
        self.workdir = Path(workdir)
        self._manager = ocp.CheckpointManager(
            self.workdir.absolute() / "checkpoints",
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(max_to_keep=keep),
        )

    def latest(self) -> int | None:
        """The newest step that is whole."""
        return self._manager.latest_step()

    def save(self, state: TrainState, config: dict) -> None:
        """Begins to save; returns when the arrays are copied from the devices."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_tree(state)),
                config=ocp.args.JsonSave(config),
            ),
        )

    def config(self) -> dict:
        """The newest checkpoint's JSON."""
        return self._restore(config=ocp.args.JsonRestore())["config"]

    def restore(self, state: TrainState) -> TrainState:
        """The newest checkpoint.

        Args:
          state: one of the same layout: arrays, or shapes.

        Raises:
          UserError: the checkpoint belongs to a model of other sizes or kind.
        """
        tree = _tree(state)
        self._check_layout(tree)
        target = jax.tree.map(_shape, tree)
        saved = self._restore(state=ocp.args.StandardRestore(target))["state"]
        return TrainState(key=state.key, **saved)

    def load(self) -> Saved:
        """The newest checkpoint's parameters, on the host, whatever stage it is of."""
        target = jax.tree.map(_shape, self._layout())
        items = self._restore(
            state=ocp.args.StandardRestore(target), config=ocp.args.JsonRestore()
        )
        state = jax.tree.map(np.asarray, dict(items["state"]))
        params = state["params"] if state["ema"] is None else state["ema"]
        return Saved(params, state["aux"], items["config"], int(state["step"]))

    def close(self) -> None:
        """Waits for what is being saved."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _restore(self, **items) -> Any:
        return self._manager.restore(self.latest(), args=ocp.args.Composite(**items))

    def _layout(self) -> Any:
        return self._manager.item_metadata(self.latest())["state"].tree

    def _check_layout(self, tree: Any) -> None:
        told = difference(self._layout(), tree)
        if told:
            raise UserError(
                f"{self.workdir}: its checkpoint is of another model: {told}"
            )


@contextlib.contextmanager
def open_checkpoints(workdir: Path, keep: int = 2) -> Iterator[Checkpoints]:
    """The checkpoints of a work directory; on leaving, what was begun is saved."""
    checkpoints = Checkpoints(workdir, keep)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def load(workdir: Path) -> Saved:
    """What the newest checkpoint of a work directory holds.

    Raises:
      UserError: there is none.
    """
    workdir = Path(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir}: found no checkpoints, expected a work directory")
    with open_checkpoints(workdir) as checkpoints:
        if checkpoints.latest() is None:
            raise UserError(f"{workdir}: found no whole checkpoint, expected one")
        return checkpoints.load()


def write(workdir: Path, params: Any, aux: Any, config: dict, step: int = 0) -> None:
    """A work directory of parameters that were not trained here (imported ones)."""
    state = TrainState(params, aux, None, None, np.asarray(step, np.int32), None)
    with open_checkpoints(workdir) as checkpoints:
        checkpoints.save(state, config)


def _tree(state: TrainState) -> dict:
    # The key is left out: it follows from the seed, which is in the JSON.
    return {name: part for name, part in state._asdict().items() if name != "key"}


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=parallel.replicated())
