"""The ranked policy (contract R11, R13, R21, R40 to R47) on a plan, without looking at every entry in a STEP.

Entries that were accessed at the same step and have the same class have the same code (R43, R44) at every later step. They are a
group. A STEP that must search for θ counts how many of the pool each code has, group by group; only the members of those groups
that have the code of θ are looked at one by one, for their order and then their index (R46). Below it a group's members in tier 1
all go, above it those outside all come.

A group holds its members that the pool may have: those in tier 1, and while it is young (its age is FILL_AGE at most) those
outside. An entry that is in neither is in no group: nothing but a TOUCH or a PREFETCH can bring it back, and that gives it a new
one.

An entry that PREFETCH expects at the next STEP is as one accessed then. With WINDOW 1 it is neither fetched before nor due after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .counts import COUNTS, EVICTIONS, POOL, PREFETCHES, SEARCHED, STEPS, THETA, USED
from .jit import compiled
from .planning import Plan, arrivals_at, stepped
from .tier1 import touched

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST = 0xFFFF
INSIDE, OUTSIDE = 0, 1
"""The two lists of a group: its members in tier 1, and those below it."""
LIVE, YOUNG, SPARE = range(COUNTS, COUNTS + 3)
"""More of `State.numbers`: how long the three lists of groups are."""
NOWHERE = -1


ENTRY = np.dtype([
    ("last", "i8"), ("group", "i4"), ("after", "i4"), ("before", "i4"), ("class_id", "u1"), ("order", "u1"), ("inside", "?"),
])  # fmt: skip
"""The touch that was its last, the group (NOWHERE: in none), the links of its list, class, order, is it in tier 1?"""
GROUP = np.dtype([("access", "i8"), ("place", "i4"), ("class_id", "u1"), ("code", "u1"), ("young", "?")])
"""`place`: in the list of live groups. `code`: in this STEP."""
LIST = np.dtype([("first", "i4"), ("count", "i4")])
REMEMBERED = 1 << 14
"""Places for groups that requests have made at their ends."""


class State(NamedTuple):
    """`live`, `young` and `spare` list groups, and `lists[2 * g + side]` are the members of group g.
    `recent[access % (FILL_AGE + 1), class]` is the young group of that step and class, and `aged` remembers those that requests
    have made at their ends. `numbers` are those of counts.py and the above, and `ties` is room for indices.

    Records and not an array for each field: to take an array out of a tuple costs more than most of what is done with it here.
    """

    entries: NDArray[np.void]
    groups: NDArray[np.void]
    lists: NDArray[np.void]
    live: NDArray[np.int32]
    young: NDArray[np.int32]
    spare: NDArray[np.int32]
    recent: NDArray[np.int32]
    aged: NDArray[np.int32]
    buckets: NDArray[np.uint8]
    ties: NDArray[np.int32]
    numbers: NDArray[np.int64]


def empty(size: int, classes: int, fill_age: int, buckets: NDArray[np.uint8]) -> State:
    """An empty directory of `size` entries. `buckets`: the age bucket of each distance, the last one for all beyond."""
    groups = size + classes * (fill_age + 2) + 1  # those with a member in tier 1, and the young ones
    entries = np.zeros(size, ENTRY)
    entries["last"], entries["group"] = -1, NOWHERE
    lists = np.zeros(2 * groups, LIST)
    lists["first"] = NOWHERE
    numbers = np.zeros(COUNTS + 3, np.int64)
    numbers[SPARE] = groups
    return State(
        entries,
        np.zeros(groups, GROUP),
        lists,
        live=np.zeros(groups, np.int32),
        young=np.zeros(groups, np.int32),
        spare=np.arange(groups, dtype=np.int32)[::-1].copy(),
        recent=np.full((fill_age + 1, classes), NOWHERE, np.int32),
        aged=np.zeros(REMEMBERED, np.int32),
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
    announced: bool,
    capacity: int,
    fill_age: int,
    hits: NDArray[np.bool_],
    sample_every: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Run the whole plan from an empty directory on. Fills `hits`; returns step, t1_used, θ and pool of every so many STEPs."""
    steps = [0 for _ in range(0)]
    used = [0 for _ in range(0)]
    thetas = [0 for _ in range(0)]
    pools = [0 for _ in range(0)]
    n, entries, places, loaded = s.numbers, s.entries, plan.entries, plan.loaded
    table = np.zeros(tables.shape[1:], np.uint8)
    step = ended = batch = 0
    requests = plan.arrivals.size
    for request in range(requests + 1):
        while (step < plan.arrivals[request]) if request < requests else ended < requests:
            target = plan.arrivals[request] if request < requests else plan.ends[plan.by_end[ended]]
            step = stepped(step, target, ended < request < requests)
            _grow_older(s, step, fill_age)
            if announced and request < requests and step == target:
                _expect(s, plan, request, step, fill_age)
            _advance(s, step, capacity, table)
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
                    n[USED] -= entries[e].inside
                    entries[e].inside = False
                batch += 1
            e = places[touch]
            if e < 0:
                continue
            entry = entries[e]
            _drop(s, e)
            hits[touch] = touched(entry, loaded[touch], capacity, n)
            entry.class_id = arrival[touch]
            entry.order = orders[touch]
            entry.last = touch
            _join(s, e, _young_group(s, step, entry.class_id, fill_age))
    return np.array(steps), np.array(used), np.array(thetas), np.array(pools)


