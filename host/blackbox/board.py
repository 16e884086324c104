"""The flight recorder of a board in lockstep: what `kvfpga handoff` needs to have a difference again in simulation.

A board has no checkpoints, so it keeps everything that was done since the last reset (history.py) and every access to the device
since the last command began. On a difference it writes a failure folder:

    report.txt, report.json    what differs, device beside expected
    commands.kvfpga            all commands since the reset, the failing ones last
    mmio.jsonl                 every access during the failing commands, with the board's answers (recording.py)
    history-N.jsonl, .bin      everything since the reset, to be done again
    board.json                 what was connected, and where the failing commands begin
    checksums.json             of all these files (seal.py)
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import script
from ..contract.commands import Command
from ..transport.recording import RecordingMmio, dump_call
from .base import BlackBox, query_lines, table_line
from .history import History, Item, MemoryWrite, QueryWrite, RegisterWrite, TableWrite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..device.device import Device
    from ..lockstep.lockstep import Lockstep
    from ..lockstep.report import Report
    from ..targets.target import Target

BOARD = "board.json"


class BoardBlackBox(BlackBox):
    """`mark` is called before the first change of the board."""

    history: History

    def __init__(self, target: Target, folder: Path | None, history: History, mark: Callable[[], None]):
        super().__init__(target, folder, history)
        self._mark = mark
        self._marked = False
        self._failing = 0
        self._device: Device | None = None

    # ---- while all is well -------------------------------------------------------------------------------------------
    def before(self, lockstep: Lockstep, commands: Sequence[Command]) -> None:
        """These are about to run."""
        self._change(lockstep)
        self._failing = len(commands)
        self.history.new += commands

    def before_memory(self, lockstep: Lockstep, addr: int, data: bytes) -> None:
        """This is about to be written."""
        self._change(lockstep)
        self.history.new.append(MemoryWrite(addr, data))

    def before_table(self, lockstep: Lockstep, codes: bytes) -> None:
        """These are about to be written into PTABLE."""
        self._change(lockstep)
        self.history.new.append(TableWrite(codes))

    def before_queries(self, lockstep: Lockstep, slot: int, bits: NDArray[np.uint16]) -> None:
        """These are about to be written into the query buffer."""
        self._change(lockstep)
        self.history.new.append(QueryWrite.of(slot, bits))

    def kept_queries(self, bits: NDArray[np.uint16]) -> None:
        """The reset left these in the query buffer."""
        self.history.new.append(QueryWrite.of(0, bits, kept=True))

    def adopted(self, addr: int, data: bytes) -> None:
        """The memory held this already, and the model took it over."""
        self.history.new.append(MemoryWrite(addr, data))

    def register_written(self, offset: int, value: int, width: int) -> None:
        """A register is about to be written that is no command."""
        self._change(None)
        self.history.new.append(RegisterWrite(offset, value, width))

    def was_reset(self) -> None:
        """Device and model were reset, SCRATCH with them."""
        self.history.clear()
        self._marked = False

    def stored(self, home: Path) -> None:
        """The next change is the first one again."""
        self._marked = False

    def taken_over(self) -> None:
        """`sync`: what the board went through before is not known."""
        self.history.clear(whole=False)

    def close(self) -> None:
        pass

    def _change(self, lockstep: Lockstep | None) -> None:
        if not self._marked:
            self._mark()
            self._marked = True
        if lockstep:
            self._device = lockstep.device
            if isinstance(self._device.mmio, RecordingMmio):
                self._device.mmio.forget()

    # ---- when it is not ----------------------------------------------------------------------------------------------
    def _fill(self, report: Report, folder: Path) -> None:
        items = [*self.history.old(), *self.history.new]
        copy = History(folder)
        copy.new, copy.whole = list(items), self.history.whole
        state = copy.commit()
        device = self._device
        calls = device.mmio.calls if device and isinstance(device.mmio, RecordingMmio) else []
        (folder / "mmio.jsonl").write_text("".join(map(dump_call, calls)))
        lines = "".join(line(item, number, folder) for number, item in enumerate(items))
        (folder / "commands.kvfpga").write_text(lines, "utf-8")
        facts = {
            "target": self.target.text, "identity": device.identity._asdict() if device else {}, "history": state,
            "items": len(items), "failing": self._failing,
        }  # fmt: skip
        (folder / BOARD).write_text(json.dumps(facts, indent=2) + "\n")
        if self.history.whole:
            report.reproduce = f"kvfpga handoff {shlex.quote(str(folder))}"
        else:
            report.notes.append("what the board went through before the last `sync` is not known, so it cannot be done again")


def line(item: Item, number: int, folder: Path) -> str:
    """One thing that was done, as lines of a kvfpga script; bytes go into files of `folder`."""
    match item:
        case MemoryWrite(addr, data):
            path = folder / f"bytes-{number}.bin"
            path.write_bytes(data)
            return f"mem write {addr:#x} --data {shlex.quote(str(path))}\n"
        case RegisterWrite(offset, value, _):
            return f"reg write {offset:#x} {value:#x}\n"
        case TableWrite():
            return table_line(item, folder / f"table-{number}.npy") + "\n"
        case QueryWrite():
            return "".join(text + "\n" for text in query_lines(item, folder, number))
    return script.line(item) + "\n"
