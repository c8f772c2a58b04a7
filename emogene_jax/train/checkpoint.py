"""What a work directory holds: Orbax checkpoints, and nothing else knows of Orbax.

    workdir/checkpoints/<step>/state    {params, aux, opt_state, ema, step}
    workdir/checkpoints/<step>/config   JSON
    workdir/checkpoints/<step>/fixed    arrays that belong to the parameters, and that were
                                        measured before the first step; it may be absent

Saving is asynchronous. A checkpoint counts once it is whole: what a killed process left
half-written is ignored, and replaced when its step comes round again. One that was
damaged later is named, and the one before it is used; a training moves it to

    workdir/damaged/<step>

so that its step can be saved again.
"""

import contextlib
import errno
import functools
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from emogene_jax import parallel
from emogene_jax.signals import UserError
from emogene_jax.train.state import TrainState
from emogene_jax.trees import difference

# What Orbax fails at is told here, in a line; it would print its threads' traces.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Saved(NamedTuple):
    """What a work directory has to give to other parts."""

    params: Any  # the moving average where there is one
    aux: Any
    config: dict
    step: int
    fixed: Any = None


class Checkpoints:
    """The checkpoints of one work directory, the newest `keep` of them."""

    def __init__(self, workdir: Path, keep: int = 2):
        self.workdir = Path(workdir)
        self._folder = self.workdir.absolute() / "checkpoints"
        self._damaged: set[int] = set()
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
                "fixed": ocp.StandardCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(max_to_keep=keep),
        )

    def latest(self) -> int | None:
        """The newest step that is whole, as far as is known."""
        return max(set(self._manager.all_steps()) - self._damaged, default=None)

    def save(self, state: TrainState, config: dict, fixed: Any = None) -> None:
        """Begins to save; returns when the arrays are copied from the devices.

        Args:
          fixed: what no step changes (see the module); None = nothing.

        Raises:
          UserError: the disk is full, say: now, or for the checkpoint before this one.
        """
        items = {
            "state": ocp.args.StandardSave(_tree(state)),
            "config": ocp.args.JsonSave(config),
        }
        if fixed is not None:
            items["fixed"] = ocp.args.StandardSave(fixed)
        with self._told_in_a_line():
            args = ocp.args.Composite(**items)
            self._manager.save(int(state.step), args=args)

    def config(self) -> dict:
        """The newest checkpoint's JSON."""

        def read(step: int) -> dict:
            return self._read(step, config=ocp.args.JsonRestore())["config"]

        return self._newest(read)

    def restore(self, state: TrainState) -> tuple[TrainState, dict]:
        """The newest checkpoint and its JSON, to go on from: newer ones that are damaged
        are put aside.

        Args:
          state: one of the same layout: arrays, or shapes.

        Raises:
          UserError: the checkpoint belongs to a model of other sizes or kind; or none
            can be read.
        """
        tree = _tree(state)
        target = ocp.args.StandardRestore(jax.tree.map(_shape, tree))

        def read(step: int) -> Any:
            self._check_layout(step, tree)
            return self._read(step, state=target, config=ocp.args.JsonRestore())

        items = self._newest(read)
        self._put_aside()
        return TrainState(key=state.key, **items["state"]), items["config"]

    def load(self) -> Saved:
        """The newest checkpoint's parameters, on the host, whatever stage it is of."""

        def read(step: int) -> Any:
            target = jax.tree.map(_shape, self._layout(step))
            state = ocp.args.StandardRestore(target)
            items = self._read(step, state=state, config=ocp.args.JsonRestore())
            state = jax.tree.map(np.asarray, dict(items["state"]))
            params = state["params"] if state["ema"] is None else state["ema"]
            fixed = self._fixed(step)
            return Saved(params, state["aux"], items["config"], step, fixed)

        return self._newest(read)

    def fixed(self) -> Any:
        """What the newest checkpoint has that no step changes; None = nothing."""
        return self._newest(self._fixed)

    def _fixed(self, step: int) -> Any:
        layout = self._layout(step, "fixed")
        if layout is None:
            return None
        target = ocp.args.StandardRestore(jax.tree.map(_host_array, layout))
        return jax.tree.map(np.asarray, self._read(step, fixed=target)["fixed"])

    def close(self) -> None:
        """Waits for what is being saved."""
        with self._told_in_a_line():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    def _newest(self, read: Callable[[int], Any]) -> Any:
        """read(step) of the newest step with which it can be done."""
        while (step := self.latest()) is not None:
            try:
                return read(step)
            except UserError:
                raise
            except Exception as error:  # Orbax and its storage raise all kinds
                _silence_leftovers()
                self._damaged.add(step)
                reason = " ".join(str(error.__cause__ or error).split())[:100]
                warnings.warn(
                    f"{self._folder / str(step)}: left out, since it can't be read "
                    f"({type(error).__name__}: {reason})",
                    stacklevel=2,
                )
        raise UserError(f"{self.workdir}: found no whole checkpoint, expected one")

    def _read(self, step: int, **items) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _put_aside(self) -> None:
        def move():
            for step in self._damaged:
                place = self.workdir / "damaged" / str(step)
                shutil.rmtree(place, ignore_errors=True)
                place.parent.mkdir(exist_ok=True)
                if (self._folder / str(step)).exists():
                    os.rename(self._folder / str(step), place)

        if self._damaged:
            parallel.first_host_first(move)
            self._manager.reload()

    @contextlib.contextmanager
    def _told_in_a_line(self) -> Iterator[None]:
        """A UserError in place of what a full or failing disk makes of a checkpoint."""
        try:
            yield
        except Exception as error:
            number = _error_number(error)
            if number is None:
                raise
            _silence_leftovers()
            self._remove_halves()  # they may be what fills the disk
            whole = [int(p.name) for p in self._folder.iterdir() if p.name.isdecimal()]
            last = (
                f"the last whole one is of step {max(whole)}"
                if whole
                else "none before"
            )
            raise UserError(
                f"{self._folder}: a checkpoint could not be saved: "
                f"{os.strerror(number)}; {last}"
            ) from error

    def _remove_halves(self) -> None:
        """Removes what was half written, until none comes back: threads that had begun to
        write go on for a moment, and make the folders that they miss."""
        for _ in range(50):
            halves = list(self._folder.glob("*.orbax-checkpoint-tmp*"))
            for half in halves:
                shutil.rmtree(half, ignore_errors=True)
            time.sleep(0.1)
            if not halves:
                return

    def _layout(self, step: int, name: str = "state") -> Any:
        found = self._manager.item_metadata(step)
        return found[name].tree if name in found.keys() and found[name] else None

    def _check_layout(self, step: int, tree: Any) -> None:
        told = difference(self._layout(step), tree)
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
        return checkpoints.load()


