"""What callers hand to a device, looked at before anything is done with it: once, for `Lockstep` and `Reference` alike.

A check takes the arguments of the method that it is named after, and returns them as plain Python values, or raises `UsageError`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from ..contract import rank_tables
from ..contract.commands import KINDS, Command, Score
from ..contract.errors import UsageError
from ..contract.inputs import LARGEST_MEMORY
from ..contract.wording import short
from ..device.regmap import REGISTERS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .surface import Primitives


def guard(kind: type[Primitives]) -> None:
    """Put the checks in front of the methods that `kind` defines."""
    for name in NAMES:
        if method := vars(kind).get(name):
            setattr(kind, name, _guarded(method, CHECKS.get(name)))


def _guarded(method: Any, check: Callable[..., tuple[Any, ...]] | None) -> Any:
    @wraps(method)
    def call(self: Primitives, /, *arguments: Any, **named: Any) -> Any:
        if self.closed:
            raise UsageError(f"{method.__name__}: this device is closed", "open it again (`kvfpga.open`)")
        if check:
            return method(self, *check(self, *arguments, **named))
        return method(self, *arguments, **named)

    return call


def number(name: str, value: object, bits: int = 64) -> int:
    """A whole number that fits into an operand; what the device refuses by itself is left to it."""
    try:
        found = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name} {short(repr(value))} is not a whole number", "give an integer of Python or numpy") from None
    if found < 0 or found >> bits:
        shown = str(found) if found.bit_length() <= 128 else f"of {found.bit_length()} bits"
        what = "is negative" if found < 0 else f"does not fit into {bits} bits"
        raise UsageError(f"{name} {shown} {what}", f"give 0 to {(1 << bits) - 1:#x}")
    return found


def a_command(value: object) -> Command:
    if type(value) not in KINDS:
        kinds = ", ".join(kind.__name__ for kind in KINDS)
        raise UsageError(f"{short(repr(value))} is no command", f"commands: {kinds} of kvfpga, such as kvfpga.Step(120)")
    return value  # type: ignore[return-value]


def some_commands(values: object) -> Sequence[Command]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"{short(repr(values))} is no list of commands", "such as [kvfpga.Step(1), kvfpga.Step(2)]")
    found = values if isinstance(values, list) else list(values)
    for value in found:
        a_command(value)
    return found


# ---- by method ---------------------------------------------------------------------------------------------------------


def _run_through(device: Primitives, commands: object, checks: Iterable[int]) -> tuple[Any, ...]:
    return some_commands(commands), [number("check", check) for check in checks]


def _scores(device: Primitives, commands: object) -> tuple[Any, ...]:
    found = some_commands(commands)
    for command in found:
        if type(command) is not Score:
            raise UsageError(f"{short(repr(command))} is no Score, and only those overlap", "`execute_many` takes any command")
    return (found,)


def _entry(device: Primitives, index: object) -> tuple[Any, ...]:
    found = number("entry", index)
    if found >= device.entries:
        raise UsageError(f"there is no entry {found}: this device has {device.entries:,}", "entries count from 0")
    return (found,)


def _read_entries(device: Primitives, lo: object, hi: object) -> tuple[Any, ...]:
    first, end = number("lo", lo), number("hi", hi)
    if not first <= end <= device.entries:
        raise UsageError(f"[{first}, {end}) is not a range of the {device.entries:,} entries", "entries count from 0")
    return first, end


def _digest(device: Primitives, lo: object = 0, hi: object = None) -> tuple[Any, ...]:
    return number("lo", lo), None if hi is None else number("hi", hi)


def _memory_read(device: Primitives, addr: object, size: object) -> tuple[Any, ...]:
    first, count = number("addr", addr), number("size", size)
    if count > LARGEST_MEMORY:
        raise UsageError(f"{count:,} bytes are more than the {LARGEST_MEMORY:,} that one read gives", "read it in pieces")
    return first, count


def _memory_write(device: Primitives, addr: object, data: object) -> tuple[Any, ...]:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UsageError(f"data is {type(data).__name__}, not bytes", "an array gives them: array.astype('<f2').tobytes()")
    content = bytes(data)
    if len(content) > LARGEST_MEMORY:
        raise UsageError(f"{len(content):,} bytes are more than the {LARGEST_MEMORY:,} of one write", "write them in pieces")
    return number("addr", addr), content


def _write_table(device: Primitives, codes: object) -> tuple[Any, ...]:
    return (rank_tables.codes(codes, device.model.classes),)


def _slots(device: Primitives, slot: object, count: int) -> int:
    from ..contract import queries  # which few need

    queries.size(device.model)
    first = number("slot", slot)
    queries.check_slots(first, count)
    return first


def _read_queries(device: Primitives, slot: object, count: object) -> tuple[Any, ...]:
    amount = number("count", count)
    return _slots(device, slot, amount), amount


def _write_queries(device: Primitives, slot: object, bits: NDArray[np.uint16]) -> tuple[Any, ...]:
    return _slots(device, slot, len(bits)), bits


def _register(name: object) -> str:
    if not isinstance(name, str) or name not in REGISTERS:
        raise UsageError(f"{short(repr(name))} is no register", "`kvfpga reg list` shows their names")
    return name


def _read_register(device: Primitives, name: object) -> tuple[Any, ...]:
    return (_register(name),)


def _write_register(device: Primitives, name: object, value: object) -> tuple[Any, ...]:
    found = _register(name)
    return found, number(found, value, REGISTERS[found].width)


def _read_word(device: Primitives, address: object) -> tuple[Any, ...]:
    return (number("address", address),)


def _write_word(device: Primitives, address: object, value: object) -> tuple[Any, ...]:
    return number("address", address), number("value", value, 32)


CHECKS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "execute": lambda device, command: (a_command(command),),
    "execute_many": lambda device, commands: (some_commands(commands),),
    "overlap_scores": _scores,
    "run_through": _run_through,
    "entry": _entry,
    "read_entries": _read_entries,
    "digest": _digest,
    "memory_read": _memory_read,
    "memory_write": _memory_write,
    "write_table": _write_table,
    "read_queries": _read_queries,
    "write_queries": _write_queries,
    "read_register": _read_register,
    "write_register": _write_register,
    "read_word": _read_word,
    "write_word": _write_word,
}
"""What is looked at of a method's arguments."""
NAMES = (*CHECKS, "telemetry", "settings", "dump", "read_table", "reset", "verify", "sync")
"""What a device that is closed does no more."""
