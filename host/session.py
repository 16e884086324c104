"""What outlives one command: the device's state between two `kvfpga` processes (contract section 8, `--session`).

A session folder holds, for each kind of target,

    sim/current              the name of the generation that counts, replaced in one rename
    sim/state-00000007/      meta.json, device.ckpt (checkpoint of the simulation), model.npz (reference model)
    sim/history-1.jsonl      what was done since the last reset (history.py)
    failures/NAME/           what lockstep left of a difference; a session of its own, just before that command
    lock                     held by the process that uses the session

Device and reference are stored together: a new generation is written and synced beside the old one, then `current` is
renamed onto it. A crash at any point leaves one whole generation, the old or the new. The state of another RTL build
is refused (`SessionError`), because a checkpoint only fits the design that made it.

The state of a board stays on the board: board_session.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from . import presets
from .commands import Set
from .errors import SessionBusy, SessionError
from .history import History, trace
from .lockstep import Lockstep
from .reference import Reference
from .targets import ENTRIES, LANES, Target
from .wording import counted

FORMAT = 1
LOCK_TIMEOUT = 600.0
"""Seconds to wait for another command on the same session."""
META, DEVICE, MODEL, CURRENT = "meta.json", "device.ckpt", "model.npz", "current"
REMEDY = "`kvfpga reset` starts it anew (and forgets the blocks in it)"


class Purpose(Enum):
    """What a command is going to do with the device."""

    RUN = "commands that change it, checked against the reference"
    VERIFY = "compare it with the reference, change nothing"
    LOOK = "read from it; what the reference holds does not matter"
    RESET = "reset it: a state that cannot be used does no harm"
    SYNC = "take its state as the reference's"


def default_folder(target: Target) -> Path:
    """Per user, and per target and size, so that `--entries 256` is a device of its own."""
    if folder := os.environ.get("KVFPGA_SESSION"):
        return Path(folder)
    from platformdirs import user_state_dir

    if target.is_board:
        name = re.sub(r"[^\w.-]+", "_", target.text)
    elif target.board:
        name = target.board.name
    else:
        name = f"{target.parameters.entries}x{target.parameters.lanes}"
    return Path(user_state_dir("kvfpga")) / name


def open_session(target: Target, folder: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Session:
    """The session of `target`, of the kind that fits it; to be entered."""
    if not target.is_board:
        return Session(target, folder, say)
    from .board_session import BoardSession

    return BoardSession(target, folder, say)


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
        self._lock = self._device = self._history = None
        self.is_new = True

    # ---- lock ------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Session:
        import fcntl  # not filelock: importing that takes longer than everything else a command does

        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "lock", "a+")
        except OSError as error:
            raise SessionError(
                f"cannot use the session folder: {error}", "choose another one with --session DIR"
            ) from error
        deadline, told = time.monotonic() + self.lock_timeout, False
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._lock.close()
                    raise SessionBusy(
                        f"another kvfpga has used the session {self.folder} for {self.lock_timeout:.0f} s",
                        "wait for it, or use another session with --session DIR",
                    ) from None
                if not told:
                    self.say("waiting for another kvfpga that uses this session")
                    told = True
                time.sleep(0.02)

    def __exit__(self, *_) -> None:
        if self._device:
            self._device.close()
            self._device = None
        self._lock.close()

    # ---- state in --------------------------------------------------------------------------------------------------
    def open(self, check: bool = True, purpose: Purpose = Purpose.RUN) -> Lockstep | Reference:
        """The device as the last command left it. Where there is none yet, a new one with the default preset (none for
        a reset)."""
        try:
            self._open(current_state(self.home), check)
        except SessionError as error:
            if purpose is not Purpose.RESET:
                raise
            self.say(f"starting anew: {error}")
            if self._device:
                self._device.close()
            self._open(None, check)
        if self.is_new and purpose is not Purpose.RESET:
            self.say(f"new session in {self.folder}: device reset, preset {presets.DEFAULT}")
            self._device.execute_many(self.initial())
        return self._device

    def require(self, purpose: Purpose) -> None:
        """May the device that is open be used for this as well? SessionError where not."""

    def initial(self) -> list[Set]:
        """What `reset` programs: the default preset, and the tier bases of the board file."""
        sets = presets.sets(presets.PRESETS[presets.DEFAULT])
        if self.target.board and self.target.board.tiers:
            sets += [Set(f"TIER_BASE{tier}", base) for tier, base in enumerate(self.target.board.tiers)]
        return sets

    def _open(self, state: Path | None, check: bool) -> None:
        meta = read_meta(state) if state else {}
        target = self.target.filled(meta.get("entries", ENTRIES), meta.get("lanes", LANES))
        size = target.parameters
        if meta and (size.entries, size.lanes) != (meta["entries"], meta["lanes"]):
            raise SessionError(
                f"the session {self.folder} has {meta['entries']} entries and {counted(meta['lanes'], 'lane')}, "
                f"not {size.entries} and {size.lanes}",
                f"use another one with --session DIR, or {REMEDY}",
            )
        try:
            device = target.open(check, restore=state and state / DEVICE)
        except SessionError as error:
            raise SessionError(f"the session {self.folder} cannot go on: {error}", REMEDY) from error
        self._device, self.target, self.is_new = device, target, state is None
        if state:
            read_state(state, device)
        self.commands_before = meta.get("commands", 0)
        if isinstance(device, Lockstep):
            from .blackbox import BlackBox

            self._history = History(self.home, meta.get("history"))
            device.blackbox = BlackBox(target, self.failures, self._history)
            if state:
                device.blackbox.start_from(state)

    @property
    def failures(self) -> Path | None:
        """Where failure folders go. None in one: it is there to show its failure again, not to collect the same one."""
        return None if (self.folder / "report.json").exists() else self.folder / "failures"

    # ---- state out -------------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Make the device's state the session's, all of it or none."""
        device = self._device
        try:
            self._write(device, self.commands_before + device.commands)
        except (OSError, SessionError) as error:  # the latter of a checkpoint
            raise SessionError(
                f"cannot store the session in {self.folder}: {error}; it stays as it was before this command",
                "make room, or use another session with --session DIR",
            ) from error
        if device.blackbox:
            device.blackbox.forget()

    def _write(self, device: Lockstep | Reference, commands: int) -> None:
        write_generation(self.home, device, self.target, commands, self._history)

    def trace(self, path: Path, budget: int | None = None) -> None:
        """Record a waveform of what this process has done so far; to be called before `save`, and not for a model.
        `budget`: cycles after which a command that does not end is cut off."""
        trace(self.target, self._history.old(), self._history.new, path, budget)


