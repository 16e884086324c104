"""Age buckets (contract R43) as arrays: the ages that each covers, and the bucket of an age."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contract.parameters import BUCKETS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _width(bucket: int) -> int:
    """Ages in a bucket: one in each of the first three, then four buckets an octave. The last, which has no end, counts like its
    neighbours."""
    return 1 if bucket < 3 else 1 << (bucket - 3) // 4


WIDTHS: NDArray[np.int64] = np.array([_width(bucket) for bucket in range(BUCKETS)], dtype=np.int64)
"""int64[64], all powers of two."""
FIRST: NDArray[np.int64] = np.concatenate([[0], np.cumsum(WIDTHS)[:-1]])
"""int64[64]: the youngest age of each, in steps."""


def of(ages: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket of each age. Ages are steps since the last access, 0 or more."""
    return np.searchsorted(FIRST, ages, side="right") - 1