def write(
    workdir: Path, params: Any, aux: Any, config: dict, step: int = 0, fixed: Any = None
) -> None:
    """A work directory of parameters that were not trained here (imported ones)."""
    state = TrainState(params, aux, None, None, np.asarray(step, np.int32), None)
    with open_checkpoints(workdir) as checkpoints:
        checkpoints.save(state, config, fixed)


@functools.cache
def _silence_leftovers() -> None:
    """Orbax does not wait for what it had begun beside a part that failed. What becomes
    of that would be printed as traces, after all has been said."""
    raised, ignored = sys.excepthook, sys.unraisablehook

    def excepthook(kind, error, trace):
        if "Event loop is closed" not in str(error):
            raised(kind, error, trace)

    def unraisablehook(found):
        code = getattr(found.object, "cr_code", None)
        if code is None or "orbax" not in code.co_filename:
            ignored(found)

    sys.excepthook, sys.unraisablehook = excepthook, unraisablehook


def _error_number(error: BaseException | None) -> int | None:
    """The errno behind an error of Orbax, whose storage has it in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if found := re.search(r"os_error_code='(\d+)'", str(error)):
            return int(found[1])
        if "RESOURCE_EXHAUSTED" in str(error):
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def _tree(state: TrainState) -> dict:
    # The key is left out: it follows from the seed, which is in the JSON.
    return {name: part for name, part in state._asdict().items() if name != "key"}


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=parallel.replicated())


def _host_array(leaf: Any) -> np.ndarray:
    # On a device, float64 would become float32.
    return np.empty(leaf.shape, leaf.dtype)
