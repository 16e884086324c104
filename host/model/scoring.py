"""The computations of the linear policy that are more than a line: the score (contract R14), and who gets a place in T1 (R16).

Both work on whole passes at once, without a loop over entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


def steps_between(access_step: NDArray[np.uint32], step: int) -> NDArray[np.uint32]:
    """d of n entries (R14): how far `step` is from their access, on either side."""
    now = np.uint32(step)
    found: NDArray[np.uint32] = np.maximum(access_step, now) - np.minimum(access_step, now)
    return found


def nearness(distance: NDArray[np.uint32], window: int) -> NDArray[np.uint16]:
    """S of n entries (R14)."""
    return (window - np.minimum(distance, window)).astype(np.uint16)


def weighted_sum(
    S: NDArray[np.uint16], R: NDArray[np.uint8], F: NDArray[np.uint8], prefix: NDArray[np.bool_], settings: dict[str, int]
) -> NDArray[np.uint16]:
    """Priority of n entries that are not pinned (R14). All sums are uint16, so they are mod 2^16 by themselves."""
    P: NDArray[np.uint16] = _weighted(S, R.astype(np.uint16), F.astype(np.uint16), prefix.astype(np.uint16), settings)
    return P


def weighted_sum_accessed(R: int, F: int, prefix: int, settings: dict[str, int]) -> int:
    """The same of one entry that is accessed now, so that its nearness is WINDOW: many times faster."""
    P: int = _weighted(settings["WINDOW"], R, F, prefix, settings) & 0xFFFF
    return P


def _weighted(S: Any, R: Any, F: Any, prefix: Any, settings: dict[str, int]) -> Any:  # Any: of one entry or of many
    return (
        S * settings["WEIGHT_S"] + R * settings["WEIGHT_R"] + F * settings["WEIGHT_F"] + prefix * (255 * settings["WEIGHT_D"])
    )


def prefetch_grants(evict: NDArray[np.intp], prefetch: NDArray[np.intp], free: int) -> NDArray[np.bool_]:
    """bool per candidate in `prefetch`: is there a place in tier 1 when its turn comes (R16, D19)?

    `evict` and `prefetch` are disjoint ascending indices, `free` the places left before the pass. In index order, an
    eviction adds a place, and a candidate takes one if there is one. With free >= 0 that is a walk of +1 and -1 that
    may not go below 0: a candidate is denied exactly where the unbounded walk sinks to a new lowest value below 0.
    With free < 0 (the capacity was lowered below t1_used, D2) the first -free evictions only pay the debt, and no
    candidate before the last of them gets a place.
    """
    if not evict.size or free >= prefetch.size:
        return np.arange(prefetch.size) < free
    if free < 0:
        debt = -free
        if evict.size <= debt:
            return np.zeros(prefetch.size, bool)
        early = int(np.searchsorted(prefetch, evict[debt - 1]))
        return np.concatenate((np.zeros(early, bool), prefetch_grants(evict[debt:], prefetch[early:], 0)))
    order = np.argsort(np.concatenate((evict, prefetch)), kind="stable")
    takes = order >= evict.size
    walk = free + np.cumsum(np.where(takes, -1, 1))
    lowest = np.minimum.accumulate(np.minimum(walk, 0))
    sinks = np.diff(lowest, prepend=0) < 0
    return ~sinks[takes]
