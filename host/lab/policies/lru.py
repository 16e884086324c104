"""LRU: evicts the block whose last reference is longest ago. O(n)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hits(references: NDArray[np.int64], capacity: int) -> int:
    """How many of `references` (int64[n]) find their block in a cache of `capacity` blocks."""
    if capacity <= 0:
        return 0
    cache: OrderedDict[int, None] = OrderedDict()  # coldest first
    found = 0
    for block in references.tolist():
        if block in cache:
            found += 1
            cache.move_to_end(block)
            continue
        if len(cache) == capacity:
            cache.popitem(last=False)
        cache[block] = None
    return found
