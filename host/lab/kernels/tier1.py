"""What a touch does to tier 1, whichever policy is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .counts import PLACED, PREFETCHES, USED
from .jit import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@compiled
def touched(entry: Any, loaded: bool, capacity: int, n: NDArray[np.int64]) -> bool:
    """Did the TOUCH of this entry find it in tier 1? Where it did not, the block is taken in while there is a place: by the LOAD
    behind the TOUCH (R11), or from a lower tier (R13). `n`: counts.py."""
    hit = entry.inside and not loaded
    if not entry.inside and n[USED] < capacity:
        entry.inside = True
        n[USED] += 1
        n[PLACED if loaded else PREFETCHES] += 1
    return bool(hit)
