"""Generations: how the state of a device is stored on disk, all of it or none.

A folder (`home`) holds

    current          the generation that counts: what it is (JSON, with a CRC), and where its files are in
    pages-7.bin      device.ckpt (checkpoint of the simulation) and model.bin (reference model), see pages.py

Device and reference are stored together: what changed is appended to the pages and synced, then `current` is replaced in one
rename. A crash at any point leaves one whole generation, the old or the new. The one that counts now leaves its description in
the pages.

All of it has sums, and what is not as it was stored is refused. `recover` goes back to the newest generation that is whole, by
the descriptions in the pages. There is a `current` before there are pages, so where it is missing somebody has removed it, and
what it described is not forgotten for that. Where the pages describe a generation that is newer than what `current` says, an
older `current` has come back, and is refused too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.errors import SessionError
from ..contract.files import advice, is_of_the_system, sync
from ..contract.wording import counted
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target
from ..transport.mmio import Simulation
from .history import History, nothing
from .pages import Pages, Place, content, descriptions, in_memory, remove
from .seal import sealed, unsealed

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

FORMAT = 4
DEVICE, MODEL, CURRENT = "device.ckpt", "model.bin", "current"
PARTS = "pages-", "history-", "state-"
"""How the names begin of what a session's folder has beside `current`; the last are folders of format 1."""
REMEDY = "`kvfpga reset` starts it anew (and forgets the blocks in it)"
RECOVER = f"--recover in front of the command goes on from the newest state in it that is whole; {REMEDY}"
BEFORE_ALL: Place = (-1, -1)
DAMAGE = OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError
"""What reading something raises that is not what was written."""


@dataclass(frozen=True)
class Generation:
    """The state in the folder `home`, and what is known of it: sizes, commands, history, whatever was given to be kept."""

    home: Path
    meta: dict[str, Any]

    @property
    def place(self) -> Place:
        """Of its description."""
        return self.meta["pages"]["number"], self.meta["pages"]["described"]

    @cached_property
    def pages(self) -> Pages:
        """Its files. SessionError where they are not there."""
        with self._damage():
            return Pages(self.home, self.meta["pages"])

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

    def history(self) -> History:
        """What led to it."""
        with self._damage():
            found = History(self.home, self.meta.get("history"))
            found.check()
            return found

    def check(self) -> None:
        """Is the state whole? SessionError where not. Of its history, `history` says so."""
        with self._damage():
            self.pages.check()

    def check_rest(self) -> None:
        """The same of what lies in its files and does not count."""
        with self._damage():
            self.pages.check_rest(sealed(self.meta))

    def sweep(self) -> None:
        """Remove what a command that was cut off has left, so that a full disk has room for the next one."""
        with suppress(OSError):
            remove(self.home / f"{CURRENT}.new")
            self.pages.sweep()
            History(self.home, self.meta.get("history")).sweep()

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        with in_memory(name) as (handle, path):
            with self._damage():
                self.pages.copy(name, handle)
            try:
                yield path
            except SessionError as error:  # which knows no other name of the file
                raise SessionError(error.message.replace(str(path), f"{name} in {self.home}"), REMEDY) from error

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise damaged(self.home, error) from error


# ---- what counts -------------------------------------------------------------------------------------------------------


def current_state(home: Path) -> Generation | None:
    """The generation that counts; None where there is none yet. SessionError where that cannot be said."""
    try:
        meta = _meta_of(content(home / CURRENT).decode())
    except FileNotFoundError as error:
        if found := parts(home):
            raise SessionError(f"the session's state in {home}: `{CURRENT}` has gone, but {found}", RECOVER) from error
        return None
    except DAMAGE as error:
        raise damaged(home, error) from error
    if meta["format"] != FORMAT:
        older = ": an older kvfpga made it" if meta["format"] < FORMAT else ""
        raise SessionError(f"the session's state in {home} has format {meta['format']}, not {FORMAT}{older}", REMEDY)
    state = Generation(home, meta) if meta["pages"] else None
    if newer := next(_described(home, state.place if state else BEFORE_ALL), None):
        named = f"the state after {counted(meta['commands'], 'command')}" if state else "that there is no state yet"
        raise SessionError(
            f"the session's state in {home} is not the newest: `{CURRENT}` says {named}, and the one after "
            f"{counted(newer.meta['commands'], 'command')} is there",
            f"{RECOVER}; to go back to an older state, put back all files of the session as they were then",
        )
    return state


def parts(home: Path) -> str:
    """What there is of generations, in words; nothing where there is none."""
    names = sorted(path.name for path in home.glob("*") if path.name.startswith(PARTS))
    if not names:
        return ""
    state = next(_described(home, BEFORE_ALL), None)
    told = f", with the state after {counted(state.meta['commands'], 'command')}" if state else ""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} there{told}"


def written_state(home: Path) -> Generation:
    """The generation that counts, where one was written by this process."""
    state = current_state(home)
    if state is None:
        raise SessionError(f"the state in {home} has gone")
    return state


def damaged(home: Path, error: Exception) -> SessionError:
    if is_of_the_system(error):
        return SessionError(f"the session's state in {home} cannot be read: {error.strerror}", advice(error))
    return SessionError(f"the session's state in {home} is damaged: {error}", RECOVER)


