"""The linear policy (contract R11, R13 to R16, R20, R21) on a plan, without looking at every entry in a STEP.

In such a replay every entry is shared before the first STEP that sees it. So F and the last access make its priority, it never
rises without a TOUCH, and among entries of one F it is lowest where the access is longest ago. So there is a list for each F,
longest ago first. A STEP looks at the front of each until it finds an entry at EVICT_THRESH or above. What is below leaves the
list: it is cold until its next TOUCH. A cold entry that is in use stays in tier 1 until the STEP after its last release.

Those outside tier 1 that are above PREFETCH_THRESH are among the last accessed. They are kept apart, and looked at in the STEPs
in which there is a place for one.

For this no priority may wrap, and PREFETCH_THRESH must not be below what is evicted. compiled.py sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .counts import COUNTS, EVICTIONS, PREFETCHES, STEPS, USED
from .jit import compiled
from .planning import Plan, stepped
from .tier1 import touched

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = np.dtype([
    ("access", "i8"), ("stepped", "i8"), ("last", "i8"), ("seen_by", "i8"), ("after", "i4"), ("before", "i4"),
    ("refs", "u1"), ("F", "u1"), ("inside", "?"), ("warm", "?"),
])  # fmt: skip
"""The step of its last access, how many STEPs there had been, the touch that it was; what it was last counted for; the links of
its list, if it is warm; ref_count, F; is it in tier 1?"""
HOT, RELEASED = COUNTS, COUNTS + 1
"""More of `State.numbers`: how long these two lists are."""
HELD = 0xFF
"""Where ref_count and F end."""


class State(NamedTuple):
    """`entries`: behind those of the directory one for each F, which begins and ends its list. `hot`: (entry, its touch) of those
    outside that may be above PREFETCH_THRESH. `released`: cold entries that came out of use since the last STEP. `leaving` and
    `coming`: room for what a STEP moves. `weights`: of R, F, S, D, then EVICT_THRESH, PREFETCH_THRESH, WINDOW."""

    entries: NDArray[np.void]
    hot: NDArray[np.int64]
    released: NDArray[np.int64]
    leaving: NDArray[np.int64]
    coming: NDArray[np.int64]
    weights: NDArray[np.int64]
    numbers: NDArray[np.int64]


def empty(size: int, weights: NDArray[np.int64]) -> State:
    """An empty directory of `size` entries."""
    entries = np.zeros(size + HELD + 1, ENTRY)
    entries["after"] = entries["before"] = np.arange(len(entries))
    return State(
        entries,
        hot=np.zeros((2 * size + 1, 2), np.int64),
        released=np.zeros(size, np.int64),
        leaving=np.zeros(size, np.int64),
        coming=np.zeros(size, np.int64),
        weights=weights,
        numbers=np.zeros(COUNTS + 2, np.int64),
    )


@compiled
def run(
    plan: Plan, s: State, capacity: int, hits: NDArray[np.bool_], sample_every: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Run the whole plan from an empty directory on. Fills `hits`; returns step and t1_used of every so many STEPs."""
    steps = [0 for _ in range(0)]
    used = [0 for _ in range(0)]
    n, entries, places, loaded = s.numbers, s.entries, plan.entries, plan.loaded
    step = ended = batch = 0
    requests = plan.arrivals.size
    for request in range(requests + 1):
        while (step < plan.arrivals[request]) if request < requests else ended < requests:
            target = plan.arrivals[request] if request < requests else plan.ends[plan.by_end[ended]]
            step = stepped(step, target, ended < request < requests)
            _advance(s, step, capacity)
            if sample_every and n[STEPS] % sample_every == 0:
                steps.append(step)
                used.append(n[USED])
            while ended < request and plan.ends[plan.by_end[ended]] <= step:
                _count_users(s, plan, plan.by_end[ended], False)
                ended += 1
        if request == requests:
            break
        for touch in range(plan.offsets[request], plan.offsets[request + 1]):
            if batch < plan.unload_before.size and plan.unload_before[batch] == touch:
                for e in plan.unloaded[plan.unload_offsets[batch] : plan.unload_offsets[batch + 1]]:
                    _unlink(s, e)
                    n[USED] -= entries[e].inside
                    entries[e].inside = False
                batch += 1
            e = places[touch]
            if e < 0:
                continue
            entry = entries[e]
            _unlink(s, e)
            hits[touch] = touched(entry, loaded[touch], capacity, n)
            entry.F = 1 if loaded[touch] else min(entry.F + 1, HELD)
            entry.access = step
            entry.stepped = n[STEPS]
            entry.last = touch
            if loaded[touch]:
                entry.refs = 0
                entry.seen_by = -1
            _append(s, e)
            if not entry.inside:
                _keep_hot(s, e)
        _count_users(s, plan, request, True)
    return np.array(steps), np.array(used)


