"""The vocabulary that device, reference model and lockstep share: commands in, results out (contract sections 4 and 8).

A command is a frozen dataclass of plain integers. It carries no behaviour and no hardware knowledge: `device.Device`
turns it into register writes, `hepc_ref.ReferenceModel` into array operations, and both answer with a `Result`.

Values are not clipped here. A field wider than its register is `errors.UsageError` in the CLI; what the contract says
that the *device* refuses (a wide weight, a misaligned token_start…) passes through and comes back as an ERR_ code.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from .errors import UsageError
from .wording import short

EVICT, PREFETCH = "evict", "prefetch"
"""The two DMA channels, as they are named in triggers."""


class _Kind:
    """What frozen dataclasses have besides. Written here once: to have it compiled for each kind takes time at every start."""

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if type(value) is not int or value < 0:
                self._put(name, value)

    def _put(self, name: str, value: object) -> None:
        """Whole numbers may be numpy's; anything else that is no number, or negative, never becomes a command."""
        if name == "setting" and isinstance(value, str):
            return
        try:
            found = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            found = -1
        if found < 0:
            what = f"{type(self).__name__}: {name} {short(repr(value))}"
            raise UsageError(f"{what} must be a whole number, 0 or more", "give an integer of Python or numpy")
        self.__dict__[name] = found

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


@dataclass(frozen=True, eq=False, repr=False)
class Load(_Kind):
    """Put a block into the directory (R11). `token_end` is inclusive, `tier` 0..3, `hint` as `hint_of` makes it (R41)."""

    request: int
    layer: int
    head: int
    token_start: int
    token_end: int
    va: int
    tier: int = 1
    hint: int = 0
    name = "load"


@dataclass(frozen=True, eq=False, repr=False)
class Step(_Kind):
    """Go on to a decode step: every block is scored, cold ones leave tier 1, expected ones come back (R15)."""

    step: int
    name = "step"


@dataclass(frozen=True, eq=False, repr=False)
class Hot(_Kind):
    """Pin the blocks that the range overlaps: they are wanted now (R17). A byte range [addr, addr+length) of host virtual
    addresses, as in the commands below."""

    addr: int
    length: int
    name = "hot"


@dataclass(frozen=True, eq=False, repr=False)
class Evict(_Kind):
    """Send the blocks of a range out of tier 1 (R18)."""

    addr: int
    length: int
    name = "evict"


@dataclass(frozen=True, eq=False, repr=False)
class Prefetch(_Kind):
    """Expect the blocks of a range at the decode step `target`, and fetch them in time (R19)."""

    addr: int
    length: int
    target: int
    name = "prefetch"


@dataclass(frozen=True, eq=False, repr=False)
class Share(_Kind):
    """One more user of the blocks of a range, which makes them shared prefix (R20)."""

    addr: int
    length: int
    name = "share"


@dataclass(frozen=True, eq=False, repr=False)
class Release(_Kind):
    """One user less of the blocks of a range (R20)."""

    addr: int
    length: int
    name = "release"


@dataclass(frozen=True, eq=False, repr=False)
class ShareIndex(_Kind):
    """One more user of one block, by its entry index (R20)."""

    index: int
    name = "share"


@dataclass(frozen=True, eq=False, repr=False)
class ReleaseIndex(_Kind):
    """One user less of one block, by its entry index (R20)."""

    index: int
    name = "release"


@dataclass(frozen=True, eq=False, repr=False)
class Unload(_Kind):
    """Free the entries of the blocks of a range (R21)."""

    addr: int
    length: int
    name = "unload"


@dataclass(frozen=True, eq=False, repr=False)
class UnloadRequest(_Kind):
    """Free the entries of all blocks of one request (R21)."""

    request: int
    name = "unload"


@dataclass(frozen=True, eq=False, repr=False)
class Lookup(_Kind):
    """Find the block of a token, of the request or else of the shared prefix, and count hit or miss (R12)."""

    request: int
    layer: int
    head: int
    token_pos: int
    name = "lookup"


@dataclass(frozen=True, eq=False, repr=False)
class Touch(_Kind):
    """A lookup that is an access: the block counts as used now, and comes back from tier 2 or 3 (R13). `hint` as `hint_of`
    makes it (R41)."""

    request: int
    layer: int
    head: int
    token_pos: int
    hint: int = 0
    name = "lookup"


@dataclass(frozen=True, eq=False, repr=False)
class Score(_Kind):
    """Touch the block of a token, then compute the attention scores of its keys for the query in `slot` (R30 to R32). `flags`: 1
    for the numerators of a softmax too. `hint` as of Touch."""

    request: int
    layer: int
    head: int
    token_pos: int
    slot: int
    flags: int = 0
    hint: int = 0
    name = "score"


@dataclass(frozen=True, eq=False, repr=False)
class Class(_Kind):
    """Give the blocks of a range a class, and orders that fall from 255 - `base` along it, by one every 2^`shift` blocks
    (R42)."""

    addr: int
    length: int
    class_id: int
    base: int = 0
    shift: int = 0
    name = "class"


@dataclass(frozen=True, eq=False, repr=False)
class Set(_Kind):
    """Put one setting in force (R3, R6, R16, R22): one of those that `settings.reset_values` names, or CLEAR_COUNTERS, whose
    value is ignored."""

    setting: str
    value: int
    name = "set"