def _meta_of(text: str) -> dict[str, Any]:
    """What `current` says. ValueError where that is not what was written; of another format there is only `format`."""
    if text.startswith("state-"):
        return {"format": 1}
    found = json.loads(text)["format"]
    if found != FORMAT and isinstance(found, int):
        return {"format": found}
    try:
        return unsealed(text)
    except ValueError as error:
        raise ValueError(f"`{CURRENT}`: {error}") from error


# ---- writing -----------------------------------------------------------------------------------------------------------


def write_generation(
    home: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more: Any
) -> OSError | None:
    """Write the state of `device` as the next generation in `home` and make it the one that counts. `more` is kept in `meta`.

    Gives the error with which the disk answered when it was to keep that for good: the generation counts, but after a power
    failure the one before may."""
    make_home(home)
    pages = _pages(home)
    meta = {"format": FORMAT, "commands": commands, **more}
    files: dict[str, Callable[[Path], None]] = {MODEL: device.model.save}
    if not target.is_board:
        meta |= {"entries": target.parameters.entries, "lanes": target.parameters.lanes}
    if not isinstance(device, Lockstep):
        meta["operands"] = device.operands
    elif not target.is_board:
        files[DEVICE] = simulation_of(device).save
    is_first = not os.path.lexists(home / CURRENT)
    text, unsure = "", None
    try:
        if is_first:
            replace_file(home / CURRENT, sealed({"format": FORMAT, "pages": None}), lasting=False)
        meta["pages"] = pages.commit(files)
        if history:
            meta["history"] = history.commit()
        text = pages.description(lambda count: sealed(meta | {"pages": meta["pages"] | {"pages": count}}))
        replace_file(home / CURRENT, text)
    except BaseException as error:
        if not _counts(home, text):
            _take_back(home, pages, history, is_first)
            raise
        if not isinstance(error, OSError):
            raise
        unsure = error
    pages.describe(text)
    pages.sweep()
    if history:
        history.sweep()
    for folder in home.glob("state-*"):  # of format 1
        remove(folder)
    return unsure


def _counts(home: Path, text: str) -> bool:
    """Is that what `current` says?"""
    with suppress(OSError):
        return content(home / CURRENT) == text.encode()
    return False


def _take_back(home: Path, pages: Pages, history: History | None, is_first: bool) -> None:
    """What was written of a generation that does not count would only take up room."""
    with suppress(OSError):
        pages.take_back()
    if history:
        with suppress(OSError):
            history.take_back()
    if is_first:
        remove(home / CURRENT)


def _pages(home: Path) -> Pages:
    """Those of the generation before; a new file where that is of no use."""
    try:
        before = current_state(home)
        return Pages(home, before.meta["pages"] if before else None)
    except (SessionError, *DAMAGE):
        return Pages(home)


def make_home(home: Path) -> None:
    """The folder, whatever else has its name."""
    if not home.is_dir():
        remove(home)
    home.mkdir(parents=True, exist_ok=True)


# ---- going back --------------------------------------------------------------------------------------------------------


def recover(home: Path) -> str:
    """Make the newest whole generation the one that counts. Which one that is, in words; SessionError where there is none."""
    before: Generation | None = None
    with suppress(SessionError):
        before = current_state(home)
        if before is None:
            return "there is no state yet, so there is nothing to recover"
        before.check()
        before.check_rest()
        before.history()
        return "it is whole, there is nothing to recover"
    for state in (*([before] if before else []), *_described(home, BEFORE_ALL)):
        with suppress(SessionError):
            state.check()
            break
    else:
        raise SessionError(f"nothing in {home} is whole: {parts(home) or 'it is empty'}", REMEDY)
    told = f"recovered the state after {counted(state.meta['commands'], 'command')}"
    if before and state.meta["commands"] < before.meta["commands"]:
        told += f", and not {before.meta['commands']}"
    try:
        state.history()
    except SessionError:
        state.meta["history"] = nothing(home, whole=False)
        told += "; what led to it is not, so there are no waveforms until a reset"
    state.pages.sweep()  # what is newer and not whole would be found again
    try:
        state.check_rest()
    except SessionError:
        state.meta["pages"]["total"] = None
    replace_file(home / CURRENT, sealed(state.meta))
    return told


def _described(home: Path, after: Place) -> Iterator[Generation]:
    """Generations whose descriptions are in the pages behind that place, the newest first. Their pages are not checked yet."""
    for place, text in descriptions(home):
        if place <= after:
            return
        with suppress(*DAMAGE):
            meta = _meta_of(text)
            if meta["format"] == FORMAT and Generation(home, meta).place == place:
                yield Generation(home, meta)


def simulation_of(device: Lockstep) -> Simulation:
    """The simulation that runs in lockstep, also where its calls are recorded."""
    mmio = device.device.mmio
    found = getattr(mmio, "inner", mmio)
    if not isinstance(found, Simulation):
        raise TypeError(f"{mmio.name} is no simulation")
    return found


def replace_file(path: Path, text: str, lasting: bool = True) -> None:
    """Whatever happens, the file is the old one or the new one, whole; on return it is the new one, and where it is to be
    `lasting` on the disk. What is no file has to go for it."""
    new = path.with_name(path.name + ".new")
    remove(new)
    try:
        new.write_text(text)
        if lasting:
            sync(new)
        if path.is_dir() and not path.is_symlink():
            remove(path)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if lasting:
        sync(path.parent)
