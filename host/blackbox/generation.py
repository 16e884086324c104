"""Generations: how the state of a device is stored on disk, all of it or none.

A folder (`home`) holds

    current          the generation that counts: what it is (JSON), and where its files are in
    pages-7.bin      device.ckpt (checkpoint of the simulation) and model.bin (reference model), see pages.py

Device and reference are stored together: what changed is appended to the pages and synced, then `current` is replaced in one
rename. A crash at any point leaves one whole generation, the old or the new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..contract.errors import SessionError
from ..contract.files import sync
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target
from ..transport.mmio import Simulation
from .history import History
from .pages import Pages, in_memory

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

FORMAT = 2
DEVICE, MODEL, CURRENT = "device.ckpt", "model.bin", "current"
REMEDY = "`kvfpga reset` starts it anew (and forgets the blocks in it)"


class Generation(NamedTuple):
    """The state in the folder `home`, and what is known of it: sizes, commands, history, whatever was given to be kept."""

    home: Path
    meta: dict[str, Any]

    @contextmanager
    def checkpoint(self) -> Iterator[Path]:
        """The file to put a simulation into."""
        with self._file(DEVICE) as path:
            yield path

    def read_model(self, device: Lockstep | Reference) -> None:
        """The model's side; the hardware's is given to it when it is opened."""
        with self._file(MODEL) as path:
            device.model.load(path)
        if not isinstance(device, Lockstep):
            device.operands = self.meta["operands"]

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        with in_memory(name) as (handle, path):
            try:
                Pages(self.home, self.meta["pages"]).copy(name, handle)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _damaged(self.home, error) from error
            try:
                yield path
            except SessionError as error:  # which knows no other name of the file
                raise SessionError(error.message.replace(str(path), f"{name} in {self.home}"), error.remedy) from error


def current_state(home: Path) -> Generation | None:
    """The generation that counts; None where there is none yet."""
    try:
        text = (home / CURRENT).read_text()
    except FileNotFoundError:
        return None
    if text.startswith("state-"):
        raise SessionError(f"the session's state in {home} has format 1, not {FORMAT}: an older kvfpga made it", REMEDY)
    try:
        meta: dict[str, Any] = json.loads(text)
        found, _ = meta["format"], meta["pages"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(home, error) from error
    if found != FORMAT:
        raise SessionError(f"the session's state in {home} has format {found}, not {FORMAT}", REMEDY)
    return Generation(home, meta)


def written_state(home: Path) -> Generation:
    """The same where one was written by this process."""
    state = current_state(home)
    if state is None:
        raise SessionError(f"the state in {home} has gone")
    return state


def _damaged(home: Path, error: Exception) -> SessionError:
    return SessionError(f"the session's state in {home} is damaged: {error!r}", REMEDY)


def write_generation(
    home: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more: Any
) -> None:
    """Write the state of `device` as the next generation in `home` and make it the one that counts. `more` is kept in `meta`."""
    home.mkdir(parents=True, exist_ok=True)
    pages = _pages(home)
    meta = {"format": FORMAT, "commands": commands, **more}
    files: dict[str, Callable[[Path], None]] = {MODEL: device.model.save}
    if not target.is_board:
        meta |= {"entries": target.parameters.entries, "lanes": target.parameters.lanes}
    if not isinstance(device, Lockstep):
        meta["operands"] = device.operands
    elif not target.is_board:
        files[DEVICE] = simulation_of(device).save
    text = ""
    try:
        meta["pages"] = pages.commit(files)
        if history:
            meta["history"] = history.commit()
        text = json.dumps(meta) + "\n"
        replace_file(home / CURRENT, text)
    except BaseException:
        if not (home / CURRENT).exists() or (home / CURRENT).read_text() != text:
            pages.take_back()
        raise
    pages.sweep()
    if history:
        history.sweep()
    for folder in home.glob("state-*"):  # of format 1
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _pages(home: Path) -> Pages:
    """Those of the generation before; none where that is of no use."""
    try:
        before = current_state(home)
        return Pages(home, before and before.meta["pages"])
    except (SessionError, OSError, ValueError, KeyError, TypeError):
        return Pages(home)


def simulation_of(device: Lockstep) -> Simulation:
    """The simulation that runs in lockstep, also where its calls are recorded."""
    mmio = device.device.mmio
    found = getattr(mmio, "inner", mmio)
    if not isinstance(found, Simulation):
        raise TypeError(f"{mmio.name} is no simulation")
    return found


def replace_file(path: Path, text: str) -> None:
    """Whatever happens, the file is the old one or the new one, whole; on return it is the new one, on the disk."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text)
        sync(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)
