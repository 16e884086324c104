"""`kvfpga reg`: any register by name or address, without the reference losing track.

A write to a doorbell or to a setting is a command to the device (R3, R5). Here it is turned into that command, with
the operands that the device's registers hold, and runs like any other: result, lockstep check and all. Writes to other
registers go straight to the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from ..contract.commands import QUERY_SLOTS, Command, Result
from ..contract.errors import BusError, DeviceRefused, UsageError
from ..contract.parameters import BUCKETS
from ..contract.wording import meant, short, width
from ..transport.mmio import SPACE_BYTES
from .answers import DIGEST_RANGE
from .codec import RESET_BIT, bits, commands_of
from .regmap import PTABLE, QUERY, REGISTERS, SCORES, Register

SCORE_BYTES = 4096
"""Of the window SCORES."""
ACCESS = {"r": "read", "w": "write", "rw": "read and write"}
"""What a register is there for, in words."""
BY_OFFSET = {register.offset: name for name, register in REGISTERS.items()}
HIGH_WORDS = {register.offset + 4: name for name, register in REGISTERS.items() if register.width == 64}


class Accessible(Protocol):
    """A device whose registers are read and written, in lockstep or alone (lockstep/surface.py)."""

    def read_register(self, name: str) -> int: ...

    def write_register(self, name: str, value: int) -> None: ...

    def read_word(self, address: int) -> int: ...

    def write_word(self, address: int, value: int) -> None: ...

    def execute(self, command: Command) -> Result: ...

    def digest(self, lo: int, hi: int) -> int: ...

    def reset(self) -> None: ...


class Place(NamedTuple):
    """Where an access goes. `register` None: a plain 32-bit word at `address`."""

    address: int
    register: Register | None


def find(text: str) -> Place:
    """NAME, or ADDR in decimal or 0x. The address of a register's (low) word means the whole register."""
    from ..contract.numbers import number

    if text.upper() in REGISTERS:
        register = REGISTERS[text.upper()]
        return Place(register.offset, register)
    try:
        address = number(text)
    except ValueError:
        near = meant(text.upper(), REGISTERS)
        raise UsageError(f"no register is called {short(text)}{near}", "`kvfpga reg list` shows them all") from None
    return Place(address, REGISTERS.get(BY_OFFSET.get(address, "")))


def read(target: Accessible, place: Place) -> int:
    with _explained(place):
        if place.register:
            return target.read_register(place.register.name)
        _inside(place, False)
        return target.read_word(place.address)


def write(target: Accessible, place: Place, value: int) -> Result | None:
    """The command's result where the write is one (the worst of two for a CTRL write that is two); None otherwise."""
    with _explained(place):
        return _write(target, place, value)


def _write(target: Accessible, place: Place, value: int) -> Result | None:
    register = place.register
    room = register.width if register else 32
    if value >> room:
        what = f"{register.name if register else f'the word at {place.address:#x}'} is asked to be {value:#x}"
        raise UsageError(f"{what}; {width(room)} (R1)", "`kvfpga reg list` shows all widths")
    if register is None:
        _inside(place, True)
        if place.address in HIGH_WORDS and "w" in REGISTERS[HIGH_WORDS[place.address]].access:
            name = HIGH_WORDS[place.address]
            raise UsageError(
                f"{place.address:#x} is the high word of {name}, and writing it alone would act on half a value (R1)",
                f"write the whole register: `kvfpga reg write {name} VALUE`",
            )
        target.write_word(place.address, value)
        return None
    if register.name == "CTRL" and value & RESET_BIT:
        target.reset()
        return Result("OK")
    if register.name == "DIGEST_END":
        return _digest(target, value)
    commands = commands_of(register, value, target.read_register)
    if commands is None:
        target.write_register(register.name, value)
        return None
    results = [target.execute(command) for command in commands]
    return max(results, key=lambda result: result.code != "OK")


def _digest(target: Accessible, end: int) -> Result:
    """The digest is then in register DIGEST, where there is one."""
    first = target.read_register("DIGEST_FIRST")
    try:
        target.digest(first, end)
    except DeviceRefused as refusal:
        return Result(refusal.code, why=f"the range is {first} to {end}; {DIGEST_RANGE}")
    return Result("OK")


def table_word(address: int, classes: int) -> int | None:
    """The number of a word of PTABLE's window (R45); None where the address is none of them."""
    place, odd = divmod(address - PTABLE, 4)
    return None if odd or not 0 <= place < classes * BUCKETS // 4 else place


def is_score(address: int) -> bool:
    """Is that a word of SCORES, whose reading counts (R33)?"""
    return SCORES <= address < SCORES + SCORE_BYTES


def query_word(address: int, head_dim: int) -> int | None:
    """The number of a word of the query buffer (R30); None where the address is none of them."""
    place, odd = divmod(address - QUERY, 4)
    return None if odd or not 0 <= place < QUERY_SLOTS * head_dim // 2 else place


def shown(offset: int) -> str:
    """The register at an offset by its name, as people look for it; the offset where it is none."""
    if offset in HIGH_WORDS:
        return f"{HIGH_WORDS[offset]}+4"
    return BY_OFFSET.get(offset, f"{offset:#x}")


def fields(register: Register, value: int) -> dict[str, int]:
    """The value taken apart; empty where the register is one number."""
    if list(register.fields) == ["value"]:
        return {}
    return {name: bits(value, field) for name, field in register.fields.items()}


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Have a bus error say what may be done there."""
    try:
        yield
    except BusError as error:
        error.remedy = f"{_allowed(place)}; `kvfpga reg list` shows them all, `kvfpga reg read ERROR` the first error's code"
        raise


def _allowed(place: Place) -> str:
    if place.register:
        return f"{place.register.name} is a register to {ACCESS[place.register.access]} (R2)"
    if place.address % 4:
        return f"words are at multiples of 4, and {place.address:#x} is none (R2)"
    return "no register is there that takes such an access (R2)"


def _inside(place: Place, is_write: bool) -> None:
    if place.address >= SPACE_BYTES:
        raise BusError(place.address, is_write, detail=f"the register space ends at {SPACE_BYTES:#x}")