@compiled
def _priority(s: State, e: int, step: int) -> int:
    entry, weights = s.entries[e], s.weights
    R = max(0, HELD - (s.numbers[STEPS] - entry.stepped))
    S = max(0, weights[6] - (step - entry.access))
    return int(weights[0] * R + weights[1] * entry.F + weights[2] * S + weights[3] * 255)


@compiled
def _append(s: State, e: int) -> None:
    """To the end of the list of its F."""
    entries = s.entries
    entry = entries[e]
    end = entries.size - HELD - 1 + entry.F
    last = entries[end].before
    entry.before = last
    entry.after = end
    entries[last].after = e
    entries[end].before = e
    entry.warm = True


@compiled
def _unlink(s: State, e: int) -> None:
    """From its list, if it is warm."""
    entries = s.entries
    entry = entries[e]
    if entry.warm:
        entries[entry.before].after = entry.after
        entries[entry.after].before = entry.before
        entry.warm = False


@compiled
def _keep_hot(s: State, e: int) -> None:
    """An entry that was just accessed, and found no place in tier 1."""
    n = s.numbers
    if n[HOT] == len(s.hot):
        n[HOT] = _still_hot(s)
    s.hot[n[HOT], 0] = e
    s.hot[n[HOT], 1] = s.entries[e].last
    n[HOT] += 1


@compiled
def _still_hot(s: State) -> int:
    """Forget those that were accessed again, or unloaded, or are in tier 1. Returns how many are left, an entry once each."""
    kept = 0
    for k in range(s.numbers[HOT]):
        entry = s.entries[s.hot[k, 0]]
        if entry.last == s.hot[k, 1] and entry.warm and not entry.inside:
            s.hot[kept, 0], s.hot[kept, 1] = s.hot[k, 0], s.hot[k, 1]  # a row at once takes 3 s more to compile
            kept += 1
    return kept


@compiled
def _count_users(s: State, plan: Plan, request: int, more: bool) -> None:
    """SHARE when a request has come, RELEASE at its end (R20), each of its entries once."""
    entries = s.entries
    mark = 2 * request + (0 if more else 1)
    for touch in range(plan.offsets[request], plan.offsets[request + 1]):
        e = plan.entries[touch]
        if e < 0 or entries[e].seen_by == mark:
            continue
        entry = entries[e]
        entry.seen_by = mark
        if more:
            entry.refs = min(entry.refs + 1, HELD)
        elif entry.refs > 0:
            entry.refs -= 1
            if entry.refs == 0 and entry.inside and not entry.warm:
                s.released[s.numbers[RELEASED]] = e
                s.numbers[RELEASED] += 1


@compiled
def _advance(s: State, step: int, capacity: int) -> None:
    n, entries, weights, leaving, coming = s.numbers, s.entries, s.weights, s.leaving, s.coming
    n[STEPS] += 1
    out = come = 0
    for k in range(n[RELEASED]):
        e = s.released[k]
        if entries[e].inside and not entries[e].warm and entries[e].refs == 0:
            leaving[out] = e
            out += 1
    n[RELEASED] = 0
    for end in range(entries.size - HELD - 1, entries.size):
        e = entries[end].after
        while e != end and _priority(s, e, step) < weights[4]:
            after = entries[e].after
            _unlink(s, e)
            if entries[e].inside and entries[e].refs == 0:
                leaving[out] = e
                out += 1
            e = after
    if out or n[USED] < capacity:
        n[HOT] = _still_hot(s)
        for k in range(n[HOT]):
            e = s.hot[k, 0]
            if _priority(s, e, step) > weights[5]:
                s.hot[come, 0], s.hot[come, 1] = e, s.hot[k, 1]
                coming[come] = e
                come += 1
        n[HOT] = come
    _move(s, leaving[:out], coming[:come], capacity)


@compiled
def _move(s: State, leaving: NDArray[np.int64], coming: NDArray[np.int64], capacity: int) -> None:
    """Both in index order together: who leaves gives a place, who comes takes one if there is one (R16)."""
    n, entries = s.numbers, s.entries
    if coming.size > capacity - n[USED]:
        leaving.sort()
        coming.sort()
    gone = 0
    for e in coming:
        while gone < leaving.size and leaving[gone] < e:
            entries[leaving[gone]].inside = False
            n[USED] -= 1
            gone += 1
        if n[USED] < capacity:
            entries[e].inside = True
            n[USED] += 1
            n[PREFETCHES] += 1
    for e in leaving[gone:]:
        entries[e].inside = False
        n[USED] -= 1
    n[EVICTIONS] += leaving.size
