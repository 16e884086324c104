"""What the project puts on a device of its own accord: the demo's chats, and block contents that can be recognised.

`kvfpga replay` and `kvfpga demo` fill blocks with `block_pattern`, and after a migration read the bytes back: a block
that was copied short, from the wrong slot or over another one cannot hold its own pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: consecutive words land far apart


def block_pattern(seed: int, size: int) -> bytes:
    """`size` bytes that look random, are always the same for one seed, and differ between seeds in every word.

    Each 64-bit word is a one-to-one mix of (seed, position), so two blocks never hold the same word at one place, and
    a block shifted by a few words does not match itself.
    """
    words = np.arange((size + 7) // 8, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x: NDArray[np.uint64] = (words << np.uint64(48) | np.uint64(seed)) * _ODD
        x ^= x >> np.uint64(32)
        x *= _ODD
        x ^= x >> np.uint64(29)
    found: bytes = x.astype("<u8").tobytes()
    return found[:size]


@dataclass(frozen=True)
class Chat:
    """One conversation: its own KV blocks follow those of the system prompt."""

    name: str
    request: int
    blocks: int


@dataclass(frozen=True)
class Workload:
    """Chats that share a system prompt.

    Token positions: the prompt's blocks come first, each chat's own blocks go on from there. Virtual addresses: the
    prompt at `va`, each chat's blocks `va_stride` bytes behind those of the one before.
    """

    prompt_blocks: int
    chats: tuple[Chat, ...]
    t1_capacity: int
    preset: str
    va: int = 0x7F00_0000_0000
    va_stride: int = 0x100_0000


DEMO = Workload(
    prompt_blocks=4,
    chats=(Chat("Alice", 0xA11C, 3), Chat("Bob", 0x0B0B, 3), Chat("Carol", 0xCA01, 3)),
    t1_capacity=12,  # one place fewer than there are blocks
    preset="balanced",
)
"""The demo's: three chats of three blocks under one system prompt of four."""
