"""Cache policies to stand beside the device's T1: what each would have hit on the same references.

A policy is a module here and a row of POLICIES. Its `hits(references, capacity)` takes the block references of a run in the order
they were made, int64[n], and the capacity in blocks. The cache starts empty; a reference that misses always brings its block in
(no bypass), evicting one block when the cache is full. The module says which one, and what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import lfu, lru, optimal

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Policy(NamedTuple):
    """`label`: what people read."""

    label: str
    hits: Callable[[NDArray[np.int64], int], int]


POLICIES = {
    "lru": Policy("plain LRU cache", lru.hits),
    "lfu": Policy("plain LFU cache", lfu.hits),
    "optimal": Policy("optimal (Belady)", optimal.hits),
}


class Baselines(NamedTuple):
    """Hits of every policy, by its name in POLICIES, on one reference stream at one capacity."""

    references: int
    capacity: int
    hits: dict[str, int]

    def rate(self, policy: str) -> float:
        """The hit rate of `policy`, 0 to 1; 0 for an empty stream."""
        return self.hits[policy] / self.references if self.references else 0.0


def baselines(references: Sequence[int] | NDArray[np.int64], capacity: int) -> Baselines:
    """All policies on the same stream."""
    stream = np.asarray(references, dtype=np.int64)
    return Baselines(len(stream), capacity, {name: policy.hits(stream, capacity) for name, policy in POLICIES.items()})
