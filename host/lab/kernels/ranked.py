"""The ranked policy (contract R11, R13, R21, R40 to R47) on a plan, without looking at every entry in a STEP.

Entries that were accessed at the same step and have the same class have the same code (R43, R44) at every later step. They are a
group. A STEP that must search for θ counts how many of the pool each code has, group by group; only the members of those groups
that have the code of θ are looked at one by one, for their order and then their index (R46). Below it a group's members in tier 1
all go, above it those outside all come.

A group holds its members that the pool may have: those in tier 1, and while it is young (its age is FILL_AGE at most) those
outside. An entry that is in neither is in no group: nothing but a TOUCH can bring it back, and that gives it a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .jit import compiled
from .planning import Plan, stepped

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST = 0xFFFF
INSIDE, OUTSIDE = 0, 1
"""The two lists of a group: its members in tier 1, and those below it."""
USED, LIVE, YOUNG, SPARE, PLACED, PREFETCHES, EVICTIONS, STEPS, SEARCHED, THETA, POOL = range(11)
"""Places in `State.numbers`: blocks in tier 1, how long the three lists of groups are, and what Outcome says."""
NOWHERE = -1


class State(NamedTuple):
    """Of e entries: the `group` (NOWHERE: in none), are they `inside` tier 1, `order`, the `last` touch, and the links of their list.

    Of g groups: the `access` step, `class_id`, the `first` member and the `count` of both lists, the `place` in `live`,
    `is_young`, and the `code` in this STEP.

    `live`, `young`, `spare` list groups. `recent[access % (FILL_AGE + 1), class]` is the young group of that step and class, and
    `aged[class]` the one that the request `aged_for[class]` has made at its end. `ties` is room for indices. The rest is above.
    """

    group: NDArray[np.int32]
    inside: NDArray[np.bool_]
    order: NDArray[np.uint8]
    last: NDArray[np.int64]
    after: NDArray[np.int32]
    before: NDArray[np.int32]

    access: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    first: NDArray[np.int32]
    count: NDArray[np.int32]
    place: NDArray[np.int32]
    is_young: NDArray[np.bool_]
    code: NDArray[np.uint8]

    live: NDArray[np.int32]
    young: NDArray[np.int32]
    spare: NDArray[np.int32]
    recent: NDArray[np.int32]
    aged: NDArray[np.int32]
    aged_for: NDArray[np.int64]

    buckets: NDArray[np.uint8]
    ties: NDArray[np.int32]
    numbers: NDArray[np.int64]


def empty(size: int, classes: int, fill_age: int, buckets: NDArray[np.uint8]) -> State:
    """An empty directory of `size` entries. `buckets`: the age bucket of each distance, the last one for all beyond."""
    groups = size + classes * (fill_age + 2) + 1  # those with a member in tier 1, and the young ones
    numbers = np.zeros(POOL + 1, np.int64)
    numbers[SPARE] = groups
    return State(
        group=np.full(size, NOWHERE, np.int32),
        inside=np.zeros(size, bool),
        order=np.zeros(size, np.uint8),
        last=np.full(size, -1, np.int64),
        after=np.zeros(size, np.int32),
        before=np.zeros(size, np.int32),
        access=np.zeros(groups, np.int64),
        class_id=np.zeros(groups, np.uint8),
        first=np.full((2, groups), NOWHERE, np.int32),
        count=np.zeros((2, groups), np.int32),
        place=np.zeros(groups, np.int32),
        is_young=np.zeros(groups, bool),
        code=np.zeros(groups, np.uint8),
        live=np.zeros(groups, np.int32),
        young=np.zeros(groups, np.int32),
        spare=np.arange(groups, dtype=np.int32)[::-1].copy(),
        recent=np.full((fill_age + 1, classes), NOWHERE, np.int32),
        aged=np.full(classes, NOWHERE, np.int32),
        aged_for=np.full(classes, -1, np.int64),
        buckets=buckets,
        ties=np.zeros(size, np.int32),
        numbers=numbers,
    )


@compiled
def run(
    plan: Plan,
    s: State,
    arrival: NDArray[np.uint8],
    orders: NDArray[np.uint8],
    completion: NDArray[np.uint8],
    tables: NDArray[np.uint8],
    table_of: NDArray[np.int32],
    capacity: int,
    fill_age: int,
    hits: NDArray[np.bool_],
    sample_every: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Run the whole plan from an empty directory on. Fills `hits`; returns step, t1_used, θ and pool of every so many STEPs."""
    steps = [np.int64(0) for _ in range(0)]
    used = [np.int64(0) for _ in range(0)]
    thetas = [np.int64(0) for _ in range(0)]
    pools = [np.int64(0) for _ in range(0)]
    n = s.numbers
    table = np.zeros(tables.shape[1:], np.uint8)
    step = ended = batch = 0
    requests = plan.arrivals.size
    for request in range(requests + 1):
        while (step < plan.arrivals[request]) if request < requests else ended < requests:
            target = plan.arrivals[request] if request < requests else plan.ends[plan.by_end[ended]]
            step = stepped(step, target, ended < request < requests)
            _advance(s, step, capacity, fill_age, table)
            if sample_every and n[STEPS] % sample_every == 0:
                steps.append(step)
                used.append(n[USED])
                thetas.append(n[THETA])
                pools.append(n[POOL])
            while ended < request and plan.ends[plan.by_end[ended]] <= step:
                _end(s, plan, plan.by_end[ended], step, fill_age, completion)
                ended += 1
        if request == requests:
            break
        if table_of[request] >= 0:
            table = tables[table_of[request]]
        for touch in range(plan.offsets[request], plan.offsets[request + 1]):
            if batch < plan.unload_before.size and plan.unload_before[batch] == touch:
                for e in plan.unloaded[plan.unload_offsets[batch] : plan.unload_offsets[batch + 1]]:
                    _drop(s, e)
                    n[USED] -= s.inside[e]
                    s.inside[e] = False
                batch += 1
            e = plan.entries[touch]
            if e < 0:
                continue
            hits[touch] = s.inside[e] and not plan.loaded[touch]
            _drop(s, e)
            if not s.inside[e] and n[USED] < capacity:
                s.inside[e] = True
                n[USED] += 1
                n[PLACED if plan.loaded[touch] else PREFETCHES] += 1
            s.order[e] = orders[touch]
            s.last[e] = touch
            _join(s, e, _young_group(s, step, arrival[touch], fill_age))
    return np.array(steps), np.array(used), np.array(thetas), np.array(pools)


