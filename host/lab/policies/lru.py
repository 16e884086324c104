"""LRU: evicts the block whose last reference is longest ago. O(n)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...policy.lru import Lru

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def hits(references: NDArray[np.int64], capacity: int) -> int:
    """How many of `references` (int64[n]) find their block in a cache of `capacity` blocks."""
    return sum(map(Lru(max(capacity, 0)).touch, references.tolist()))
