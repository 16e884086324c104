"""The compute engine of the reference model (R31, R32, D33): what `nmce_exact.py` says of single values, for a block at once.

Only integers are summed, so no order of additions matters and nothing is lost; floating-point numbers meet in single IEEE
operations only, which round once, as the rules have it. Imported when the first SCORE comes: no other command needs it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import Scores
from .exp_table import G_FRACTION, LINE_SLOPE, LINE_START, LOG2E, LOG2E_FRACTION, SLOPE_FRACTION, X_FRACTION
from .nmce_exact import INFINITE, INFINITY16, NAN32, ONE32, PRODUCT_UNIT, Row, scale, score

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

LIMB = 14
"""Bits of the pieces of a key's value. A piece times a query's value (40 bits and a sign, in units of 2^-24) has 54 bits, and a
sum of 256 of those has 62: it fits int64."""


def block_scores(query: NDArray[np.uint16], keys: NDArray[np.uint16], rows: int, numerators: bool) -> Scores:
    """All of a block for the bits of `query`, uint16[HEAD_DIM], and of its keys, uint16[BLOCK_TOKENS, HEAD_DIM]. The first `rows`
    rows are tokens."""
    found = row_scores(query, keys[:rows]) + [INFINITE[1]] * (len(keys) - rows)
    score_bits, half_bits = zip(*found)
    if not numerators:
        return Scores(score_bits, half_bits)
    each, largest, total = block_numerators(np.array(score_bits, np.uint32), rows)
    return Scores(score_bits, half_bits, tuple(each.tolist()), largest, total)


def row_scores(query: NDArray[np.uint16], keys: NDArray[np.uint16]) -> list[Row]:
    """The scores of the rows of `keys`. Rows that an infinity or a NaN takes part in are rare, and take the slow road."""
    values, fixed, c = _fixed().take(query), _fixed().take(keys), scale(query.size)
    sums = [(piece @ values).tolist() for piece in (fixed & _MASK, fixed >> LIMB & _MASK, fixed >> 2 * LIMB)]
    found = _rounded([(low + (middle << LIMB) + (high << 2 * LIMB)) * c for low, middle, high in zip(*sums)])
    special = _special(keys).any(axis=1) | _special(query).any()
    for row in np.flatnonzero(special).tolist():
        found[row] = score(query.tolist(), keys[row].tolist())
    return found


def _rounded(exact: list[int]) -> list[Row]:
    """Each number, in units of 2^-80, as FP32 and FP16. On the way it is a double, rounded to odd: where bits are lost the last
    one is 1, so a tie of the shorter format is still told from what is nearly one, and rounding to nearest happens once."""
    nearest = np.array([float(number) for number in exact])
    kept = [int(double) for double in nearest.tolist()]
    lost = np.array([one != other for one, other in zip(kept, exact)], bool)
    above = np.array([abs(one) > abs(other) for one, other in zip(kept, exact)], bool)
    bits = nearest.view(np.int64) - above
    bits[lost] |= 1
    doubles = np.ldexp(bits.view(np.float64), PRODUCT_UNIT)
    with np.errstate(over="ignore", under="ignore"):
        short, shorter = doubles.astype(np.float32).view(np.uint32), doubles.astype(np.float16).view(np.uint16)
    return [*map(Row, short.tolist(), shorter.tolist())]


_MASK = (1 << LIMB) - 1


@cache
def _fixed() -> NDArray[np.int64]:
    """int64[65536]: what all FP16 bits mean, in units of 2^-24; infinities and NaNs count as 0."""
    bits = np.arange(1 << 16)
    exponent, fraction = bits >> 10 & 0x1F, bits & 0x3FF
    magnitude = np.where(exponent > 0, fraction | 1 << 10, fraction) << np.maximum(exponent, 1) - 1
    values: NDArray[np.int64] = np.where(bits >> 15, -magnitude, magnitude) * ~_special(bits)
    return values


def _special(bits: NDArray[Any]) -> NDArray[np.bool_]:
    """Which FP16 values are infinite or NaN."""
    found: NDArray[np.bool_] = bits & INFINITY16 == INFINITY16
    return found


def block_numerators(scores: NDArray[np.uint32], rows: int) -> tuple[NDArray[np.uint32], int, int]:
    """e_j of every row, m and Z (R32, D33) as FP32 bits, from the scores of a block as FP32 bits."""
    tokens = scores.view(np.float32)[:rows]
    numbers = tokens[~np.isnan(tokens)]
    if not numbers.size:
        return np.where(np.arange(scores.size) < rows, NAN32, 0).astype(np.uint32), NAN32, NAN32
    largest = numbers.max()
    each = np.zeros(scores.size, np.uint32)
    same = tokens == largest
    x = tokens - np.where(same, np.float32(0), largest)  # infinity less infinity is no number
    x[same] = 0
    each[:rows] = np.where(np.isnan(tokens), NAN32, exp(x))
    total = np.float32(0)
    for e in each.view(np.float32):
        total = total + e
    return each, int(largest.view(np.uint32)), NAN32 if np.isnan(total) else int(total.view(np.uint32))


def exp(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    """FP32 bits of about e^x for every x <= 0 (D33); what NaN gives means nothing."""
    bits = x.view(np.uint32).astype(np.int64)
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    significand = np.where(exponent > 0, fraction | 1 << 23, fraction)
    shift = np.maximum(exponent, 1) - 127 - 23 + X_FRACTION
    t = np.where(shift > 0, significand << np.clip(shift, 0, 1), significand >> np.clip(-shift, 0, 24))
    v = _line(t * LOG2E >> X_FRACTION + LOG2E_FRACTION - G_FRACTION)
    v[t == 0] = ONE32
    v[exponent >= 127 + 7] = 0
    return v.astype(np.uint32)


def _line(product: NDArray[np.int64]) -> NDArray[np.int64]:
    """FP32 bits of 2^-product, where product has G_FRACTION bits behind the point."""
    k, g = product >> G_FRACTION, product & (1 << G_FRACTION) - 1
    segment, along = g >> G_FRACTION - 3, g & (1 << G_FRACTION - 3) - 1
    v = np.array(LINE_START).take(segment) - (np.array(LINE_SLOPE).take(segment) * along >> SLOPE_FRACTION)
    small = v < 1 << 22
    biased = 126 - k - small
    return np.where(biased > 0, (biased << 23) + (v << 1 + small) - (1 << 23), 0)
