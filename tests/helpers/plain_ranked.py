"""The ranked policy restated plainly (contract R11, R13, R21, R41, R43 to R47), to compare a replay with: dictionaries, and one
sort of the whole pool where the device looks for a threshold. It knows the commands of a ranked replay, and no pins, guards or
expectations, which such a replay never makes."""

from __future__ import annotations

from dataclasses import dataclass

from kvfpga.contract.commands import HINT_SET, Command, Load, Set, Step, Touch, Unload

EVICT_TIER = 2


@dataclass
class Entry:
    key: tuple[int, int, int, int]
    tier: int
    access_step: int
    class_id: int = 0
    order: int = 0


class PlainRanked:
    """`table[class][bucket]`: the codes. `capacity`: blocks that fit into tier 1."""

    def __init__(self, entries, capacity, table, fill_age=1, block_bytes=16384):
        self.capacity, self.table, self.fill_age, self.block_bytes = capacity, table, fill_age, block_bytes
        self.step = 0
        self.entries: dict[int, Entry] = {}
        self.free = sorted(range(entries), reverse=True)  # the lowest comes last
        self.by_key: dict[tuple, int] = {}
        self.by_va: dict[int, int] = {}
        self.used = 0  # places of tier 1
        self.last_access = -1

    def tiers(self, commands: list[Command]) -> list[int]:
        """The tier in which each TOUCH among the commands found its block, 0 where it found none."""
        found = []
        for command in commands:
            match command:
                case Touch():
                    found.append(self.touch(command))
                case Load():
                    self.load(command)
                case Unload(addr, length):
                    for va in range(addr, addr + length, self.block_bytes):
                        self.unload(va)
                case Step(step):
                    self.advance(step)
                case _:
                    assert isinstance(command, Set), command
        return found

    def touch(self, c: Touch) -> int:
        index = self.by_key.get((c.request, c.layer, c.head, c.token_pos))
        if index is None:
            return 0
        entry = self.entries[index]
        found = entry.tier
        self.access(entry, c.hint)
        if found != 1 and self.used < self.capacity:
            self.move(entry, 1)
        return found

    def load(self, c: Load) -> None:
        index = self.free.pop()
        key = c.request, c.layer, c.head, c.token_start
        entry = self.entries[index] = Entry(key, EVICT_TIER, self.step)
        self.by_key[key] = self.by_va[c.va] = index
        self.access(entry, c.hint)
        if self.used < self.capacity:
            self.move(entry, 1)

    def unload(self, va: int) -> None:
        index = self.by_va.pop(va)
        entry = self.entries.pop(index)
        self.move(entry, EVICT_TIER)
        del self.by_key[entry.key]
        self.free.append(index)
        self.free.sort(reverse=True)

    def access(self, entry: Entry, hint: int) -> None:
        entry.access_step = self.last_access = self.step
        if hint & HINT_SET:
            entry.class_id, entry.order = hint & 0xFF, hint >> 8 & 0xFF

    def move(self, entry: Entry, tier: int) -> None:
        self.used += (tier == 1) - (entry.tier == 1)
        entry.tier = tier

    def advance(self, step: int) -> None:
        """R46. Where nothing was accessed of late, nothing outside tier 1 contends, and nothing moves."""
        self.step = step
        if step - self.last_access > self.fill_age:
            return
        pool = [i for i, entry in self.entries.items() if entry.tier == 1 or step - entry.access_step <= self.fill_age]
        pool.sort(key=lambda index: (-self.priority(self.entries[index]), index))
        for place, index in enumerate(pool):
            self.move(self.entries[index], 1 if place < self.capacity else EVICT_TIER)

    def priority(self, entry: Entry) -> int:
        return 256 * int(self.table[entry.class_id][bucket(self.step - entry.access_step)]) + entry.order


def bucket(distance: int) -> int:
    """R43."""
    a = 1 + distance
    l = a.bit_length() - 1  # noqa: E741  # the contract's name for it
    b = a - 1 if l < 2 else 4 * (l - 1) + (a >> l - 2 & 3) - 1
    return min(b, 63)
