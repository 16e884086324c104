"""What the commands of one `kvfpga` process share: the options before the command, the open session, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.commands import Result
from ..session.purpose import Purpose
from . import output, progress

if TYPE_CHECKING:
    from ..contract.commands import Command
    from ..lockstep.lockstep import Lockstep
    from ..lockstep.reference import Reference
    from ..session.session import Session
    from ..targets.target import Target
    from .progress import Update


@dataclass
class App:
    """Options, then state. `code` becomes the exit code: 1 once a command was refused, 0 until then. `live`: show everything at
    once, not when the state is stored."""

    target: Target
    folder: Path | None
    json: bool
    check: bool
    trace: Path | None
    code: int = 0
    session: Session | None = None
    _device: Lockstep | Reference | None = None
    changed: bool = False
    stored: bool = False
    live: bool = False

    # ---- the device ------------------------------------------------------------------------------------------------
    def device(self, purpose: Purpose = Purpose.RUN) -> Lockstep | Reference:
        """The session's device, opened once. A purpose that changes it has its state stored."""
        changes = purpose.changes
        if self._device is None:
            import numpy  # noqa: F401  # here and not deep inside: 3.11 has it import slowly where the stack is deep

            from ..session.open import open_session

            if not self.live:
                output.hold()
            self.session = session = open_session(self.target, self.folder, note).__enter__()
            self._device = session.open(self.check, purpose)
            # worth keeping, whatever the command; but looking at a board must not make it ours
            changes |= session.is_new and not (self.target.is_board and purpose is Purpose.LOOK)
        else:
            self.opened.require(purpose)
        self.changed |= changes
        return self._device

    def recover(self) -> None:
        """Have the session go on from the newest state in it that is whole (--recover)."""
        from ..session.open import open_session

        with open_session(self.target, self.folder, note) as session:
            session.recover()

    @property
    def opened(self) -> Session:
        """The session, once `device` has opened it."""
        if self.session is None:
            raise RuntimeError("no command has asked for the device yet")
        return self.session

    def finish(self) -> None:
        """Record the waveform that was asked for, store the state if a command changed it, then show what was held back."""
        try:
            self.record()
        finally:
            if self.changed:
                self.changed = False
                self._save()
        output.release()

    def _save(self) -> None:
        try:
            self.opened.save()
        except BaseException:
            output.drop()  # it would say that all is well
            raise
        self.stored = True

    def record(self, hung: bool = False) -> None:
        """The waveform of this process's commands (--trace), once. `hung`: the last one did not end."""
        if self.trace and self._device:
            from ..blackbox.retrace import HANG_CYCLES
            from ..blackbox.wave_view import opening

            path, self.trace = self.trace, None
            self.opened.trace(path, HANG_CYCLES if hung else None)
            note(f"waveform in {path}: {opening(path)}")

    def close(self) -> None:
        """Let go of device and lock; what `finish` did not store is forgotten."""
        if self.session:
            self.session.__exit__()
            self.session = self._device = None

    # ---- running and showing ---------------------------------------------------------------------------------------
    def execute(self, command: Command) -> Result:
        """Run one command and show its result."""
        result = self.device().execute(command)
        self.show(command.name, result)
        return result

    def execute_all(self, commands: Sequence[Command]) -> Result:
        """Run commands up to the first that is refused; one result for all of them, not shown yet."""
        done = []
        for command in commands:
            done.append(self.device().execute(command))
            if done[-1].code != "OK":
                break
        return Result(done[-1].code, cycles=sum(result.cycles for result in done))

    def show(self, name: str, result: Result, /, **more: Any) -> None:
        """The outcome of a command: one JSON object, or lines for people. `more` are further keys of the object."""
        device = self.device()
        if result.code != "OK":
            self.code = max(self.code, 1)
        if self.json:
            output.print_json(output.result_object(name, result, device.checked) | more)
        else:
            output.print_result(name, result, device.checked)

    def present(self, found: Mapping[str, Any], people: Callable[[], object]) -> None:
        """Something that was asked for: `found` as JSON, or whatever `people()` prints."""
        if self.json:
            output.print_json(found)
        else:
            people()

    def progress(self, what: str) -> AbstractContextManager[Update]:
        """Yields `update(done, total, text="")`, which shows on stderr how far `what` has got."""
        return progress.shown(what)


def note(text: str) -> None:
    """A line for people, on stderr."""
    output.complain(f"kvfpga: {text}")
