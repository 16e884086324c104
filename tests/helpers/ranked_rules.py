"""The ranked policy once more (contract R43, R44, R46, R47), entry by entry in plain Python and by sorting, for comparison.

Entries are dictionaries as `dump` has them. Slow, and written to be read beside the contract.
"""

from __future__ import annotations

from typing import NamedTuple


class Decision(NamedTuple):
    """What a ranked STEP must do: (index, channel) in the order queued, and what telemetry shows of it."""

    priorities: dict[int, int]
    moves: list[tuple[int, str]]
    theta: int
    pool: int
    outside: int
    searched: bool
    guards: int
    denials: int


def bucket(a: int) -> int:
    """R43, of an age a >= 1."""
    highest = a.bit_length() - 1
    return min(63, a - 1 if highest < 2 else 4 * (highest - 1) + ((a >> (highest - 2)) & 3) - 1)


def rank(entry: dict, t: int, table: list[list[int]]) -> int:
    """R44."""
    if entry["pinned"]:
        return 0xFFFF
    return 256 * table[entry["class"]][bucket(1 + abs(t - entry["access_step"]))] + entry["order"]


def decide(entries: list[dict], t: int, settings: dict[str, int], table: list[list[int]]) -> Decision:
    """What a STEP to `t` must do with `entries`, as they were before it."""
    capacity, window = settings["T1_CAPACITY"], settings["WINDOW"]
    t1_used = sum(e["tier"] == 1 for e in entries)
    priorities, pool, ranks, guarded = {}, [], {}, set()
    for e in entries:
        expired = t > e["access_step"] and t - e["access_step"] > window
        index, e = e["index"], e | {"pinned": e["pinned"] and not expired}
        priorities[index] = rank(e, t, table)
        age, near = t - e["access_step"], window - abs(t - e["access_step"]) > 0
        if e["tier"] == 1 or (e["tier"] in (2, 3) and (0 <= age <= settings["FILL_AGE"] or (e["armed"] and near))):
            pool.append(e)
        if e["tier"] == 1 and e["prefix"] and e["ref_count"] > 0:
            guarded.add(index)
        ranks[index] = 0xFFFF if index in guarded else priorities[index]
    outside = [e for e in pool if e["tier"] != 1]
    searched = len(pool) > capacity
    by_rank = sorted((e["index"] for e in pool), key=lambda index: (-ranks[index], index))
    won = set(by_rank[:capacity])
    theta = 0
    if searched:
        theta = ranks[by_rank[capacity - 1]] if capacity else 0xFFFF
    losers = [e["index"] for e in pool if e["tier"] == 1 and e["index"] not in won]
    evicted = [index for index in losers if index not in guarded]
    wanted = [e["index"] for e in outside if e["index"] in won]
    granted = wanted[: max(0, capacity - (t1_used - len(evicted)))]
    moves = [(index, "evict") for index in evicted] + [(index, "prefetch") for index in granted]
    return Decision(
        priorities, moves, theta, len(pool), len(outside), searched, len(losers) - len(evicted), len(wanted) - len(granted)
    )
