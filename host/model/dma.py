"""The two DMA channels of the reference model: who may move, and the move itself, done at once (contract R16)."""

from __future__ import annotations

from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import EVICT, PREFETCH, Trigger
from .scoring import prefetch_grants
from .state import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

make_trigger = partial(tuple.__new__, Trigger)
"""Trigger from a tuple without a Python-level call: a STEP may make 65,536 of them."""


def t1_free(state: State) -> int:
    """Places left in tier 1; negative when T1_CAPACITY was set below t1_used (D2)."""
    return state.in_force["T1_CAPACITY"] - state.t1_used


def move(
    state: State, evict: NDArray[np.intp], prefetch: NDArray[np.intp], evict_first: bool = False
) -> tuple[Trigger, ...]:
    """Grant `prefetch` in index order, count the triggers, move the bytes and complete (R16, D19). `evict` and `prefetch` are
    ascending indices. `evict_first`: all evictions are queued before the first prefetch (R47), else both go by index together."""
    if not evict.size and not prefetch.size:
        return ()
    directory, counters = state.directory, state.counters
    evict_tier, block_bytes = state.in_force["EVICT_TIER"], state.block_bytes
    if evict_first:
        granted = prefetch[: max(0, t1_free(state) + evict.size)]
    else:
        granted = prefetch[prefetch_grants(evict, prefetch, t1_free(state))]
    counters["denials"] += prefetch.size - granted.size
    if not evict.size and not granted.size:
        return ()
    state.t1_used += granted.size - evict.size

    copied = evict[directory.dirty[evict]]
    _copy(state, copied, 1, evict_tier)
    directory.tier[evict] = evict_tier
    directory.dirty[evict] = False

    sources = directory.tier[granted]
    _copy(state, granted, sources, 1)
    directory.tier[granted] = 1
    directory.dirty[granted] = sources != evict_tier
    directory.armed[granted] = False

    for channel, moved, bytes_moved in (
        (EVICT, evict.size, copied.size * block_bytes),
        (PREFETCH, granted.size, granted.size * block_bytes),
    ):
        counters[f"{channel}_triggers"] += moved
        counters[f"{channel}_completions"] += moved
        counters[f"{channel}_bytes"] += bytes_moved
    directory.touched(evict)
    directory.touched(granted)
    triggers = [*map(make_trigger, zip(evict.tolist(), repeat(EVICT), repeat(1), repeat(evict_tier)))]
    triggers += map(make_trigger, zip(granted.tolist(), repeat(PREFETCH), sources.tolist(), repeat(1)))
    by_index = evict.size and granted.size and not evict_first
    return tuple(sorted(triggers) if by_index else triggers)


def _copy(state: State, rows: NDArray[np.intp], from_tier: int | NDArray[np.uint8], to_tier: int) -> None:
    if rows.size:
        directory = state.directory
        state.memory.copy(directory.tier_address(rows, from_tier), directory.tier_address(rows, to_tier))
