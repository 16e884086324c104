"""The hash behind DIGEST (contract R24; its arithmetic is fixed in docs/digest.md).

One 64-bit hash per valid entry over (index, entry, va); DIGEST is the sum of the hashes of a range, mod 2^64. A sum, so
that the hardware can add in any order and that a model may keep the hashes of the entries that did not change; the
index is hashed in, so that swapped entries, or two entries changed alike, do not cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

MASK = (1 << 64) - 1
SEED = 0x9E3779B97F4A7C15
ABSORB = ((23, 29), (18, 31), (27, 33), (9, 28), (35, 25))
"""(left, right) shifts of the rounds that take one word in: the entry's four 64-bit words, then va."""
FINISH = ((21, 37), (13, 32), (30, 27), (11, 36))
"""Shifts of the rounds after the last word."""


def entry_hash(index: int, words: tuple[int, ...]) -> int:
    """The hash of one entry, in plain integers: many times faster than arrays of one."""
    h = (index << 32) ^ SEED
    for word, (left, right) in zip((*words, *[0] * len(FINISH)), ABSORB + FINISH):
        h ^= word
        h = h + (h << left) & MASK
        h ^= h >> right
    return h


def begun_hashes(index: NDArray[np.uint64], words: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """uint64[n]: what n entries' hashes are behind their first words: `index` uint64[n], `words` some uint64[n] (entry bits
    63:0 first)."""
    return _mixed((index << 32) ^ SEED, words, ABSORB[: len(words)])


def ended_hashes(begun: NDArray[Any], words: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """uint64[n] hashes from what `begun_hashes` gave, which stays as it is, and the other words, va last."""
    return _mixed(begun.copy(), words, ABSORB[-len(words) :] + FINISH)


def _mixed(h: NDArray[Any], words: tuple[NDArray[Any], ...], rounds: tuple[tuple[int, int], ...]) -> NDArray[Any]:
    shifted = np.empty_like(h)

    def mix(left: int, right: int) -> None:
        np.left_shift(h, left, out=shifted)
        np.add(h, shifted, out=h)
        np.right_shift(h, right, out=shifted)
        np.bitwise_xor(h, shifted, out=h)

    for word, shifts in zip(words, rounds):
        np.bitwise_xor(h, word, out=h)
        mix(*shifts)
    for shifts in rounds[len(words) :]:
        mix(*shifts)
    return h
