"""Keeps prefixes whole: a block is worth at least as much as what lies behind it in its prompt.

A block cannot be reused without those before it. So, walking a prompt from its last block to its first, a block whose code in the
near future is well below the largest so far takes the class of the block that had that code. This changes what the device is
told, not what the learner counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def closed(classes: NDArray[np.uint8], codes: NDArray[np.uint8], lead: int) -> NDArray[np.uint8]:
    """The classes to tell, for the blocks of one prompt in order. `codes`: uint8[every class], its code in the near future."""
    values = codes[classes].astype(np.int64)
    deepest_first = values[::-1]
    most = np.maximum.accumulate(deepest_first)
    if (most - deepest_first < lead).all():
        return classes
    places = np.arange(len(values))
    giver = np.maximum.accumulate(np.where(deepest_first == most, places, 0))
    back = classes[::-1]
    return np.where(most - deepest_first >= lead, back[giver], back)[::-1]