# ---- groups and their lists ------------------------------------------------------------------------------------------


@compiled
def _new_group(s: State, access: int, class_id: int) -> int:
    n = s.numbers
    n[SPARE] -= 1
    g = s.spare[n[SPARE]]
    s.access[g] = access
    s.class_id[g] = class_id
    s.place[g] = n[LIVE]
    s.live[n[LIVE]] = g
    n[LIVE] += 1
    return g


@compiled
def _forget_group(s: State, g: int) -> None:
    n = s.numbers
    n[LIVE] -= 1
    moved = s.live[n[LIVE]]
    s.live[s.place[g]] = moved
    s.place[moved] = s.place[g]
    s.spare[n[SPARE]] = g
    n[SPARE] += 1


@compiled
def _young_group(s: State, access: int, class_id: int, fill_age: int) -> int:
    """The group of an access FILL_AGE ago at most."""
    row = access % (fill_age + 1)
    g = s.recent[row, class_id]
    if g == NOWHERE:
        g = s.recent[row, class_id] = _new_group(s, access, class_id)
        s.is_young[g] = True
        s.young[s.numbers[YOUNG]] = g
        s.numbers[YOUNG] += 1
    return g


@compiled
def _join(s: State, e: int, g: int) -> None:
    side = INSIDE if s.inside[e] else OUTSIDE
    first = s.first[side, g]
    s.group[e] = g
    s.before[e] = NOWHERE
    s.after[e] = first
    if first != NOWHERE:
        s.before[first] = e
    s.first[side, g] = e
    s.count[side, g] += 1


@compiled
def _unlink(s: State, e: int, g: int) -> None:
    """Take an entry off its list, and leave the rest to the caller."""
    side = INSIDE if s.inside[e] else OUTSIDE
    before, after = s.before[e], s.after[e]
    if before == NOWHERE:
        s.first[side, g] = after
    else:
        s.after[before] = after
    if after != NOWHERE:
        s.before[after] = before
    s.count[side, g] -= 1


@compiled
def _drop(s: State, e: int) -> None:
    """Take an entry out of its group, if it is in one."""
    g = s.group[e]
    if g == NOWHERE:
        return
    _unlink(s, e, g)
    s.group[e] = NOWHERE
    if not s.count[INSIDE, g] and not s.is_young[g]:
        _forget_group(s, g)


@compiled
def _release_outside(s: State, g: int) -> None:
    """Let go of a group's members below tier 1."""
    e = s.first[OUTSIDE, g]
    while e != NOWHERE:
        s.group[e] = NOWHERE
        e = s.after[e]
    s.first[OUTSIDE, g] = NOWHERE
    s.count[OUTSIDE, g] = 0


@compiled
def _move(s: State, g: int, side: int) -> None:
    """All members of one list go into or out of tier 1."""
    first = e = s.first[side, g]
    if e == NOWHERE:
        return
    moved = s.count[side, g]
    other = 1 - side
    last = e
    while e != NOWHERE:
        s.inside[e] = other == INSIDE
        last = e
        e = s.after[e]
    follower = s.first[other, g]
    s.after[last] = follower
    if follower != NOWHERE:
        s.before[follower] = last
    s.first[other, g] = first
    s.count[other, g] += moved
    s.first[side, g] = NOWHERE
    s.count[side, g] = 0
    if other == INSIDE:
        s.numbers[PREFETCHES] += moved
    else:
        s.numbers[EVICTIONS] += moved


# ---- the end of a request --------------------------------------------------------------------------------------------


