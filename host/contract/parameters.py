"""Build parameters of the device (contract section 1): what a design may have, and what it has where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import UsageError
from .wording import short

LIMITS = {
    "entries": (256, 65536), "lanes": (1, 16), "data_bits": (32, 512), "block_tokens": (2, 1024), "head_dim": (1, 1024),
    "classes": (16, 256),
}  # fmt: skip
"""Least and most of each parameter; all are powers of two."""
BUCKETS = 64
"""Age buckets of a class in PTABLE (R43, R45): a code, one byte, each."""
BLOCK_BYTES = (256, 65536)
"""Least and most bytes of a block."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of one design. UsageError where no design can have them."""

    entries: int = 65536
    lanes: int = 8
    data_bits: int = 512
    block_tokens: int = 32
    head_dim: int = 128
    classes: int = 256

    def __post_init__(self) -> None:
        for parameter in fields(self):
            check(parameter.name, getattr(self, parameter.name), parameter.name.upper())

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


def room_for_nmce(block_tokens: int, head_dim: int, data_bits: int = LIMITS["data_bits"][0]) -> bool:
    """Can a design of these sizes have the compute engine (R36, D33)? A row of keys must be a beat of the memory at least."""
    return block_tokens <= 256 and 4 <= head_dim <= 256 and 16 * head_dim >= data_bits


DEFAULT = Parameters()
