"""The session of a board: the device's state stays on the board, the reference's in the session folder.

Whether the two still belong together is told by the SCRATCH register, which a reset clears (contract R4). A session
keeps a random even number there, and remembers it in the file `number` before the board has it:

    the number        the board is as the last command of this session left it
    the number + 1    a command began that did not end in a stored session: it was cut off, or met an error
    0                 the device was reset behind the session's back
    anything else     another session, or another program, has used it

In all cases but the first the reference cannot be trusted: commands that would be checked are refused with the remedy (`kvfpga
reset`, or `kvfpga sync` to take the board's state over); commands that only look go on and say so.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from ..blackbox.board import BoardBlackBox
from ..blackbox.generation import current_state, make_home, replace_file, write_generation
from ..blackbox.history import History
from ..blackbox.pages import content
from ..blackbox.retrace import trace
from ..contract.errors import SessionError
from ..contract.files import advice, is_of_the_system
from ..contract.presets import DEFAULT
from ..device.regmap import REGISTERS
from ..lockstep.lockstep import Lockstep
from .purpose import Purpose
from .session import Session

NUMBER = "number"
SCRATCH = REGISTERS["SCRATCH"].offset
REMEDY = "`kvfpga reset` starts the board anew, `kvfpga sync` takes its state as it is"
RECOVER = f"--recover in front of the command goes on from the newest state in the session that is whole; {REMEDY}"


class BoardSession(Session):
    """As `session.Session`; `open` connects to the board, `save` stores the reference and leaves the number in SCRATCH."""

    _device: Lockstep | None
    _box: BoardBlackBox
    _trouble: SessionError | None

    @property
    def device(self) -> Lockstep:
        if self._device is None:
            raise RuntimeError("the session is not open")
        return self._device

    def open(self, check: bool = True, purpose: Purpose = Purpose.RUN) -> Lockstep:
        device = self._device = self.target.open_lockstep(check)
        meta: dict[str, Any] = {}
        self._trouble, self.number = None, 0
        history = History(self.home)
        try:
            self.number = self._read_number()
            state = current_state(self.home)
            meta = state.meta if state else {}
            self._trouble = self._problem(meta)
            if state and not self._trouble:
                history = state.history()
                state.read_model(device)
                state.check_rest()
                if purpose.changes:
                    state.sweep()
        except SessionError as error:
            meta, self._trouble = {}, SessionError(error.message, error.remedy if error.remedy == REMEDY else RECOVER)
        self._begun = bool(meta)
        self.is_new = not meta
        self.commands_before = meta.get("commands", 0)
        device.recorder = self._box = BoardBlackBox(self.target, self.failures, history, self._mark)
        self.require(purpose)
        return device

    def require(self, purpose: Purpose) -> None:
        match purpose:
            case Purpose.LOOK:
                if self._trouble:
                    self.say(f"{self._trouble}; what the board says is shown, nothing is checked")
            case Purpose.RESET | Purpose.SYNC:
                self._trouble, self._begun = None, True
            case _ if self._trouble:
                raise self._trouble
            case _ if not self._begun:
                self.say(f"new session in {self.folder}: board reset, preset {DEFAULT}")
                self._begun = True
                self.device.reset()
                self.device.execute_many(self.initial())

    def _problem(self, meta: dict[str, Any]) -> SessionError | None:
        """Why the reference of the session is not the board's (None: it is, or there is no state at all)."""
        found, board = self.device.read_register("SCRATCH"), self.device.device
        where = f"the session {self.folder} and the board {board.mmio.name} do not belong together"
        if not meta and not found:
            return None
        if meta and meta.get("build_id") != board.identity.build_id:
            return SessionError(f"{where}: the board has another build than before", REMEDY)
        if found == 0:
            return SessionError(f"{where}: the device was reset behind its back", REMEDY)
        if self.number and found == self.number + 1:
            return SessionError(f"{where}: the last command was cut off or met an error, so the board went on alone", REMEDY)
        if not meta:
            return SessionError(f"{where}: the board is in use by another session", REMEDY)
        if found != self.number:
            return SessionError(f"{where}: another session or program has used the board", REMEDY)
        return None

    def _read_number(self) -> int:
        """0 where the session has none yet."""
        path = self.home / NUMBER
        try:
            return int(content(path))
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            if is_of_the_system(error):
                raise SessionError(f"{path} cannot be read: {error.strerror}", advice(error)) from error
            raise SessionError(f"{path} is damaged: {error}", REMEDY) from error

    def _mark(self) -> None:
        """The board is about to change."""
        if not self.number:
            self.number = 2 * (secrets.randbits(30) + 1)
            make_home(self.home)
            replace_file(self.home / NUMBER, f"{self.number}\n")
        self.device.device.mmio.write32(SCRATCH, self.number + 1)

    def save(self) -> None:
        super().save()
        self.device.device.mmio.write32(SCRATCH, self.number)

    def _write(self, commands: int) -> OSError | None:
        self._mark()  # also after a reset, which cleared it
        build = self.device.device.identity.build_id
        return write_generation(self.home, self.device, self.target, commands, self._box.history, build_id=build)

    def trace(self, path: Path, budget: int | None = None) -> None:
        """A waveform of the same commands on a simulation of the same design."""
        history = self._box.history
        self._require_whole(history)
        trace(self.target.simulation(self.device.device.identity), history.old(), history.new, path, budget)
