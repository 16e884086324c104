"""What the commands of one `kvfpga` process share: the options of every command, the open session, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..contract import waveforms
from ..contract.commands import Result
from ..contract.errors import UsageError
from ..session.purpose import Purpose
from . import output, progress
from .options import MAY_CHANGE, Options, Source
from .signals import uninterrupted

if TYPE_CHECKING:
    from ..contract.commands import Command
    from ..lockstep.lockstep import Lockstep
    from ..lockstep.reference import Reference
    from ..session.session import Session
    from ..targets.target import Target
    from .progress import Update

Found = TypeVar("Found")
STAYS = "the session stays as it was before this command"


@dataclass
class App:
    """Options, then state. `code` becomes the exit code: 1 once a command was refused, 0 until then. `live`: show everything at
    once, not when the state is stored. `is_line`: the command is one line of many on one device, of a script or a shell. `stays`:
    what is said of a command that was interrupted."""

    options: Options
    code: int = 0
    session: Session | None = None
    _device: Lockstep | Reference | None = None
    changed: bool = False
    stored: bool = False
    live: bool = False
    is_line: bool = False
    stays: str = STAYS
    _is_asked: bool = False

    # ---- the options -----------------------------------------------------------------------------------------------
    @property
    def target(self) -> Target:
        return self.options.device

    @property
    def folder(self) -> Path | None:
        return self.options.session

    @property
    def json(self) -> bool:
        return self.options.json

    @property
    def check(self) -> bool:
        return not self.options.no_check

    @property
    def trace(self) -> Path | None:
        return self.options.trace

    def take(self, name: str, value: Any, shown: str) -> None:
        """An option that stands behind the command. UsageError where it is too late for it."""
        if self.is_line and name not in MAY_CHANGE:
            raise click.UsageError(
                f"{shown} cannot change from line to line: the device is open. Give it where that begins, "
                f"as kvfpga {shown} … run FILE, or kvfpga {shown} … shell."
            )
        if name == "recover":
            raise click.UsageError(f"{shown} goes before the command: kvfpga {shown} COMMAND.")
        self.options = self.options.having(name, value, Source.OPTION)
        self.settle()

    def settle(self) -> None:
        """Put in force what the options say about notes, and about calls to the device."""
        output.be_quiet(self.options.quiet)
        if self.options.verbose or self.options.log:
            from . import calls

            calls.tell(self.options.verbose, self.options.log)

    @contextmanager
    def line(self) -> Iterator[None]:
        """One of many command lines on one device: what it says for itself is forgotten behind it."""
        before = self.options, self.is_line
        self.is_line = True
        try:
            yield
        finally:
            self.options, self.is_line = before

    # ---- the device ------------------------------------------------------------------------------------------------
    def device(self, purpose: Purpose = Purpose.RUN) -> Lockstep | Reference:
        """The session's device, opened once. A purpose that changes it has its state stored."""
        changes = purpose.changes
        if not self._is_asked and not self.live:
            output.hold()
        self._is_asked = True
        if self._device is None:
            import numpy  # noqa: F401  # here and not deep inside: 3.11 has it import slowly where the stack is deep

            from ..session.open import open_session

            if self.target.log and self.target.kind == "model":
                note("--target model has no hardware, so there are no calls to show")
            if self.trace:
                waveforms.make(self.trace)  # before a model is built for nothing
            self.session = session = open_session(self.target, self.folder, note).__enter__()
            try:
                self._device = session.open(self.check, purpose)
            except BaseException:
                self.close()  # a shell's next line opens it anew, and would wait for this lock
                raise
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
            with uninterrupted():
                self.opened.save()
                self.stored = True
        except BaseException:
            output.drop()  # it would say that all is well
            raise

    def record(self, hung: bool = False) -> None:
        """The waveform of this process's commands (--trace), once. `hung`: the last one did not end."""
        if self.trace and self._device:
            from ..blackbox.retrace import HANG_CYCLES
            from ..blackbox.wave_view import opening

            path, self.options = self.trace, self.options.having("trace", None, Source.OPTION)
            self.opened.trace(path, HANG_CYCLES if hung else None)
            note(f"waveform in {path}: {opening(path)}")

    def close(self) -> None:
        """Let go of device and lock; what `finish` did not store is forgotten."""
        session, self.session, self._device, self.changed = self.session, None, None, False
        if session:
            session.__exit__()

    def begin(self) -> None:
        """Another command on the same device, as if in a process of its own."""
        self.code, self.stored, self.live, self.stays, self._is_asked = 0, False, False, STAYS, False

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
        return Result(done[-1].code, cycles=sum(result.cycles for result in done), why=done[-1].why)

    def show(self, name: str, result: Result, /, **more: Any) -> None:
        """The outcome of a command: one JSON object, or lines for people. `more` are further keys of the object."""
        device = self.device()
        if result.code != "OK":
            self.code = max(self.code, 1)
        if self.json:
            if result.why:
                warn(f"{name}: {result.why}")
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


def usable(names: Iterable[str], load: Callable[[str], Found]) -> Iterator[Found]:
    """What `load` finds by each name. One that cannot be used, a plugin or a file of the user's, does not hide the others; what
    is wrong with it is said."""
    for name in names:
        try:
            yield load(name)
        except UsageError as error:
            warn(f"left out {name}: {error.message}")


def note(text: str) -> None:
    """A line for people, on stderr; --quiet leaves it out."""
    if not output.is_quiet():
        warn(text)


def warn(text: str) -> None:
    """A line on stderr that nobody must miss: what did not come to be as it was asked for."""
    output.complain(f"kvfpga: {text}")
