"""LFU: evicts the block with the fewest references since it came in (an evicted block starts again at one); among equals, the
one whose last reference is longest ago. O(n).
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hits(references: NDArray[np.int64], capacity: int) -> int:
    """How many of `references` (int64[n]) find their block in a cache of `capacity` blocks."""
    if capacity <= 0:
        return 0
    count: dict[int, int] = {}  # of the cached blocks only
    # Blocks by count, and by last reference within one count: a block enters a bucket when it is referenced, so the
    # order of entry is the order of last reference.
    buckets: defaultdict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
    fewest = 1  # lowest count in the cache, where there is one
    found = 0
    for block in references.tolist():
        seen = count.get(block)
        if seen is not None:
            found += 1
            bucket = buckets[seen]
            del bucket[block]
            if not bucket:
                del buckets[seen]
                if seen == fewest:
                    fewest = seen + 1
            count[block] = seen + 1
            buckets[seen + 1][block] = None
            continue
        if len(count) == capacity:
            bucket = buckets[fewest]
            victim, _ = bucket.popitem(last=False)
            del count[victim]
            if not bucket:
                del buckets[fewest]
        count[block] = 1
        buckets[1][block] = None
        fewest = 1
    return found
