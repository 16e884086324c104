"""What outlives one command: the device's state between two `kvfpga` processes (contract section 8, `--session`).

A session folder holds, for each kind of target,

    sim/                     its generations: the state of device and reference, all of it or none (blackbox/generation.py)
    sim/history-1.jsonl      what was done since the last reset (blackbox/history.py)
    failures/NAME/           what lockstep left of a difference; a session of its own, just before that command
    lock                     held by the process that uses the session

The state of another RTL build is refused (`SessionError`), because a checkpoint only fits the design that made it. The state
of a board stays on the board: board.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..blackbox import generation
from ..blackbox.generation import REMEDY, Generation, current_state, write_generation
from ..blackbox.history import History
from ..blackbox.seal import check_folder
from ..contract import folders, presets
from ..contract.commands import Set
from ..contract.errors import SessionBusy, SessionError, UsageError, in_brief
from ..contract.files import NO_LOCKS, advice
from ..contract.parameters import DEFAULT
from ..contract.wording import counted
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target
from .purpose import Purpose

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

LOCK_TIMEOUT = 600.0
"""Seconds to wait for another command on the same session."""


def default_folder(target: Target) -> Path:
    """Per user, and per target and size, so that `--entries 256` is a device of its own."""
    if folder := os.environ.get("KVFPGA_SESSION"):
        return Path(folder)
    if target.is_board:
        name = re.sub(r"[^\w.-]+", "_", target.text)
    elif target.board:
        name = target.board.name
    else:
        name = f"{target.parameters.entries}x{target.parameters.lanes}"
    return folders.state() / name


class Session:
    """The session of `target` in `folder` (None: the user's default). Entering it takes the lock.

    `say` gets notes for people, one line each.
    """

    def __init__(self, target: Target, folder: Path | None = None, say: Callable[[str], None] = lambda text: None):
        self.folder = folder or default_folder(target)
        self.home = self.folder / target.kind
        self.target = target
        self.say = say
        self.commands_before = 0
        self.lock_timeout = LOCK_TIMEOUT
        self._lock: int | None = None
        self._device: Lockstep | Reference | None = None
        self._history: History | None = None
        self._state: Generation | None = None  # it was opened with
        self.is_new = True

    # ---- lock ------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Session:
        import fcntl  # not filelock: importing that takes longer than everything else a command does

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self._lock = _open_lock(self.folder)
        except OSError as error:
            raise SessionError(
                f"cannot use the session folder {self.folder}: {error.strerror}",
                f"{advice(error)}: --session DIR chooses the folder",
            ) from error
        deadline, told = time.monotonic() + self.lock_timeout, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except OSError as error:
                if error.errno in NO_LOCKS:
                    self.__exit__()
                    raise SessionError(
                        f"the file system of the session folder {self.folder} has no locks ({error.strerror})",
                        "choose a folder on a local disk with --session DIR",
                    ) from None
                if not isinstance(error, BlockingIOError):
                    self.__exit__()
                    raise
                if time.monotonic() > deadline:
                    self.__exit__()
                    raise SessionBusy(
                        f"another kvfpga has used the session {self.folder} for {self.lock_timeout:.0f} s",
                        "wait for it, or use another session with --session DIR",
                    ) from None
                if not told:
                    self.say("waiting for another kvfpga that uses this session")
                    told = True
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        try:
            if self._device:
                self._device.close()
        finally:  # a recording may take no more
            self._device = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    # ---- state in --------------------------------------------------------------------------------------------------
    def open(self, check: bool = True, purpose: Purpose = Purpose.RUN) -> Lockstep | Reference:
        """The device as the last command left it. Where there is none yet, a new one with the default preset (none for
        a reset)."""
        try:
            if self.failures is None:
                check_folder(self.folder)
            self._open(current_state(self.home), check)
        except SessionError as error:
            if purpose is not Purpose.RESET:
                raise
            self.say(f"starting anew: {error.message}")
            if self._device:
                self._device.close()
                self._device = None
            self._open(None, check)
        if self._state and purpose.changes:
            self._state.sweep()
        if self.is_new and purpose is not Purpose.RESET:
            self.say(f"new session in {self.folder}: device reset, preset {presets.DEFAULT}")
            self.device.execute_many(self.initial())
        return self.device

    @property
    def device(self) -> Lockstep | Reference:
        """What `open` gave."""
        if self._device is None:
            raise RuntimeError("the session is not open")
        return self._device

    def require(self, purpose: Purpose) -> None:
        """May the device that is open be used for this as well? SessionError where not."""

    def initial(self) -> list[Set]:
        """What `reset` programs: the default preset, and the tier bases of the board file."""
        sets = presets.sets(presets.PRESETS[presets.DEFAULT])
        if self.target.board and self.target.board.tiers:
            sets += [Set(f"TIER_BASE{tier}", base) for tier, base in enumerate(self.target.board.tiers)]
        return sets

    def _open(self, state: Generation | None, check: bool) -> None:
        meta = state.meta if state else {}
        target = self.target.filled(meta.get("entries", DEFAULT.entries), meta.get("lanes", DEFAULT.lanes))
        size = target.parameters
        if meta and (size.entries, size.lanes) != (meta["entries"], meta["lanes"]):
            raise SessionError(
                f"the session {self.folder} has {meta['entries']} entries and {counted(meta['lanes'], 'lane')}, "
                f"not {size.entries} and {size.lanes}",
                f"use another one with --session DIR, or {REMEDY}",
            )
        try:
            if state and target.kind != "model":
                with state.checkpoint() as checkpoint:
                    device = target.open(check, restore=checkpoint)
            else:
                device = target.open(check)
        except SessionError as error:
            raise SessionError(f"the session {self.folder} cannot go on: {error.message}", error.remedy) from error
        self._device, self.target, self._state, self.is_new = device, target, state, state is None
        if state:
            state.read_model(device)
            state.check_rest()
        self.commands_before = meta.get("commands", 0)
        if isinstance(device, Lockstep):
            from ..blackbox.simulation import SimulationBlackBox

            self._history = state.history() if state else History(self.home)
            device.recorder = box = SimulationBlackBox(target, self.failures, self._history)
            if state:
                box.start_from(state)

    @property
    def failures(self) -> Path | None:
        """Where failure folders go. None in one: it is there to show its failure again, not to collect the same one."""
        return None if (self.folder / "report.json").exists() else self.folder / "failures"

    # ---- state out -------------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Make the device's state the session's, all of it or none."""
        device = self.device
        try:
            unsure = self._write(self.commands_before + device.commands)
        except (OSError, SessionError) as error:  # the latter of a checkpoint
            reason = getattr(error, "strerror", None) or in_brief(error)
            raise SessionError(
                f"cannot store the session in {self.folder}: {reason}; it stays as it was stored last",
                "make room, or use another session with --session DIR",
            ) from error
        if unsure:
            self.say(
                f"the session in {self.folder} is stored, but the disk did not confirm it ({unsure.strerror}): "
                f"a power failure may bring back the state before; {advice(unsure)}"
            )
        if device.recorder:
            device.recorder.stored(self.home)

    def _write(self, commands: int) -> OSError | None:
        return write_generation(self.home, self.device, self.target, commands, self._history)

    def trace(self, path: Path, budget: int | None = None) -> None:
        """Record a waveform of what this process has done so far; to be called before `save`, and not for a model.
        `budget`: cycles after which a command that does not end is cut off."""
        from ..blackbox.retrace import trace

        if self._history:
            self._require_whole(self._history)
            trace(self.target, self._history.old(), self._history.new, path, budget)

    @staticmethod
    def _require_whole(history: History) -> None:
        """A waveform repeats everything since the last reset."""
        if not history.whole:
            raise UsageError(
                "--trace: what the device went through before it was recovered, or taken over by `sync`, is not known, so there "
                "can be no waveform of what came after",
                "leave it out, or `kvfpga reset` first",
            )

    # ---- damage ----------------------------------------------------------------------------------------------------
    def recover(self) -> None:
        """Go back to the newest state that is whole, where the one that counts is not. SessionError where there is none."""
        self.say(f"{self.folder}: {generation.recover(self.home)}")


def _open_lock(folder: Path) -> int:
    """Something to lock: a file. Where there can be none by its name, the folder itself."""
    try:
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except PermissionError:
        raise
    except OSError:
        return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
