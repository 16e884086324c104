"""Build parameters of the device (contract section 1): what a design may have, and what it has where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import UsageError
from .wording import short

LIMITS = {
    "entries": (256, 65536), "lanes": (1, 16), "data_bits": (32, 512), "block_tokens": (2, 1024), "head_dim": (1, 1024),
    "classes": (16, 256),
}  # fmt: skip
"""Least and most of each parameter that is a number; all are powers of two."""
BUCKETS = 64
"""Age buckets of a class in PTABLE (R43, R45): a code, one byte, each."""
BLOCK_BYTES = (256, 65536)
"""Least and most bytes of a block."""
NMCE_TOKENS, NMCE_DIM = 256, (4, 256)
"""What the compute engine can do: most BLOCK_TOKENS, least and most HEAD_DIM."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of one design. UsageError where no design can have them. `nmce`: with the compute engine (R36); None, which
    becomes True or False, is where it fits."""

    entries: int = 65536
    lanes: int = 8
    data_bits: int = 512
    block_tokens: int = 32
    head_dim: int = 128
    classes: int = 256
    nmce: bool | None = None

    def __post_init__(self) -> None:
        for parameter in fields(self):
            if parameter.name != "nmce":
                check(parameter.name, getattr(self, parameter.name), parameter.name.upper())
        fault = self._nmce_fault()
        if self.nmce not in (None, False, True):
            raise UsageError(f"NMCE must be true or false, not {short(repr(self.nmce))}", "leave it out for where it fits")
        if self.nmce and fault:
            raise UsageError(f"NMCE does not fit this design: {fault}", "leave NMCE out, or change that")
        object.__setattr__(self, "nmce", not fault if self.nmce is None else bool(self.nmce))

    def _nmce_fault(self) -> str | None:
        """Why a design of this size can have no compute engine (decision D33); None where it can."""
        if self.block_tokens > NMCE_TOKENS:
            return f"BLOCK_TOKENS is {self.block_tokens}, and a result buffer has room for {NMCE_TOKENS} scores"
        if not NMCE_DIM[0] <= self.head_dim <= NMCE_DIM[1]:
            return f"HEAD_DIM is {self.head_dim}, not {NMCE_DIM[0]} to {NMCE_DIM[1]}"
        if 16 * self.head_dim < self.data_bits:
            return f"a row of keys has {16 * self.head_dim} bits, less than the memory's width, {self.data_bits}"
        return None

    @property
    def block_bytes(self) -> int:
        """BLOCK_BYTES: keys, then values, FP16."""
        return 2 * self.block_tokens * self.head_dim * 2


def check(name: str, value: int, shown: str) -> None:
    """UsageError unless the parameter `name` may have `value`; the message calls it `shown`."""
    least, most = LIMITS[name]
    if type(value) is not int or not least <= value <= most or value & (value - 1):
        raise UsageError(f"{shown} must be a power of two from {least} to {most}, not {short(repr(value))}", f"such as {most}")


def choices(name: str) -> list[int]:
    """The values that the parameter `name` may have, ascending."""
    least, most = LIMITS[name]
    return [1 << n for n in range(least.bit_length() - 1, most.bit_length())]


DEFAULT = Parameters()
