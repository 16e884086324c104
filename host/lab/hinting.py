"""What the ranked policies tell a device along a stream: `ranked` what the learner finds, `ranked-age` the order alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract import rank_tables
from ..policy import ranked
from ..policy.hints import Hints
from ..policy.orders import orders

if TYPE_CHECKING:
    from .stream import Stream


def learnt(stream: Stream, **how: Any) -> Hints:
    """`how`: the keywords of `kvfpga.policy.ranked.hints`, which says what can go wrong."""
    return ranked.hints(
        stream.times, stream.input_lengths, stream.output_lengths, stream.offsets, stream.blocks, stream.block_tokens, **how
    )


def by_age(stream: Stream, classes: int = 16) -> Hints:
    """The table `age` from the first request on, all blocks of class 0, and orders that fall along a prompt."""
    parts = [orders(size) for size in np.diff(stream.offsets).tolist()]
    same = np.zeros(stream.touches, np.uint8)
    return Hints(same, np.concatenate(parts), same, rank_tables.by_age(classes)[None], np.zeros(stream.requests, np.int32))
