"""The computations of the ranked policy (contract R43 to R46): an entry's age, its rank, and who of a pool wins.

All work on whole passes at once, without a loop over entries.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..contract.parameters import BUCKETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

OLDEST = 1 << 17
"""Steps since an access from which on every age falls into the last bucket."""
HIGHEST = 0xFFFF
"""The priority of what is pinned, and the rank of what may not be evicted."""


@cache
def bucket_of_distance() -> NDArray[np.uint8]:
    """The age bucket (R43) of each distance from 0 to OLDEST."""
    a = np.arange(1, OLDEST + 2)
    l = np.frexp(a)[1] - 1  # noqa: E741  # the contract's name for it: the highest bit set
    b = np.where(l < 2, a - 1, 4 * (l - 1) + (a >> np.maximum(l - 2, 0) & 3) - 1)
    return np.minimum(b, BUCKETS - 1).astype(np.uint8)


def rank(distance: NDArray[np.uint32], hint: NDArray[np.uint16], table: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Priority of n entries that are not pinned (R44): the code that `table`, uint8[classes, 64], has for their class and age,
    then their order. `hint` holds class [7:0] and order [15:8]."""
    bucket = bucket_of_distance().take(distance, mode="clip")  # what is older than OLDEST counts as OLDEST
    code = table.ravel().take((hint & 0xFF) * np.uint16(BUCKETS) + bucket, mode="clip")  # the fastest mode; nothing is beyond
    found: NDArray[np.uint16] = hint >> np.uint16(8) | code.astype(np.uint16) << np.uint16(8)
    return found


def rank_accessed(hint: int, table: NDArray[np.uint8]) -> int:
    """The same of one entry that is accessed now."""
    return int(table[hint & 0xFF, 0]) << 8 | hint >> 8


def winners(priority: NDArray[np.uint16], places: int) -> tuple[NDArray[np.bool_], int]:
    """Who of a pool, in index order, gets one of fewer `places` than it has members; and θ (R46): the largest value that at
    least `places` of them reach. Above it all win, at it the first ones."""
    if not places:
        return np.zeros(priority.size, bool), HIGHEST
    at = priority.size - places
    threshold = int(np.partition(priority, at)[at])
    won = priority > threshold
    ties = np.flatnonzero(priority == threshold)
    won[ties[: places - int(won.sum())]] = True
    return won, threshold