# ---- groups and their lists ------------------------------------------------------------------------------------------


@compiled
def _list(g: int, inside: bool) -> int:
    return 2 * g + (INSIDE if inside else OUTSIDE)


@compiled
def _new_group(s: State, access: int, class_id: int) -> int:
    n = s.numbers
    n[SPARE] -= 1
    g = s.spare[n[SPARE]]
    group = s.groups[g]
    group.access = access
    group.class_id = class_id
    group.place = n[LIVE]
    s.live[n[LIVE]] = g
    n[LIVE] += 1
    return int(g)


@compiled
def _forget_group(s: State, g: int) -> None:
    n, groups = s.numbers, s.groups
    n[LIVE] -= 1
    moved = s.live[n[LIVE]]
    s.live[groups[g].place] = moved
    groups[moved].place = groups[g].place
    s.spare[n[SPARE]] = g
    n[SPARE] += 1


@compiled
def _young_group(s: State, access: int, class_id: int, fill_age: int) -> int:
    """The group of an access FILL_AGE ago at most."""
    row = access % (fill_age + 1)
    g = s.recent[row, class_id]
    if g == NOWHERE:
        g = _new_group(s, access, class_id)
        s.recent[row, class_id] = g
        s.groups[g].young = True
        s.young[s.numbers[YOUNG]] = g
        s.numbers[YOUNG] += 1
    return int(g)


@compiled
def _aged_group(s: State, access: int, class_id: int) -> int:
    """A group of an older access: mostly one that another request has made, since many come at one step and end at others. Two
    with the same place make more groups than there need be, and do no harm."""
    place = (access * 251 + class_id) % REMEMBERED
    g = s.aged[place]
    group = s.groups[g]
    lives = group.place < s.numbers[LIVE] and s.live[group.place] == g
    if not (lives and group.access == access and group.class_id == class_id):
        g = _new_group(s, access, class_id)
        s.aged[place] = g
    return int(g)


@compiled
def _join(s: State, e: int, g: int) -> None:
    entries = s.entries
    entry = entries[e]
    members = s.lists[_list(g, entry.inside)]
    entry.group = g
    entry.before = NOWHERE
    entry.after = members.first
    if members.first != NOWHERE:
        entries[members.first].before = e
    members.first = e
    members.count += 1


