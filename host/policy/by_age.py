"""In the learner's place where nothing is learnt: it keeps the directory, and tells order alone.

All blocks are of class 0, by age the table says which of them rank higher (R43 to R45). A deeper block of a prompt has a lower
order, so of blocks used at the same time the end of a prompt goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contract import rank_tables
from .constants import DEFAULT
from .features import History
from .learner import Told
from .orders import orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .features import Arrival


class ByAge:
    """The methods are the learner's (learner.py). `classes`: of the device, or None for a policy that has no table."""

    def __init__(self, block_tokens: int, *, entries: int, unload_batch: int, classes: int | None):
        self.history = History(entries, unload_batch, block_tokens, DEFAULT)
        self._due = None if classes is None else rank_tables.by_age(classes)

    def table(self, step: int) -> NDArray[np.uint8] | None:
        due, self._due = self._due, None
        return due

    def arrive(self, step: int, blocks: NDArray[np.int64], input_length: int) -> Told:
        return _told(self.history.arrive(step, blocks, input_length))

    def grow(self, told: Told, step: int, blocks: NDArray[np.int64], generated: bool = True) -> Told:
        return _told(self.history.grow(told.arrival, step, blocks, generated))

    def complete(self, told: Told, step: int, output_length: int, final: bool = False) -> NDArray[np.uint8]:
        self.history.complete(told.arrival, step)
        return told.classes

    def forget(self, step: int) -> None:
        self.history.forget(step)


def _told(arrival: Arrival) -> Told:
    blocks = arrival.features.blocks
    return Told(np.zeros(blocks, dtype=np.uint8), orders(arrival.depth + blocks)[arrival.depth :], arrival)
