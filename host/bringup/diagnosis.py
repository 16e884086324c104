"""From wrong words to a cause: stuck bits, exchanged or dead byte lanes, aliasing address lines, lost writes.

The march writes words from which their own address can be computed (`pattern`, `address_of`), so that a word read at the
wrong place tells where it belongs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SALT = np.uint64(0x6B76637075313030)
FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
INVERSES = tuple(np.uint64(pow(int(factor), -1, 1 << 64)) for factor in FACTORS)
SHIFTS = (30, 27, 31)

MOST = 0.9
"""A cause must explain this share of the wrong words."""
FEW_BITS = 4


class Stuck(NamedTuple):
    """Masks of bits that are wrong always in the same direction."""

    at_0: int
    at_1: int
    others: int
    """Bits that are wrong in both directions."""


# ---- patterns ------------------------------------------------------------------------------------------------------
def pattern(addresses: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """A word for each address, that looks random, and that no other address has (the mixer of SplitMix64)."""
    z = addresses.astype(np.uint64) ^ SALT
    for shift, factor in zip(SHIFTS, FACTORS):
        z = (z ^ z >> np.uint64(shift)) * factor
    mixed: NDArray[np.uint64] = z ^ z >> np.uint64(SHIFTS[2])
    return mixed


def address_of(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The addresses whose pattern the words are."""
    z = _unshift(words.astype(np.uint64), SHIFTS[2])
    for shift, inverse in zip(SHIFTS[1::-1], INVERSES[::-1]):
        z = _unshift(z * inverse, shift)
    addresses: NDArray[np.uint64] = z ^ SALT
    return addresses


def _unshift(z: NDArray[np.uint64], shift: int) -> NDArray[np.uint64]:
    """The inverse of z ^ z >> shift."""
    before: NDArray[np.uint64] = z ^ z >> np.uint64(shift) ^ z >> np.uint64(2 * shift)
    return before


# ---- data bits -----------------------------------------------------------------------------------------------------
def stuck_bits(expected: NDArray[np.unsignedinteger[Any]], read: NDArray[np.unsignedinteger[Any]]) -> Stuck:
    """Over arrays of unsigned integers."""
    lost = int(np.bitwise_or.reduce(expected & ~read))
    gained = int(np.bitwise_or.reduce(~expected & read))
    return Stuck(lost & ~gained, gained & ~lost, lost & gained)


def name_bits(mask: int) -> str:
    """ "bit 3", "bits 3, 5 and 4 more"."""
    bits = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    shown = ", ".join(map(str, bits[:FEW_BITS]))
    more = f" and {len(bits) - FEW_BITS} more" if len(bits) > FEW_BITS else ""
    return f"bit{'s' * (len(bits) > 1)} {shown}{more}"


def stuck_text(stuck: Stuck) -> str:
    """ "bit 3 stuck at 0, bit 7 stuck at 1"; empty where bits are wrong in both directions."""
    if stuck.others:
        return ""
    parts = [f"{name_bits(mask)} stuck at {level}" for level, mask in enumerate(stuck[:2]) if mask]
    return ", ".join(parts)


# ---- byte lanes ----------------------------------------------------------------------------------------------------
def byte_order(expected: bytes, read: bytes) -> str:
    """How the bytes of `read` are those of `expected` in another order; empty where they are not, or are in order.
    Both are whole words of the same length, or many of them: use `lane_order`."""
    return lane_order(np.frombuffer(expected, np.uint8)[None], np.frombuffer(read, np.uint8)[None])


def lane_order(expected: NDArray[np.uint8], read: NDArray[np.uint8]) -> str:
    """The same for uint8[n, lanes]: which lane carries which."""
    lanes = expected.shape[1]
    order = []
    for lane in range(lanes):
        candidates = sorted(range(lanes), key=lambda other: (other != lane, other))
        matching = [other for other in candidates if (read[:, lane] == expected[:, other]).mean() >= MOST]
        if not matching:
            return ""
        order.append(matching[0])
    if sorted(order) != list(range(lanes)) or order == list(range(lanes)):
        return ""
    if order == list(range(lanes))[::-1]:
        return f"the {lanes} byte lanes are in reverse order (endianness)"
    moved = [f"{lane} carries {other}" for lane, other in enumerate(order) if lane != other]
    return "byte lanes are exchanged: lane " + ", ".join(moved)


def dead_lanes(expected: NDArray[np.uint8], read: NDArray[np.uint8]) -> str:
    """Lanes (of uint8[n, lanes]) that are wrong while all others, at least half of them, are right."""
    wrong = (expected != read).mean(axis=0)
    dead = np.flatnonzero(wrong >= MOST)
    if not 0 < dead.size <= wrong.size // 2 or (wrong[wrong < MOST] > 0).any():
        return ""
    lanes = ", ".join(map(str, dead.tolist()))
    constant = {int(read[0, lane]) for lane in dead if (read[:, lane] == read[0, lane]).all()}
    return f"byte lane{'s' * (dead.size > 1)} {lanes}" + (f" always {constant.pop():#04x}" if len(constant) == 1 else " wrong")


# ---- address lines -------------------------------------------------------------------------------------------------
def address_bits(one: Sequence[int], other: Sequence[int]) -> str:
    """The address bits in which most pairs differ alone, as "address bit 14"; empty where there are none."""
    distances = Counter(a ^ b for a, b in zip(one, other))
    if not distances:
        return ""
    common = 0
    for distance, count in distances.items():
        if count >= 0.1 * sum(distances.values()) or len(distances) <= FEW_BITS:
            common |= distance
    return f"address {name_bits(common)}" if common and common.bit_count() <= FEW_BITS else ""


def beats(
    words: NDArray[np.uint64], addresses: NDArray[np.uint64], data_bits: int
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """(word of the memory's data bus, index of the words that travel on it) of 64-bit words."""
    per_beat = max(1, data_bits // 64)
    place = addresses // np.uint64(8) % np.uint64(per_beat)
    for number in range(per_beat):
        yield number, np.flatnonzero(place == number)
