"""Commands by range for many blocks: runs of consecutive ones, and CLASS (contract R42) for blocks that each have a class and an
order, in as few ranges as give every one of them just that.

A range gives one class to consecutive blocks, and orders that begin anywhere and fall by one every 2^shift blocks, not below 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

LONGEST_LEVEL = 1 << 15
"""Blocks of one order in a range, at most: the shift has 4 bits."""


class ClassRange(NamedTuple):
    """So many `blocks` from `first` on; the others as CLASS has them."""

    first: int
    blocks: int
    class_id: int
    base: int
    shift: int


def runs_of(blocks: Iterable[int]) -> list[tuple[int, int]]:
    """(first, count) of each ascending run of consecutive blocks."""
    found: list[tuple[int, int]] = []
    for block in sorted(blocks):
        if found and sum(found[-1]) == block:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((block, 1))
    return found


def class_ranges(blocks: Iterable[tuple[int, int, int]]) -> list[ClassRange]:
    """The ranges for (block, class, order), blocks ascending."""
    found = []
    for (_, class_id), run in groupby(enumerate(blocks), lambda item: (item[1][0] - item[0], item[1][1])):
        members = [member for _, member in run]
        first = members[0][0]
        orders = [order for _, _, order in members]
        for start, end, shift in _pieces(orders):
            found.append(ClassRange(first + start, end - start, class_id, 255 - orders[start], shift))
    return found


def _pieces(orders: list[int]) -> list[tuple[int, int, int]]:
    """(start, end, shift) of the fewest pieces. What a range can do, its beginning can: so all places up to the farthest that k
    pieces reach are ends of k pieces, and the next piece starts at the one of them from which it reaches farthest."""
    reach = _reach(orders)
    starts, before, far = [0], 0, reach[0][0]
    while far < len(orders):
        starts.append(max(range(before + 1, far + 1), key=lambda start: reach[start][0]))
        before, far = far, reach[starts[-1]][0]
    return [(start, end, reach[start][1]) for start, end in zip(starts, [*starts[1:], len(orders)])]


def _reach(orders: list[int]) -> list[tuple[int, int]]:
    """For each place, how far a range from there can go, and with which shift. Blocks of one order are a level; the first level
    says how long those behind it must be."""
    count = len(orders)
    level_end = [count] * count
    reach = [(count, 0)] * count
    for start in range(count - 1, -1, -1):
        order = orders[start]
        end = start + 1
        if end < count and orders[end] == order:
            end = level_end[end]
        level_end[start] = end
        length = end - start
        if order == 0:
            reach[start] = end, 0
        elif length > LONGEST_LEVEL:
            reach[start] = start + LONGEST_LEVEL, 15
        elif length & length - 1:
            reach[start] = end, 15
        else:
            shift = length.bit_length() - 1
            if end < count and orders[end] == order - 1:
                below = level_end[end] - end
                end = reach[end][0] if below == length or order == 1 else end + min(below, length)
            reach[start] = end, shift
    return reach
