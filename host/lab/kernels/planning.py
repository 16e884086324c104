"""What a replay sends for each request, as arrays: plan.py's sequence, for one size of the directory.

The planner knows which blocks the directory holds because it put them there, and a LOAD takes the lowest free index (R11). So
neither the policy nor the capacity of tier 1 changes the plan: it says beforehand which entry each touch finds or loads, and
which entries are unloaded before it. The STEPs a kernel finds out as it goes, by `stepped`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Plan(NamedTuple):
    """For n requests with m touches.

    arrivals       int64[n]: the step at which each arrives
    ends           int64[n]: the step at which it ends
    by_end         int64[n]: the requests in the order in which they end
    offsets        int64[n + 1]: request i has the touches offsets[i] to offsets[i + 1]
    entries        int32[m]: the entry that the touch finds, or that the LOAD behind its miss takes; -1 where there was no room
    loaded         bool[m]: it missed, and a LOAD follows
    unload_before  int64[k], ascending: the touch whose LOAD each batch makes room for
    unload_offsets int64[k + 1]: batch i unloads unloaded[unload_offsets[i] : unload_offsets[i + 1]]
    unloaded       int32: entries
    announced      int32[m]: the entry that the touch's block has when its request is announced, -1 for none; int32[0] where no
                   request is
    """

    arrivals: NDArray[np.int64]
    ends: NDArray[np.int64]
    by_end: NDArray[np.int64]
    offsets: NDArray[np.int64]
    entries: NDArray[np.int32]
    loaded: NDArray[np.bool_]
    unload_before: NDArray[np.int64]
    unload_offsets: NDArray[np.int64]
    unloaded: NDArray[np.int32]
    announced: NDArray[np.int32]


@compiled
def stepped(step: int, target: int, active: bool) -> int:
    """The STEP after `step` on the way to `target`: one of its own while a request is active, else idle time is skipped."""
    return step + 1 if active else target


@compiled
def arrivals_at(arrivals: NDArray[np.int64], request: int) -> int:
    """The first request behind this one that arrives later."""
    behind = request + 1
    while behind < arrivals.size and arrivals[behind] == arrivals[request]:
        behind += 1
    return behind


@compiled
def place_blocks(
    arrivals: NDArray[np.int64],
    ends: NDArray[np.int64],
    by_end: NDArray[np.int64],
    offsets: NDArray[np.int64],
    blocks: NDArray[np.int32],
    different: int,
    size: int,
    unload_batch: int,
    announces: bool,
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """The last six arrays of a Plan, for a directory of `size` entries and a trace of `different` blocks."""
    entries = np.full(blocks.size, -1, np.int32)
    loaded = np.zeros(blocks.size, np.bool_)
    announced = np.full(blocks.size if announces else 0, -1, np.int32)
    unload_before = [0 for _ in range(0)]
    unload_offsets = [0]
    unloaded: list[Any] = [np.int32(0) for _ in range(0)]

    entry_of = np.full(different, -1, np.int32)
    users = np.zeros(different, np.int32)  # active requests that use a resident block
    seen_by = np.full(different, -1, np.int64)  # the request that a block was last counted for
    # Resident blocks without users, longest out of use first: a ring of links through a last, imaginary block.
    later = np.full(different + 1, different, np.int32)
    earlier = np.full(different + 1, different, np.int32)
    free = np.arange(size, dtype=np.int32)  # free entries, ascending from `at` on
    at = 0
    ended = 0

    for request in range(arrivals.size):
        while ended < request and ends[by_end[ended]] <= arrivals[request]:
            _leave(by_end[ended], offsets, blocks, entries, users, seen_by, later, earlier)
            ended += 1
        if announces and (request == 0 or arrivals[request] > arrivals[request - 1]):
            beside = arrivals_at(arrivals, request)
            for touch in range(offsets[request], offsets[beside]):
                announced[touch] = entry_of[blocks[touch]]
        for touch in range(offsets[request], offsets[request + 1]):  # before anything is unloaded to make room
            block = blocks[touch]
            if entry_of[block] >= 0 and seen_by[block] != request:
                seen_by[block] = request
                if not users[block]:
                    later[earlier[block]], earlier[later[block]] = later[block], earlier[block]
                users[block] += 1
        for touch in range(offsets[request], offsets[request + 1]):
            block = blocks[touch]
            if entry_of[block] < 0:
                if at == free.size and later[different] != different:
                    first = len(unloaded)
                    while len(unloaded) - first < unload_batch and later[different] != different:
                        coldest = later[different]
                        later[different], earlier[later[coldest]] = later[coldest], different
                        unloaded.append(entry_of[coldest])
                        entry_of[coldest] = -1
                    unload_before.append(touch)
                    unload_offsets.append(len(unloaded))
                    free = np.array(unloaded[first:])
                    free.sort()
                    at = 0
                if at == free.size:
                    continue
                entry_of[block] = free[at]
                at += 1
                users[block] = 1
                seen_by[block] = request
                loaded[touch] = True
            entries[touch] = entry_of[block]
    return entries, loaded, np.array(unload_before), np.array(unload_offsets), np.array(unloaded), announced


@compiled
def _leave(
    request: int,
    offsets: NDArray[np.int64],
    blocks: NDArray[np.int32],
    entries: NDArray[np.int32],
    users: NDArray[np.int32],
    seen_by: NDArray[np.int64],
    later: NDArray[np.int32],
    earlier: NDArray[np.int32],
) -> None:
    """The request ends. Last block first: the front of a prefix is of use without its end, but not the other way round."""
    mine = blocks[offsets[request] : offsets[request + 1]][entries[offsets[request] : offsets[request + 1]] >= 0]
    if np.any(mine[1:] <= mine[:-1]):
        mine.sort()
    imaginary = later.size - 1
    before = imaginary
    for block in mine[::-1]:
        if block == before:
            continue
        before = block
        users[block] -= 1
        if not users[block]:
            last = earlier[imaginary]
            later[last], earlier[imaginary] = block, block
            earlier[block], later[block] = last, imaginary