@compiled
def _unlink(s: State, e: int, g: int) -> None:
    """Take an entry off its list, and leave the rest to the caller."""
    entries = s.entries
    entry = entries[e]
    members = s.lists[_list(g, entry.inside)]
    if entry.before == NOWHERE:
        members.first = entry.after
    else:
        entries[entry.before].after = entry.after
    if entry.after != NOWHERE:
        entries[entry.after].before = entry.before
    members.count -= 1


@compiled
def _drop(s: State, e: int) -> None:
    """Take an entry out of its group, if it is in one."""
    g = s.entries[e].group
    if g == NOWHERE:
        return
    _unlink(s, e, g)
    s.entries[e].group = NOWHERE
    if not s.lists[2 * g + INSIDE].count and not s.groups[g].young:
        _forget_group(s, g)


@compiled
def _release_outside(s: State, g: int) -> None:
    """Let go of a group's members below tier 1. One without any others is forgotten."""
    members, entries = s.lists[2 * g + OUTSIDE], s.entries
    e = members.first
    while e != NOWHERE:
        entries[e].group = NOWHERE
        e = entries[e].after
    members.first = NOWHERE
    members.count = 0
    if not s.lists[2 * g + INSIDE].count:
        _forget_group(s, g)


@compiled
def _move(s: State, g: int, into: bool) -> None:
    """All members of a group that are not there go into tier 1, or out of it."""
    entries = s.entries
    source, target = s.lists[_list(g, not into)], s.lists[_list(g, into)]
    if not source.count:
        return
    e = last = source.first
    while e != NOWHERE:
        entries[e].inside = into
        last = e
        e = entries[e].after
    entries[last].after = target.first
    if target.first != NOWHERE:
        entries[target.first].before = last
    target.first = source.first
    target.count += source.count
    s.numbers[PREFETCHES if into else EVICTIONS] += source.count
    source.first = NOWHERE
    source.count = 0


# ---- the end of a request --------------------------------------------------------------------------------------------


@compiled
def _end(s: State, plan: Plan, request: int, step: int, fill_age: int, completion: NDArray[np.uint8]) -> None:
    """CLASS (R42) for the blocks that the request has touched last."""
    entries, places = s.entries, plan.entries
    for touch in range(plan.offsets[request], plan.offsets[request + 1]):
        e = places[touch]
        if e < 0 or entries[e].last != touch:
            continue
        class_id = completion[touch]
        if entries[e].class_id == class_id:
            continue
        entries[e].class_id = class_id
        if entries[e].group == NOWHERE:
            continue
        access = s.groups[entries[e].group].access
        if step - access <= fill_age:
            g = _young_group(s, access, class_id, fill_age)
        else:
            g = _aged_group(s, access, class_id)
        _drop(s, e)
        _join(s, e, g)


# ---- STEP ------------------------------------------------------------------------------------------------------------


@compiled
def _expect(s: State, plan: Plan, request: int, step: int, fill_age: int) -> None:
    """PREFETCH (R19), for this STEP, of the blocks of this request and of those that arrive with it."""
    for touch in range(plan.offsets[request], plan.offsets[arrivals_at(plan.arrivals, request)]):
        e = plan.announced[touch]
        if e >= 0:
            _drop(s, e)
            _join(s, e, _young_group(s, step, s.entries[e].class_id, fill_age))


@compiled
def _advance(s: State, step: int, capacity: int, table: NDArray[np.uint8]) -> None:
    """STEP, once `_grow_older` has been."""
    n = s.numbers
    n[STEPS] += 1
    n[THETA] = 0
    outside = 0
    for k in range(n[YOUNG]):
        outside += s.lists[2 * s.young[k] + OUTSIDE].count
    n[POOL] = n[USED] + outside
    if n[POOL] > capacity:
        n[SEARCHED] += 1
        _search(s, step, capacity, table)
        n[USED] = capacity
    elif outside:
        for k in range(n[YOUNG]):
            _move(s, s.young[k], True)
        n[USED] += outside