Command = (
    Load | Step | Hot | Evict | Prefetch | Share | Release | ShareIndex | ReleaseIndex | Unload | UnloadRequest
    | Lookup | Touch | Score | Class | Set
)  # fmt: skip
KINDS: tuple[type[Command], ...] = get_args(Command)
"""Every kind of command."""


NUMERATORS = 1
"""The flag of SCORE that asks for numerators, their largest score and their sum (R32)."""
QUERY_SLOTS = 64
"""Slots of the query buffer (R30)."""
HINT_SET = 1 << 16


def hint_of(class_id: int | None, order: int | None) -> int:
    """What LOAD and TOUCH carry in the layout of TOUCH_HINT (R41): class [7:0], order [15:8], set [16]. Where one of both is
    given the other is 0; where none is, the result is 0, which leaves them alone."""
    if class_id is None and order is None:
        return 0
    for name, value in (("class", class_id), ("order", order)):
        if value is not None and not 0 <= value <= 0xFF:
            raise UsageError(f"{name} is {value}; it has 8 bits, 0 to 255 (R41)", "give 0 to 255")
    return HINT_SET | (order or 0) << 8 | (class_id or 0)


def order_in(hint: int) -> int:
    """The order of such a hint."""
    return hint >> 8 & 0xFF


class Trigger(NamedTuple):
    """One block set in motion (R16). `channel` is EVICT or PREFETCH."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a trigger
    channel: str
    from_tier: int
    to_tier: int


class Scores(NamedTuple):
    """What SCORE computed of a block, as bits of floating-point numbers, one for each of its rows (R31, R32).

    `score_bits`: FP32; `half_bits`: the same scores as FP16. `exp_bits`, `max_bits`, `sum_bits`: FP32 numerators, the largest
    score, and the sum of the numerators; None where the flag did not ask for them.
    """

    score_bits: tuple[int, ...]
    half_bits: tuple[int, ...]
    exp_bits: tuple[int, ...] | None = None
    max_bits: int | None = None
    sum_bits: int | None = None


@dataclass(frozen=True)
class Result:
    """What a command left behind (R5).

    `matched`: blocks that the command selected (STEP: valid entries; load and lookup: 1 or 0), refused ones included.
    `index`, `tier`, `phys_addr`: of the entry found or loaded, else None (`tier`/`phys_addr` only for lookups and scores).
    `triggers`: in the order queued. `cycles`: device clock cycles; 0 from the reference model, which has no clock.
    `scores`: of a SCORE that was not refused. `why`: of a command that was, for people: the value, the rule and what is
    allowed, as the reference model has it; "" where no model was asked.
    """

    code: str
    matched: int = 0
    index: int | None = None
    triggers: tuple[Trigger, ...] = ()
    tier: int | None = None
    phys_addr: int | None = None
    cycles: int = field(default=0, compare=False)
    scores: Scores | None = None
    why: str = field(default="", compare=False)

    def __repr__(self) -> str:
        """What there is to say: a notebook shows it for every command."""
        named = {"matched": self.matched, "index": self.index, "tier": self.tier, "cycles": self.cycles or None}
        shown = [self.code, *(f"{name}={value}" for name, value in named.items() if value is not None)]
        if self.triggers:
            channels = [trigger.channel for trigger in self.triggers]
            shown.append("triggers: " + " ".join(f"{channels.count(kind)} {kind}" for kind in dict.fromkeys(channels)))
        return f"<Result {', '.join(shown)}{', scores' if self.scores else ''}{f': {self.why}' if self.why else ''}>"

    def _repr_html_(self) -> str | None:
        """None where there is no trigger to show: then a notebook takes the text."""
        from .showing import html_table

        if not self.triggers:
            return None
        rows: list[tuple[object, ...]] = []
        for trigger in self.triggers[:SHOWN_TRIGGERS]:
            rows.append((trigger.index, trigger.channel, f"T{trigger.from_tier} to T{trigger.to_tier}"))
        if more := len(self.triggers) - len(rows):
            rows.append((f"{more} more", "", ""))
        return html_table(("block", "channel", "way"), rows, repr(self))


SHOWN_TRIGGERS = 20
"""In a notebook; a step may have tens of thousands."""


MEANING = {
    "ERR_LEN": "the length is 0, or the range ends past 2^64",
    "ERR_NOT_FOUND": "there is no such block",
    "ERR_EXISTS": "a block with this key is already loaded",
    "ERR_FULL": "all entries are in use",
    "ERR_RANGE": "a value is out of range",
    "ERR_STEP_ORDER": "steps cannot go back",
    "ERR_NOT_RESIDENT": "the block is not in tier 1",
    "ERR_NOT_EMPTY": "only while the directory is empty",
    "ERR_UNSUPPORTED": "this device was built without the compute engine (NMCE)",
    "ERR_MEMORY": "the memory answered a read with an error",
}
"""What each code of a refused command says (contract R10)."""
REMEDY = {
    "ERR_NOT_RESIDENT": "the access counts and brings it back where T1 has room: score it again, or at once with `wait`",
    "ERR_UNSUPPORTED": "use a build with NMCE; `kvfpga info` says what a device has",
    "ERR_MEMORY": "the access counts; `kvfpga reg read ERROR` has it too: is the memory behind the device in order?",
}
"""What to do about those that not everybody has met."""
