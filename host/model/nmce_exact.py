"""The arithmetic of the compute engine one value at a time, in Python's integers: what R31, R32 and D33 say, word by word.

`nmce.py` does the same on whole blocks at once. This is the slow road, for who builds or checks another one: every function
takes and gives bits, and the tests hold both roads, and the RTL, against it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .exp_table import G_FRACTION, LINE_SLOPE, LINE_START, LOG2E, LOG2E_FRACTION, SLOPE_FRACTION, X_FRACTION

if TYPE_CHECKING:
    from collections.abc import Sequence

NAN32, INFINITY32, MINUS_INFINITY32, ONE32 = 0x7FC00000, 0x7F800000, 0xFF800000, 0x3F800000
NAN16, INFINITY16, MINUS_INFINITY16 = 0x7E00, 0x7C00, 0xFC00
PRODUCT_UNIT = -80
"""A product of two FP16 values is a whole number of 2^-48, and C one of 2^-32."""
SIGN32 = 1 << 31


class Row(NamedTuple):
    """A row's score: FP32 and FP16 bits, each rounded once from the exact value."""

    fp32: int
    fp16: int


NAN, INFINITE = Row(NAN32, NAN16), (Row(INFINITY32, INFINITY16), Row(MINUS_INFINITY32, MINUS_INFINITY16))


@cache
def scale(head_dim: int) -> int:
    """C of R31: floor(2^32 / sqrt(HEAD_DIM) + 1/2), in integers."""
    return (math.isqrt((1 << 66) // head_dim) + 1) // 2


def score(query: Sequence[int], key: Sequence[int]) -> Row:
    """The score of one row (R31) from the FP16 bits of both vectors, of HEAD_DIM values each."""
    dot, infinities = 0, set()
    for q, k in zip(query, key):
        negative = (q ^ k) >> 15
        q, k = q & 0x7FFF, k & 0x7FFF
        if max(q, k) > INFINITY16 or (max(q, k) == INFINITY16 and min(q, k) == 0):
            return NAN
        if max(q, k) == INFINITY16:
            infinities.add(negative)
        else:
            product = _significand(q) * _significand(k)
            dot += -product if negative else product
    if len(infinities) == 2:
        return NAN
    if infinities:
        return INFINITE[infinities.pop()]
    exact = dot * scale(len(query))
    return Row(to_float(exact, PRODUCT_UNIT, 23, 8), to_float(exact, PRODUCT_UNIT, 10, 5))


def _significand(magnitude: int) -> int:
    """A finite FP16 value without its sign, in units of 2^-24."""
    exponent, fraction = magnitude >> 10, magnitude & 0x3FF
    return (fraction | 1 << 10) << exponent - 1 if exponent else fraction


def to_float(number: int, unit: int, fraction_bits: int, exponent_bits: int) -> int:
    """The bits of `number` * 2^`unit` in such a format: to nearest, ties to even, with subnormals, past the largest infinite. 0
    is +0; what is not 0 keeps its sign, even where its magnitude rounds to 0."""
    if number == 0:
        return 0
    magnitude = abs(number)
    lowest = 2 - (1 << exponent_bits - 1) - fraction_bits  # the weight of a subnormal's last bit, as a power of 2
    last = max(magnitude.bit_length() + unit - fraction_bits - 1, lowest)  # of this number's
    away = last - unit
    if away > 0:
        magnitude = magnitude + (1 << away - 1) - 1 + (magnitude >> away & 1) >> away
    else:
        magnitude <<= -away
    # a normal's leading 1 counts into the exponent, and so does a carry out of rounding
    bits = min((last - lowest << fraction_bits) + magnitude, (1 << exponent_bits) - 1 << fraction_bits)
    return bits | (number < 0) << fraction_bits + exponent_bits


def exp(x: int) -> int:
    """FP32 bits of about e^x for the FP32 bits of an x <= 0 that is a number (D33)."""
    exponent, fraction = x >> 23 & 0xFF, x & 0x7FFFFF
    if exponent >= 127 + 7:  # x <= -128, which covers minus infinity
        return 0
    significand = fraction | (exponent > 0) << 23
    shift = max(exponent, 1) - 127 - 23 + X_FRACTION
    t = significand << shift if shift > 0 else significand >> -shift
    if t == 0:
        return ONE32
    product = t * LOG2E >> X_FRACTION + LOG2E_FRACTION - G_FRACTION
    k, g = product >> G_FRACTION, product & (1 << G_FRACTION) - 1
    segment, along = g >> G_FRACTION - 3, g & (1 << G_FRACTION - 3) - 1
    value = LINE_START[segment] - (LINE_SLOPE[segment] * along >> SLOPE_FRACTION)  # units of 2^-23, from nearly 1/4 to nearly 1
    small = value < 1 << 22
    biased = 126 - k - small
    return (biased << 23) + (value << 1 + small) - (1 << 23) if biased > 0 else 0


class Numerators(NamedTuple):
    """What R32 adds to a block's scores: FP32 bits of each e_j, of m, and of Z."""

    each: list[int]
    largest: int
    total: int


def numerators(scores: Sequence[int], rows: int) -> Numerators:
    """Of a block's scores as FP32 bits, of which the first `rows` are tokens (D33)."""
    numbers = [bits for bits in scores[:rows] if bits != NAN32]
    if not numbers:
        return Numerators([NAN32] * rows + [0] * (len(scores) - rows), NAN32, NAN32)
    largest = max(numbers, key=ordered)
    each = [_numerator(bits, largest) if j < rows else 0 for j, bits in enumerate(scores)]
    total = 0
    for e in each:
        total = NAN32 if NAN32 in (total, e) else to_float(_units(total) + _units(e), -149, 23, 8)
    return Numerators(each, largest, total)


def _numerator(bits: int, largest: int) -> int:
    if bits == NAN32:
        return NAN32
    if bits == largest:
        return ONE32
    if INFINITY32 in (bits & ~SIGN32, largest & ~SIGN32):
        return 0
    return exp(to_float(_units(bits) - _units(largest), -149, 23, 8))


def ordered(bits: int) -> int:
    """A key by which FP32 bits, without NaN and -0, sort as their values do."""
    return -(bits & ~SIGN32) if bits & SIGN32 else bits


def _units(bits: int) -> int:
    """A finite FP32 value in units of 2^-149."""
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    magnitude = (fraction | 1 << 23) << exponent - 1 if exponent else fraction
    return -magnitude if bits & SIGN32 else magnitude
