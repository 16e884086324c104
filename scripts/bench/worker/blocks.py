"""The blocks that every bench loads: by a worker through kvfpga's commands, by scripts/bench/process.py through a file."""

from __future__ import annotations

from typing import NamedTuple

BYTES, VA = 16384, 0x7F00_0000_0000
SETTINGS = {"EVICT_THRESH": 0, "PREFETCH_THRESH": 0xFFFF}
"""With these no STEP moves a block, so that a pass is a pass over all and nothing else."""


class Block(NamedTuple):
    """In the order of a LOAD's fields."""

    request: int
    layer: int
    head: int
    token_start: int
    token_end: int
    va: int


def block(n: int) -> Block:
    first = n // 112 * 32
    return Block(1 + n % 7, n // 7 % 4, n // 28 % 4, first, first + 31, VA + n * BYTES)