@compiled
def _end(s: State, plan: Plan, request: int, step: int, fill_age: int, completion: NDArray[np.uint8]) -> None:
    """CLASS (R42) for the blocks that the request has touched last. The class of an entry that is in no group decides nothing
    before a TOUCH sets it anew."""
    access = plan.arrivals[request]
    for touch in range(plan.offsets[request], plan.offsets[request + 1]):
        e = plan.entries[touch]
        if e < 0 or s.last[e] != touch or s.group[e] == NOWHERE:
            continue
        class_id = completion[touch]
        if s.class_id[s.group[e]] == class_id:
            continue
        if step - access <= fill_age:
            g = _young_group(s, access, class_id, fill_age)
        elif s.aged_for[class_id] == request:
            g = s.aged[class_id]
        else:
            g = s.aged[class_id] = _new_group(s, access, class_id)
            s.aged_for[class_id] = request
        _drop(s, e)
        _join(s, e, g)


# ---- STEP ------------------------------------------------------------------------------------------------------------


@compiled
def _advance(s: State, step: int, capacity: int, fill_age: int, table: NDArray[np.uint8]) -> None:
    n = s.numbers
    n[STEPS] += 1
    n[THETA] = 0
    outside = _grow_older(s, step, fill_age)
    n[POOL] = n[USED] + outside
    if n[POOL] > capacity:
        n[SEARCHED] += 1
        _search(s, step, capacity, table)
        n[USED] = capacity
    elif outside:
        for k in range(n[YOUNG]):
            _move(s, s.young[k], OUTSIDE)
        n[USED] += outside


@compiled
def _grow_older(s: State, step: int, fill_age: int) -> int:
    """Groups that are no longer young lose their members outside. Returns how many the others have there."""
    n = s.numbers
    outside = young = 0
    for k in range(n[YOUNG]):
        g = s.young[k]
        if step - s.access[g] <= fill_age:
            s.young[young] = g
            young += 1
            outside += s.count[OUTSIDE, g]
            continue
        s.recent[s.access[g] % (fill_age + 1), s.class_id[g]] = NOWHERE
        s.is_young[g] = False
        _release_outside(s, g)
        if not s.count[INSIDE, g]:
            _forget_group(s, g)
    n[YOUNG] = young
    return outside


@compiled
def _search(s: State, step: int, capacity: int, table: NDArray[np.uint8]) -> None:
    """Find θ in a pool of more than `capacity`, and move who lost and who won (R46, R47)."""
    n = s.numbers
    if not capacity:
        n[THETA] = HIGHEST
        return
    oldest = s.buckets.size - 1
    codes = np.zeros(256, np.int64)
    for k in range(n[LIVE]):
        g = s.live[k]
        code = table[s.class_id[g], s.buckets[min(step - s.access[g], oldest)]]
        s.code[g] = code
        codes[code] += s.count[INSIDE, g] + s.count[OUTSIDE, g]
    code, above = _threshold(codes, capacity)

    orders = np.zeros(256, np.int64)
    for k in range(n[LIVE]):
        g = s.live[k]
        if s.code[g] == code:
            for side in range(2):
                e = s.first[side, g]
                while e != NOWHERE:
                    orders[s.order[e]] += 1
                    e = s.after[e]
    order, more = _threshold(orders, capacity - above)
    n[THETA] = code << 8 | order
    last = _last_winner(s, code, order, orders[order], capacity - above - more)

    for k in range(n[LIVE] - 1, -1, -1):  # a group that is forgotten has the last one, done by then, take its place
        g = s.live[k]
        if s.code[g] > code:
            _move(s, g, OUTSIDE)
            continue
        if s.code[g] == code:
            _contest(s, g, order, last)
        else:
            _move(s, g, INSIDE)
        if not s.is_young[g]:
            _release_outside(s, g)
            if not s.count[INSIDE, g]:
                _forget_group(s, g)


@compiled
def _threshold(histogram: NDArray[np.int64], places: int) -> tuple[int, int]:
    """The largest bin such that at least `places` are in it or above, and how many are above."""
    value, above = 255, 0
    while above + histogram[value] < places:
        above += histogram[value]
        value -= 1
    return value, above


@compiled
def _last_winner(s: State, code: int, order: int, ties: int, places: int) -> int:
    """The index of the last of `ties` entries at θ, in index order, that gets one of the `places`."""
    if ties == places:
        return s.group.size
    found = 0
    for k in range(s.numbers[LIVE]):
        g = s.live[k]
        if s.code[g] == code:
            for side in range(2):
                e = s.first[side, g]
                while e != NOWHERE:
                    if s.order[e] == order:
                        s.ties[found] = e
                        found += 1
                    e = s.after[e]
    at_theta = s.ties[:found]
    at_theta.sort()
    return at_theta[places - 1]


@compiled
def _contest(s: State, g: int, order: int, last: int) -> None:
    """Every member of a group with the code of θ by itself."""
    for side in range(2):
        e = s.first[side, g]
        while e != NOWHERE:
            after = s.after[e]
            wins = s.order[e] > order or (s.order[e] == order and e <= last)
            if wins != s.inside[e]:
                # The lists change under the walk: one that moves from the first to the second is seen there again, and stays.
                _unlink(s, e, g)
                s.inside[e] = wins
                _join(s, e, g)
                s.numbers[PREFETCHES if wins else EVICTIONS] += 1
            e = after
