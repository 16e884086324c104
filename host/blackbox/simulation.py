"""The flight recorder of lockstep: a state to start from and what was done since, until something goes wrong.

While all is well it keeps a list, and makes a new start now and then so that the list stays short. On a difference it
writes a failure folder:

    report.txt, report.json    what differs, device beside expected
    commands.kvfpga            all commands since the start, the failing one last
    failing.kvfpga             the failing one alone
    sim/                       the device just before it: the folder is a session, see session.py
    mmio.jsonl                 every access to the device during the failing command (transport/recording.py)
    checksums.json             of all these files (seal.py)
    waveform.fst (or .vcd)     the design during the failing command
    waveform.gtkw, .sucl       what to look at in it (wave_view.py)

Everything but the report comes from running the commands again on a second simulation: a simulation repeats cycle for
cycle, so nothing need be recorded while it is fast, and it shows that the difference can be had again.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import script
from ..contract.commands import Command
from ..contract.errors import BuildError, KvfpgaError, SessionError
from ..contract.waveforms import SUFFIXES
from ..device.answers import empty_queues
from ..device.device import Device
from ..lockstep.lockstep import Lockstep
from .base import BlackBox, query_lines, table_line
from .generation import Generation, simulation_of, write_generation, written_state
from .history import History, MemoryWrite, QueryWrite, RegisterWrite, TableWrite
from .retrace import HANG_CYCLES, trace

if TYPE_CHECKING:
    import tempfile

    import numpy as np
    from numpy.typing import NDArray

    from ..lockstep.report import Report
    from ..targets.target import Target

EVERY = 30.0
"""Seconds between two starts. A start costs some milliseconds, a long list of commands long to run again."""
LOG_BYTES = 64 << 20
"""Bytes of memory and tables after which a new start is made."""
Bulk = MemoryWrite | TableWrite | QueryWrite
"""What a log has besides commands."""
AT_REST = "verify"
"""The command of a report that no command led to: the state itself differs."""


class SimulationBlackBox(BlackBox):
    """`history` None: no waveforms. While `folder` is None, no failure folder is made and no start kept."""

    def __init__(self, target: Target, folder: Path | None, history: History | None = None):
        super().__init__(replace(target, record=None), folder, history)
        self.log: list[tuple[Command, ...] | Bulk] = []
        self._start: Generation | None = None
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._since = 0.0
        self._bytes = 0

    # ---- while all is well -----------------------------------------------------------------------------------------
    def start_from(self, state: Generation) -> None:
        """`state` is what the device and the model hold now."""
        self._start, self._since, self._bytes = state, time.monotonic(), 0
        self.log.clear()

    def before(self, lockstep: Lockstep, commands: Sequence[Command]) -> None:
        """These are about to run."""
        self.agree(lockstep)
        self.done(commands)

    def before_memory(self, lockstep: Lockstep, addr: int, data: bytes) -> None:
        """This is about to be written."""
        self._before_write(lockstep, MemoryWrite(addr, data), len(data))

    def before_table(self, lockstep: Lockstep, codes: bytes) -> None:
        """These are about to be written into PTABLE."""
        self._before_write(lockstep, TableWrite(codes), len(codes))

    def before_queries(self, lockstep: Lockstep, slot: int, bits: NDArray[np.uint16]) -> None:
        """These are about to be written into the query buffer."""
        self._before_write(lockstep, QueryWrite.of(slot, bits), bits.nbytes)

    def kept_queries(self, bits: NDArray[np.uint16]) -> None:
        """The reset left these in the query buffer."""
        if self.history:
            self.history.new.append(QueryWrite.of(0, bits, kept=True))

    def _before_write(self, lockstep: Lockstep, write: Bulk, size: int) -> None:
        self.agree(lockstep)
        self._written(write, size)

    def _written(self, write: Bulk, size: int) -> None:
        if self.folder:
            self.log.append(write)
            self._bytes += size
        if self.history:
            self.history.new.append(write)

    # ---- the same in two halves, for who hears of commands when they have run ------------------------------------------
    def agree(self, lockstep: Lockstep) -> None:
        """Device and model are in the same state: a start is made of it where one is due."""
        if self.folder:
            self._refresh(lockstep)

    def done(self, commands: Sequence[Command]) -> None:
        """These have run since."""
        if self.folder:
            self.log.append(tuple(commands))
        if self.history:
            self.history.new += commands

    def memory_done(self, addr: int, data: bytes) -> None:
        """This was there before the commands that come next."""
        self._written(MemoryWrite(addr, data), len(data))

    def table_done(self, codes: bytes) -> None:
        """These were written into PTABLE."""
        self._written(TableWrite(codes), len(codes))

    def query_done(self, slot: int, bits: NDArray[np.uint16]) -> None:
        """These were written into the query buffer."""
        self._written(QueryWrite.of(slot, bits), bits.nbytes)

    def register_written(self, offset: int, value: int, width: int) -> None:
        """A register was written that is no command: the next command makes a new start."""
        self._forget()
        if self.history:
            self.history.new.append(RegisterWrite(offset, value, width))

    def adopted(self, addr: int, data: bytes) -> None:
        """The model took over what the memory held before: never of a simulation, whose memory is blank."""

    def was_reset(self) -> None:
        """Device and model were reset."""
        self._forget()
        if self.history:
            self.history.clear()

    def stored(self, home: Path) -> None:
        """The session has the state: a start that need not be made."""
        try:
            self.start_from(written_state(home))
        except SessionError:  # it is stored all the same
            self._forget()

    def _forget(self) -> None:
        """The start is no good any more: the next command makes a new one."""
        self._start = None
        self.log.clear()

    def taken_over(self) -> None:
        """The state was taken over from the device: `sync`."""
        self._forget()

    def close(self) -> None:
        if self._own:
            self._own.cleanup()
            self._own = None

    def _refresh(self, lockstep: Lockstep) -> None:
        if self._start and self._bytes <= LOG_BYTES and time.monotonic() - self._since <= EVERY:
            return
        import tempfile

        own = tempfile.TemporaryDirectory(prefix="kvfpga-")
        write_generation(Path(own.name), lockstep, self.target)
        self.close()
        self._own = own
        self.start_from(written_state(Path(own.name)))

    # ---- when it is not --------------------------------------------------------------------------------------------
    def _fill(self, report: Report, folder: Path) -> None:
        import tempfile

        print(f"kvfpga: a difference; running the last commands again for {folder}", file=sys.stderr)
        at_rest = report.command == AT_REST
        budget = None if report.differences else HANG_CYCLES
        start = self._start
        if start is None:
            report.notes.append("nothing was recorded before it")
            return
        (folder / "commands.kvfpga").write_text(self._script(folder, at_rest), "utf-8")
        with tempfile.TemporaryDirectory(prefix="kvfpga-") as scratch:
            place = self._find(start, Path(scratch), at_rest, budget)
            if place is None:
                report.notes.append(
                    "it did not show again when the recorded commands ran on a second simulation: "
                    "something besides these commands changed one side"
                )
                return
            batch = () if at_rest else self._last_batch()
            failing = list(batch[place : place + 1])
            line = script.line(failing[0]) if failing else AT_REST
            lines = self._script(folder, at_rest, behind=len(batch[place + 1 :]))
            (folder / "commands.kvfpga").write_text(lines, "utf-8")
            if line != report.command:
                report.notes.append(f"the failing command of the batch is `{line}`")
            (folder / "failing.kvfpga").write_text(line + "\n", "utf-8")
            history = self._keep(Path(scratch), folder / self.target.kind, batch, place)
        report.reproduce = self._command(folder, SUFFIXES[0])
        self._record(folder, failing, budget)
        if history and history.whole:
            report.reproduce = self._command(folder, self._waveform(folder, history, failing, budget))

    def _waveform(self, folder: Path, history: History, failing: list[Command], budget: int | None) -> str:
        """waveform.fst, or .vcd where the former cannot be built. Which it is."""
        for kind in SUFFIXES:
            try:
                trace(self.target, history.old(), failing, folder / f"waveform{kind}", budget)
                return kind
            except BuildError as error:
                reason = error
        raise reason

    def _last_batch(self) -> tuple[Command, ...]:
        last = self.log[-1]
        return () if isinstance(last, Bulk) else last

    def _find(self, start: Generation, scratch: Path, at_rest: bool, budget: int | None) -> int | None:
        """How many commands of the last batch pass before one fails, None where all pass; the state before that batch
        is then in `scratch`. `at_rest`: not a command fails, but `verify` after all of them."""
        passed, last = (self.log, ()) if at_rest else (self.log[:-1], self._last_batch())
        with self._second(start) as pair:
            for step in passed:
                if isinstance(step, MemoryWrite):
                    pair.memory_write(*step)
                elif isinstance(step, TableWrite):
                    pair.write_table(step.table)
                elif isinstance(step, QueryWrite):
                    pair.write_queries(step.slot, step.queries)
                else:
                    pair.execute_many(step)
            write_generation(scratch, pair, self.target)
            pair.check = True
            if budget:
                simulation_of(pair).idle_budget = budget
            for place, command in enumerate(last):
                if self._fails(pair.execute, command):
                    return place
            return 0 if at_rest and self._fails(pair.verify) else None

    @staticmethod
    def _fails(run: Callable[..., object], *arguments: object) -> bool:
        try:
            run(*arguments)
        except KvfpgaError:
            return True
        return False

    def _keep(self, scratch: Path, home: Path, batch: Sequence[Command], place: int) -> History | None:
        """Make a session of the state just before the failing command, which is `place` commands after `scratch`."""
        history = None
        if self.history:
            history = History(home)
            history.new, history.whole = [*self.history.old(), *self.history.new], self.history.whole
            del history.new[len(history.new) - len(batch) + place :]
        with self._second(written_state(scratch)) as pair:
            pair.execute_many(batch[:place])
            write_generation(home, pair, self.target, history=history)
        return history

    def _record(self, folder: Path, failing: list[Command], budget: int | None) -> None:
        """mmio.jsonl."""
        from ..transport.recording import RecordingMmio

        with written_state(folder / self.target.kind).checkpoint() as checkpoint:
            simulation = self.target.open_simulation(restore=checkpoint)
        with RecordingMmio(simulation, folder / "mmio.jsonl") as mmio:
            device = Device(mmio)
            if budget:
                simulation.idle_budget = budget
            with suppress(KvfpgaError):  # a device that hangs is recorded up to there
                if failing:
                    device.execute_checked(failing[0])
                else:
                    device.read_entries()

    def _second(self, state: Generation) -> Lockstep:
        """Another device and model, in this state."""
        with state.checkpoint() as checkpoint:
            pair = self.target.open_lockstep(check=False, restore=checkpoint)
        state.read_model(pair)
        empty_queues(pair.device.mmio)  # a driver may not have read them yet
        return pair

    def _command(self, folder: Path, wave: str) -> str:
        """The one that shows the failure again."""
        rtl = os.environ.get("KVFPGA_RTL")
        words = [f"KVFPGA_RTL={shlex.quote(rtl)}"] if rtl else []
        words += ["kvfpga", self.target.options, "--session", shlex.quote(str(folder))]
        words += [
            "--trace",
            shlex.quote(str(folder / f"again{wave}")),
            "run",
            shlex.quote(str(folder / "failing.kvfpga")),
        ]
        return " ".join(words)

    def _script(self, folder: Path, at_rest: bool, behind: int = 0) -> str:
        """`behind`: commands of the last batch that ran behind the failing one."""
        lines = []
        for number, step in enumerate(self.log):
            if isinstance(step, TableWrite):
                lines.append(table_line(step, folder / f"table-{number}.npy"))
            elif isinstance(step, QueryWrite):
                lines += query_lines(step, folder, number)
            elif isinstance(step, MemoryWrite):
                (folder / f"bytes-{number}.bin").write_bytes(step.data)
                lines.append(f"mem write {step.addr:#x} --data {shlex.quote(str(folder / f'bytes-{number}.bin'))}")
            else:
                lines += [script.line(command) for command in step]
        return "".join(line + "\n" for line in (*lines[: len(lines) - behind], *([AT_REST] if at_rest else [])))
