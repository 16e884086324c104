"""From hazards to the codes of a table (R44, R45).

The rank of a block is the best that can be had of a place in tier 1: over all ages up to which it might be held, the most
expected hits per expected step of holding it, which ends at the hit. It is the Gittins index of a place, and by it the pool of
R46 is sorted. A code is its logarithm: floor(10 * log2(1 + 2^24 * rank)), at most 255, so that ten codes are an octave.

No logarithm or power is computed in floating point. The chance of a hit within a bucket comes of that in one step by doubling
(the widths of buckets are powers of two), and a code by comparing with thresholds that whole numbers gave.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter
from typing import TYPE_CHECKING

import numpy as np

from ..contract.parameters import BUCKETS
from . import buckets

if TYPE_CHECKING:
    from numpy.typing import NDArray

AN_OCTAVE = 10
"""Codes an octave of rank."""
FINEST = 24
"""The rank 2^-FINEST, a hit in 19 days at 100 ms a step, has the code AN_OCTAVE."""


def gittins(hazards: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[classes, 64]: the rank of a block of each class when its age comes to each bucket. `hazards`: as fit in hazards.py
    finds them."""
    chance = _within_buckets(hazards)
    held = np.where(hazards > 0, chance / np.where(hazards > 0, hazards, 1.0), buckets.WIDTHS.astype(np.float64))
    chance, held = (np.ascontiguousarray(values.T) for values in (chance, held))  # by bucket first: the loop cuts there
    best, hits, steps = (np.zeros_like(chance) for _ in range(3))
    left = np.ones_like(chance)  # the chance that the block is not touched before the bucket `ahead` of its own
    for ahead in range(BUCKETS):
        until = BUCKETS - ahead
        hits[:until] += left[:until] * chance[ahead:]
        steps[:until] += left[:until] * held[ahead:]
        left[:until] *= 1.0 - chance[ahead:]
        np.maximum(best[:until], hits[:until] / steps[:until], out=best[:until])
    return best.T


def _within_buckets(hazards: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a block is touched within the bucket that its age is in: 1 - (1 - hazard)^width, without the loss that
    small hazards would have."""
    chance = hazards.copy()
    done = 1
    while done < buckets.WIDTHS[-1]:
        wider = buckets.WIDTHS > done
        chance[:, wider] *= 2.0 - chance[:, wider]
        done *= 2
    return chance


def codes(ranks: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.searchsorted(THRESHOLDS, ranks, side="right").astype(np.uint8)


def _threshold(code: int) -> float:
    """The least double with at least this code: (1 + 2^FINEST * rank)^AN_OCTAVE >= 2^code, decided in whole numbers."""
    rank = float((2.0 ** (code / AN_OCTAVE) - 1) / 2**FINEST)
    while _reaches(rank, code):
        rank = nextafter(rank, 0.0)
    while not _reaches(rank, code):
        rank = nextafter(rank, inf)
    return rank


def _reaches(rank: float, code: int) -> bool:
    numerator, denominator = (1 + Fraction(rank) * 2**FINEST).as_integer_ratio()
    return bool(numerator**AN_OCTAVE >= denominator**AN_OCTAVE << code)


THRESHOLDS: NDArray[np.float64] = np.array([_threshold(code) for code in range(1, 256)])
"""float64[255]: the least rank of each code from 1 on."""
