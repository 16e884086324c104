"""The order (R41) of a prompt's blocks: of blocks alike in class and age, those at the end of a prompt leave tier 1 first, so
that its beginning stays whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVELS = 255
"""Orders that the blocks of a prompt are spread over."""


def orders(blocks: int) -> NDArray[np.uint8]:
    """The order of each block of a prompt, from 255 downwards, in the finest levels that cover it (CLASS with base 0, R42)."""
    import numpy as np  # here: `kvfpga --help` comes by this module, and waits for no numpy

    shift = max(0, blocks.bit_length() - LEVELS.bit_length())
    return (255 - (np.arange(blocks) >> shift)).astype(np.uint8)
