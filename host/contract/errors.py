"""The one exception hierarchy of kvfpga, and the exit code that each branch ends a command with (contract section 8).

Every message says what is wrong; `remedy` says what to do about it. The text of an error, which tracebacks and logs show, has
both, on lines of their own. Into other messages goes `message` alone (`in_brief`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands import Result


class KvfpgaError(Exception):
    """Root of everything that kvfpga raises on purpose. `partial`: what was found before it, where that is worth showing."""

    exit_code = 3
    partial: object = None

    def __init__(self, message: str, remedy: str | None = None):
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Other processes are given it as it is: some kinds are made from more than their message."""
        return _remade, (type(self), self.args, vars(self))


def in_brief(error: BaseException) -> str:
    """What any error says, for another message; its kind where it says nothing."""
    return (error.message if isinstance(error, KvfpgaError) else str(error)) or type(error).__name__


def _remade(kind: type[KvfpgaError], arguments: tuple[object, ...], values: dict[str, Any]) -> KvfpgaError:
    found = kind.__new__(kind, *arguments)
    vars(found).update(values)
    return found


class UsageError(KvfpgaError):
    """The caller asked for something that cannot be meant: an option, a file or a value that no device is asked about."""

    exit_code = 2


class DeviceRefused(KvfpgaError):
    """The device answered a command with an ERR_ code (contract R10); `code` is its name, `result` the command's whole answer
    (None where it was no command of `commands.Command`)."""

    exit_code = 1

    def __init__(self, code: str, message: str, remedy: str | None = None, result: Result | None = None):
        super().__init__(message, remedy)
        self.code = code
        self.result = result


class NoMemoryError(UsageError):
    """Bytes of blocks were asked of a target whose driver keeps the device's memory to itself."""

    def __init__(self, name: str):
        super().__init__(
            f"the bytes of blocks do not go through {name}: its driver keeps the device's memory to itself",
            "load blocks without data; what tiers 2 and 3 hold, a program may map from the node (docs/linux.md)",
        )


class TargetError(KvfpgaError):
    """The target cannot be reached, built, or trusted."""

    exit_code = 3


class BuildError(TargetError):
    """The Verilated model could not be built: a tool is missing, or it failed."""


class BusError(TargetError):
    """The device answered an access with SLVERR or DECERR (contract R2).

    `offset` is the bus address, `is_write` the direction, `position` the place of the access in its batch (0-based);
    the accesses before it took effect, no write behind it was made. (Reads behind it may already have been on the bus.)
    """

    def __init__(self, offset: int, is_write: bool, position: int = 0, detail: str = ""):
        direction = "write to" if is_write else "read of"
        super().__init__(
            f"bus error on {direction} offset {offset:#x}" + (f": {detail}" if detail else ""),
            "look the offset up with `kvfpga reg list`; `kvfpga reg read ERROR` shows the first error's code",
        )
        self.offset = offset
        self.is_write = is_write
        self.position = position


class IdleTimeout(TargetError):
    """The device was still busy when the budget (cycles in simulation, seconds on a board) ran out."""


class CutOff(TargetError):
    """A batch or a wait was ended between two of its operations, because nobody waits for it any more."""


class SessionError(TargetError):
    """The saved state between commands cannot be used: damaged, locked too long, or made by another build."""


class SessionBusy(SessionError):
    """Another process uses the session, and went on using it for as long as this one waited."""


class DifferenceError(KvfpgaError):
    """Hardware and reference model disagree; `report` says where (lockstep/report.py, which this layer does not know)."""

    exit_code = 4
    report: Any = None