@compiled
def _grow_older(s: State, step: int, fill_age: int) -> None:
    """Groups that are no longer young at this step lose their members outside."""
    n = s.numbers
    young = 0
    for k in range(n[YOUNG]):
        g = s.young[k]
        group = s.groups[g]
        if step - group.access <= fill_age:
            s.young[young] = g
            young += 1
        else:
            s.recent[group.access % (fill_age + 1), group.class_id] = NOWHERE
            group.young = False
            _release_outside(s, g)
    n[YOUNG] = young


@compiled
def _search(s: State, step: int, capacity: int, table: NDArray[np.uint8]) -> None:
    """Find θ in a pool of more than `capacity`, and move who lost and who won (R46, R47)."""
    n, groups, lists, live, buckets = s.numbers, s.groups, s.lists, s.live, s.buckets
    if not capacity:
        n[THETA] = HIGHEST
        return
    oldest = buckets.size - 1
    codes = np.zeros(256, np.int64)
    for k in range(n[LIVE]):
        g = live[k]
        group = groups[g]
        group.code = table[group.class_id, buckets[min(step - group.access, oldest)]]
        codes[group.code] += lists[2 * g + INSIDE].count + lists[2 * g + OUTSIDE].count
    code, above = _threshold(codes, capacity)
    orders = _orders(s, code)
    order, more = _threshold(orders, capacity - above)
    n[THETA] = code << 8 | order
    last = _last_winner(s, code, order, orders[order], capacity - above - more)

    for k in range(n[LIVE] - 1, -1, -1):  # a group that is forgotten has the last one, done by then, take its place
        g = live[k]
        if groups[g].code > code:
            _move(s, g, True)
            continue
        if groups[g].code == code:
            _contest(s, g, order, last)
        else:
            _move(s, g, False)
        if not groups[g].young:
            _release_outside(s, g)


@compiled
def _threshold(histogram: NDArray[np.int64], places: int) -> tuple[int, int]:
    """The largest bin such that at least `places` are in it or above, and how many are above."""
    value, above = 255, 0
    while above + histogram[value] < places:
        above += histogram[value]
        value -= 1
    return value, above


@compiled
def _orders(s: State, code: int) -> NDArray[np.int64]:
    """int64[256]: how many of the pool that have this code have each order."""
    entries = s.entries
    orders = np.zeros(256, np.int64)
    for k in range(s.numbers[LIVE]):
        g = s.live[k]
        if s.groups[g].code == code:
            for side in range(2):
                e = s.lists[2 * g + side].first
                while e != NOWHERE:
                    orders[entries[e].order] += 1
                    e = entries[e].after
    return orders


@compiled
def _last_winner(s: State, code: int, order: int, ties: int, places: int) -> int:
    """The index of the last of `ties` entries at θ, in index order, that gets one of the `places`."""
    entries, at_theta = s.entries, s.ties
    if ties == places:
        return entries.size
    found = 0
    for k in range(s.numbers[LIVE]):  # as in _orders: a generator for both made runs two to four times slower
        g = s.live[k]
        if s.groups[g].code == code:
            for side in range(2):
                e = s.lists[2 * g + side].first
                while e != NOWHERE:
                    if entries[e].order == order:
                        at_theta[found] = e
                        found += 1
                    e = entries[e].after
    at_theta[:found].sort()
    return int(at_theta[places - 1])


@compiled
def _contest(s: State, g: int, order: int, last: int) -> None:
    """Every member of a group with the code of θ by itself."""
    entries = s.entries
    for side in range(2):
        e = s.lists[2 * g + side].first
        while e != NOWHERE:
            entry = entries[e]
            after = entry.after
            wins = entry.order > order or (entry.order == order and e <= last)
            if wins != entry.inside:  # one that moves from the first list to the second is seen there again, and stays
                _unlink(s, e, g)
                entry.inside = wins
                _join(s, e, g)
                s.numbers[PREFETCHES if wins else EVICTIONS] += 1
            e = after