# ---- generations ---------------------------------------------------------------------------------------------------


def current_state(home: Path) -> Path | None:
    """The folder of the generation that counts; None where there is none yet."""
    try:
        return home / (home / CURRENT).read_text().strip()
    except FileNotFoundError:
        return None


def write_generation(
    home: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more
) -> None:
    """Write the state of `device` as the next generation in `home` and make it the one that counts."""
    old = sorted(home.glob("state-*"))
    number = int(old[-1].name.split("-")[1]) + 1 if old else 1
    new = home / f"state-{number:08d}"
    new.mkdir(parents=True)
    try:
        write_state(new, device, target, commands, history, **more)
        for path in (*new.iterdir(), new):
            _sync(path)
        replace_file(home / CURRENT, new.name + "\n")
    except BaseException:
        if current_state(home) != new:  # on a full disk, half a generation would only take up room
            shutil.rmtree(new, ignore_errors=True)
        raise
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    if history:
        history.sweep()


def write_state(
    folder: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more
) -> None:
    """meta.json (with `more` in it), model.npz and, of a simulation, device.ckpt."""
    meta = {"format": FORMAT, "commands": commands, **more}
    if not target.is_board:
        meta |= {"entries": target.parameters.entries, "lanes": target.parameters.lanes}
    if not isinstance(device, Lockstep):
        meta["operands"] = device.operands
    elif not target.is_board:
        device.device.mmio.save(folder / DEVICE)
    if history:
        meta["history"] = history.commit()
    device.model.save(folder / MODEL)
    (folder / META).write_text(json.dumps(meta) + "\n")


def read_meta(state: Path) -> dict:
    """What meta.json of a generation says."""
    try:
        meta = json.loads((state / META).read_text())
        found = meta["format"]
    except (OSError, ValueError, KeyError) as error:
        raise SessionError(f"the session's state {state} is damaged: {error}", REMEDY) from error
    if found != FORMAT:
        raise SessionError(f"the session's state {state} has format {found}, not {FORMAT}", REMEDY)
    return meta


def read_state(state: Path, device: Lockstep | Reference) -> None:
    """The model's side of a generation; the hardware's is given to it when it is opened."""
    device.model.load(state / MODEL)
    if isinstance(device, Reference):
        device.operands = read_meta(state)["operands"]


def replace_file(path: Path, text: str) -> None:
    """Whatever happens, the file is the old one or the new one, whole; on return it is the new one, on the disk."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text)
        _sync(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
