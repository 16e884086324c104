"""Commands as register writes, in one table that is read both ways (contract R3, R5 and section 4).

`writes` says which registers a command writes, the doorbell last. `commands_of` says which commands a write to a doorbell or to a
setting is, given what the operand registers hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..contract import commands as cmd
from ..contract.commands import Command
from ..contract.errors import UsageError
from ..contract.wording import width
from .regmap import REGISTERS, Field, Opcode, Register, Setting

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    Bits = TypeVar("Bits", int, NDArray[Any])

KEY, ORDER = "key", "order"
"""Stand for request, layer and head, and for base and shift, which share one word."""


class Form(NamedTuple):
    """How one kind of command is written: (register, field of the command, KEY or ORDER) in the order of the writes, the
    doorbell last."""

    opcode: Opcode
    writes: tuple[tuple[str, str], ...]


def _range(register: str) -> tuple[tuple[str, str], ...]:
    return (f"{register}_ADDR", "addr"), (f"{register}_LEN", "length")


FORMS: dict[type[Command], Form] = {
    cmd.Load: Form(Opcode.LOAD, (
        ("TOUCH_HINT", "hint"), ("LOAD_ID", KEY), ("LOAD_TOKEN_START", "token_start"), ("LOAD_VA", "va"),
        ("LOAD_TOKEN_END", "token_end"), ("LOAD_TIER", "tier"),
    )),
    cmd.Step: Form(Opcode.STEP, (("STEP_ADVANCE", "step"),)),
    cmd.Hot: Form(Opcode.HOT, _range("BOOST")),
    cmd.Evict: Form(Opcode.EVICT, _range("IMEVICT")),
    cmd.Prefetch: Form(Opcode.PREFETCH, (*_range("PREFETCH"), ("PREFETCH_STEP", "target"))),
    cmd.Share: Form(Opcode.SHARE, _range("SHARE")),
    cmd.Release: Form(Opcode.RELEASE, _range("RELEASE")),
    cmd.ShareIndex: Form(Opcode.SHARE_INDEX, (("RTBD_SHARE", "index"),)),
    cmd.ReleaseIndex: Form(Opcode.RELEASE_INDEX, (("RTBD_RELEASE", "index"),)),
    cmd.Unload: Form(Opcode.UNLOAD, _range("UNLOAD")),
    cmd.UnloadRequest: Form(Opcode.UNLOAD_REQUEST, (("UNLOAD_ID", "request"),)),
    cmd.Lookup: Form(Opcode.LOOKUP, (("LOOKUP_ID", KEY), ("LOOKUP_POS", "token_pos"))),
    cmd.Touch: Form(Opcode.TOUCH, (("TOUCH_HINT", "hint"), ("LOOKUP_ID", KEY), ("TOUCH_POS", "token_pos"))),
    cmd.Score: Form(Opcode.SCORE, (
        ("TOUCH_HINT", "hint"), ("SCORE_ID", KEY), ("SCORE_POS", "token_pos"), ("SCORE_SLOT", "slot"), ("SCORE_FLAGS", "flags"),
    )),
    cmd.Class: Form(Opcode.CLASS, (*_range("CLASS"), ("CLASS_ID", "class_id"), ("CLASS_ORDER", ORDER))),
}  # fmt: skip
"""All commands but Set, whose register is the setting."""
_KIND_OF = {form.opcode.name: kind for kind, form in FORMS.items()}

STRICT_BIT, CLEAR_BIT, RESET_BIT = (
    1 << REGISTERS["CTRL"].fields[name].low for name in ("strict", "clear_counters", "soft_reset")
)
SETTINGS = tuple(s.name for s in Setting if s is not Setting.CTRL) + ("STRICT",)
"""The settings by their names in `commands.Set`."""
OPERANDS = tuple(
    name for name, r in REGISTERS.items() if r.access == "rw" and not r.config and name not in ("ERROR", "SCRATCH", "IRQ_ENABLE")
)
"""The registers that commands are made of."""
REFUSES_ALL_ONES = {
    "WINDOW", "CONTEND_POLICY", "T1_CAPACITY", "EVICT_TIER", "RTBD_SHARE", "RTBD_RELEASE", "UNLOAD_ID", "LOAD_TIER", "TOUCH_HINT",
    "CLASS_ID", "POLICY", "FILL_AGE", "PTABLE_COMMIT", "SCORE_SLOT", "SCORE_FLAGS",
}  # fmt: skip
"""32-bit registers of which the device refuses every value near 2^32."""


def opcode_of(command: Command) -> Opcode:
    """What the device calls the command."""
    return Opcode.SET if isinstance(command, cmd.Set) else FORMS[type(command)].opcode


# ---- from commands to writes -------------------------------------------------------------------------------------------


def writes(command: Command, strict: bool = True) -> list[tuple[str, int]]:
    """(register, value) of each write that makes the command, the doorbell last (R3). UsageError for a field that no register
    has room for.

    `strict` is the bit to leave in CTRL when the counters are cleared, because both live in one register.
    """
    match command:
        case cmd.Set():
            return [_setting_write(command, strict)]
        case cmd.Step(step) if step < 1 << 32:  # the alias is one write; what does not fit goes where the device can refuse it
            return [("STEP_FAST", step)]
    return [(register, _operand(command, field)) for register, field in FORMS[type(command)].writes]


def _operand(command: Command, field: str) -> int:
    if field == KEY and isinstance(command, (cmd.Load, cmd.Lookup, cmd.Touch, cmd.Score)):
        return pack_key(command)
    if field == ORDER and isinstance(command, cmd.Class):
        return pack_order(command)
    value: int = getattr(command, field)
    return value


def fitting(register: Register, value: int) -> int:
    """The value as the register takes it. One that does not fit becomes all ones where the device refuses those as well, so that
    it is refused and never cut (R6); UsageError elsewhere."""
    if not value >> register.width:
        return value
    if register.name not in REFUSES_ALL_ONES:
        raise UsageError(f"{register.name} is {value:#x}; {width(register.width)} (R1)", "give a value in that range")
    return (1 << register.width) - 1


def _setting_write(command: cmd.Set, strict: bool) -> tuple[str, int]:
    name, value = command.setting, command.value
    if name == "STRICT":
        if value not in (0, 1):
            raise UsageError(f"STRICT is {value}; {width(1)} (R22)", "give 0 or 1")
        return "CTRL", value * STRICT_BIT
    if name == "CLEAR_COUNTERS":
        return "CTRL", CLEAR_BIT | strict * STRICT_BIT
    if name not in SETTINGS:
        raise UsageError(f"{name} is not a setting", "settings: " + ", ".join(SETTINGS))
    return name, value


def pack_key(command: cmd.Load | cmd.Lookup | cmd.Touch | cmd.Score) -> int:
    """Word 0 of an entry, which LOAD_ID, LOOKUP_ID and SCORE_ID share."""
    word = 0
    for name, value in (("request_id", command.request), ("layer", command.layer), ("head", command.head)):
        field = REGISTERS["LOAD_ID"].fields[name]
        if not 0 <= value < 1 << field.width:
            raise UsageError(f"{name} is {value}; {width(field.width)} (contract, section 3)", "give a value in that range")
        word |= value << field.low
    return word


def pack_order(command: cmd.Class) -> int:
    """base and shift as CLASS_ORDER takes them. What does not fit becomes all ones, which the device refuses (R42)."""
    word = 0
    for name, value in (("base", command.base), ("shift", command.shift)):
        field = REGISTERS["CLASS_ORDER"].fields[name]
        word |= min(value, (1 << field.width) - 1) << field.low
    return word


# ---- from writes to commands -------------------------------------------------------------------------------------------


def commands_of(register: Register, value: int, operand: Callable[[str], int]) -> list[Command] | None:
    """The commands that writing `value` amounts to; `operand(name)` reads an operand register. None: no command."""
    if register.config == "CTRL":
        strict = cmd.Set("STRICT", int(bool(value & STRICT_BIT)))
        return [strict, cmd.Set("CLEAR_COUNTERS", 0)] if value & CLEAR_BIT else [strict]
    if register.config:
        return [cmd.Set(register.config, value)]
    kind = _KIND_OF.get(register.doorbell or "")
    if kind is None:
        return None
    *before, (_, last) = FORMS[kind].writes
    fields: dict[str, Any] = {}
    for field, word in [*((field, operand(name)) for name, field in before), (last, value)]:
        fields |= UNPACK[field](word) if field in UNPACK else {field: word}
    return [kind(**fields)]


def unpack_key(word: int) -> dict[str, int]:
    """request, layer and head out of LOAD_ID, LOOKUP_ID or SCORE_ID."""
    fields = REGISTERS["LOAD_ID"].fields
    return {name: bits(word, fields[f"{name}_id" if name == "request" else name]) for name in ("request", "layer", "head")}


def unpack_order(word: int) -> dict[str, int]:
    """base and shift out of CLASS_ORDER."""
    return {name: bits(word, field) for name, field in REGISTERS["CLASS_ORDER"].fields.items()}


UNPACK = {KEY: unpack_key, ORDER: unpack_order}
"""Words that hold more than one field of a command."""


def bits(value: Bits, field: Field) -> Bits:
    """The bits of a register field, of an int or of an integer array."""
    return value >> field.low & (1 << field.width) - 1
