"""The reference model's directory (RTBD, contract section 3): a column of numpy per field, no rules.

It answers the questions that the rules ask (which index is free, which entry has this key, which overlap this range),
packs entries into the 256-bit form that the device shows in BAR2, and keeps the digest (R24) cheap: hashes of entries
are kept, and only those that were reported `touched` or `moved` are computed again.

Not kept, because they follow from the rest: phys_addr (TIER_BASE[tier] + index * BLOCK_BYTES, D8), and inflight, which is 0
whenever the device is idle, and the model only shows states between commands.

`rows` is always a slice or an array of indices. An entry that is not valid is zero in every column.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .digest import MASK, begun_hashes, ended_hashes, entry_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from numpy.typing import NDArray

    # Where a uint64 array meets a Python int, numpy's annotations say that signed integers come out; such results are
    # NDArray[Any] here.
    Rows: TypeAlias = slice | NDArray[np.intp]
    Number = TypeVar("Number", bound=np.generic)

HASH_CHUNK = 8192
"""Entries hashed at a time: the temporaries of one chunk stay in the processor's cache."""
FEW = 8
"""Entries up to which hashing one by one is faster than as arrays."""
NO_ROWS = np.empty(0, np.intp)


def pack_key(request: int, layer: int, head: int, token_start: int) -> int:
    """Bits 63:0 of an entry. They are its key, so the directory uses them as such."""
    return request | head << 16 | layer << 24 | token_start << 32


class Directory:
    """`tier_base` is a uint64[4] that the owner may rewrite while the directory is empty."""

    def __init__(self, entries: int, block_bytes: int, tier_base: NDArray[np.uint64]):
        self.entries = entries
        self.block_bytes = block_bytes
        self.tier_base = tier_base
        self.clear()

    def clear(self) -> None:
        self._columns: list[NDArray[Any]] = []
        self.valid = self._column(np.bool_)
        self.key = self._column(np.uint64)
        self.token_end = self._column(np.uint32)
        self.tier = self._column(np.uint8)
        self.priority = self._column(np.uint16)
        self.access_step = self._column(np.uint32)
        self.ref_count = self._column(np.uint8)
        self.prefix = self._column(np.bool_)
        self.dirty = self._column(np.bool_)
        self.R = self._column(np.uint8)
        self.F = self._column(np.uint8)
        self.pinned = self._column(np.bool_)
        self.armed = self._column(np.bool_)
        self.va = self._column(np.uint64)
        self.hint = self._column(np.dtype("<u2"))
        """Class and order as the entry holds them side by side (R41). The next two are views of it."""
        self.class_id, self.order = self.hint.view(np.uint8).reshape(-1, 2).T
        self.count = 0
        """Valid entries."""
        self.limit = 0
        """1 + the highest valid index. Passes look at rows below it only, as the device's do."""
        self.__dict__.pop("_index_of", None)
        self._hash = np.zeros(self.entries, np.uint64)
        self._stale = np.zeros(self.entries, bool)
        self._begun = np.zeros(self.entries, np.uint64)
        """Of each hash the part that follows from the first two words, which a STEP leaves alone."""
        self._steady = np.zeros((2, self.entries), np.uint64)
        """What a STEP leaves alone of the other two."""
        self._unsteady = np.zeros(self.entries, bool)
        """Of which entries these are out of date."""
        self._hash_sum = 0

    def _column(self, dtype: type[Number] | np.dtype[Number]) -> NDArray[Number]:
        column = np.zeros(self.entries, dtype)
        self._columns.append(column)
        return column

    @cached_property
    def _index_of(self) -> dict[int, int]:
        """Valid rows by their keys. Made when it is first asked for: a step of a process that has just begun never asks."""
        used = np.flatnonzero(self.valid)
        return dict(zip(self.key[used].tolist(), used.tolist()))

    # ---- finding ---------------------------------------------------------------------------------------------------
    def find(self, key: int) -> int | None:
        return self._index_of.get(key)

    def lowest_free(self) -> int:
        """Only meaningful while count < entries."""
        return self.limit if self.count == self.limit else int(self.valid[: self.limit].argmin())

    def free(self, count: int) -> list[int]:
        """The lowest `count` rows that are not valid, fewer where there are no more."""
        below: list[int] = np.flatnonzero(~self.valid[: self.limit])[:count].tolist()
        return below + list(range(self.limit, min(self.limit + count - len(below), self.valid.size)))

    def in_range(self, addr: int, length: int) -> NDArray[np.intp]:
        """Indices of the blocks whose [va, va+BLOCK_BYTES) overlaps [addr, addr+length), ascending. Both ends are
        exact integers: neither a block nor a range wraps around at 2^64."""
        va = self.va[: self.limit]
        match = self.valid[: self.limit] & (va <= addr + length - 1)
        if addr >= self.block_bytes:
            match &= va > addr - self.block_bytes
        return np.flatnonzero(match)

    def of_request(self, request: int) -> NDArray[np.intp]:
        rows = slice(0, self.limit)
        return np.flatnonzero(self.valid[rows] & ((self.key[rows] & 0xFFFF) == request))

    # ---- changing --------------------------------------------------------------------------------------------------
    def insert(self, index: int, **values: int) -> None:
        """Fill a free row. Columns that are not named stay zero."""
        for name, value in values.items():
            getattr(self, name)[index] = value
        self.valid[index] = True
        self._index_of[values["key"]] = index
        self.count += 1
        self.limit = max(self.limit, index + 1)
        self.touched(index)

    def remove(self, rows: NDArray[np.intp]) -> None:
        """Free valid rows, an array without repeats."""
        for key in self.key[rows].tolist():
            del self._index_of[key]
        for column in self._columns:
            column[rows] = 0
        self._hash_sum = (self._hash_sum - int(self._hash[rows].sum())) % (1 << 64)
        self._hash[rows] = 0
        self._stale[rows] = False
        self.count -= rows.size
        if not self.count:
            self.limit = 0
        elif not self.valid[self.limit - 1]:
            self.limit -= int(self.valid[self.limit - 1 :: -1].argmax())

    def aged(self, rows: Rows | int) -> None:
        """Priority, R and pinned of these rows were written, as by a STEP: their hashes are out of date."""
        self._stale[rows] = True

    def touched(self, rows: Rows | int) -> None:
        """The same where any column was written."""
        self._stale[rows] = self._unsteady[rows] = True

    # ---- showing ---------------------------------------------------------------------------------------------------
    def physical(self, rows: Rows) -> NDArray[np.uint64]:
        """uint64 addresses of the blocks where they are now, for valid rows."""
        return self.tier_address(rows, self.tier[rows])

    def tier_address(self, rows: Rows, tier: int | NDArray[np.uint8]) -> NDArray[np.uint64]:
        """uint64 addresses of the blocks' slots in `tier`, mod 2^64 as on the bus."""
        found: NDArray[np.uint64] = self.tier_base[tier] + self._indices(rows) * np.uint64(self.block_bytes)
        return found

    def fields(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The fields of contract section 3 by name, and va; one array each."""
        key, valid = self.key[rows], self.valid[rows]
        return {
            "request_id": key & 0xFFFF,
            "head": key >> 16 & 0xFF,
            "layer": key >> 24 & 0xFF,
            "token_start": key >> 32,
            "token_end": self.token_end[rows],
            "tier": self.tier[rows],
            "phys_addr": self.physical(rows) * valid,
            "priority": self.priority[rows],
            "access_step": self.access_step[rows],
            "ref_count": self.ref_count[rows],
            "prefix": self.prefix[rows],
            "dirty": self.dirty[rows],
            "R": self.R[rows],
            "F": self.F[rows],
            "valid": valid,
            "pinned": self.pinned[rows],
            "inflight": np.zeros_like(valid),
            "armed": self.armed[rows],
            "class": self.class_id[rows],
            "order": self.order[rows],
            "va": self.va[rows],
        }

    def words(self, rows: Rows) -> tuple[NDArray[Any], ...]:
        """The entries as four uint64 words each, low first, and va as the fifth. For invalid rows meaningless."""

        return self._packed(_wide(rows), self.physical(rows))

    def _words_of(self, index: int) -> tuple[int, ...]:
        """The same of one entry, in plain integers."""
        physical = int(self.tier_base[self.tier[index]]) + index * self.block_bytes & MASK
        return tuple(word & MASK for word in self._packed(lambda column: int(column[index]), physical))

    def _packed(self, wide: Callable[[NDArray[Any]], Any], physical: Any) -> tuple[Any, ...]:
        """`wide` takes what is asked for out of a column, 64 bits wide or wider."""
        return *self._first_words(wide, physical), *self._later_words(wide, *self._steady_words(wide, physical)), wide(self.va)

    def _first_words(self, wide: Callable[[NDArray[Any]], Any], physical: Any) -> tuple[Any, ...]:
        return wide(self.key), wide(self.token_end) | wide(self.tier) << 32 | physical << 34

    def _steady_words(self, wide: Callable[[NDArray[Any]], Any], physical: Any) -> tuple[Any, Any]:
        access = wide(self.access_step)
        word3 = access >> 14 | wide(self.ref_count) << 18 | wide(self.prefix) << 26 | wide(self.dirty) << 27
        word3 |= wide(self.F) << 36 | wide(self.valid) << 44 | wide(self.armed) << 47 | wide(self.hint) << 48
        return physical >> 30 | access << 50, word3

    def _later_words(self, wide: Callable[[NDArray[Any]], Any], word2: Any, word3: Any) -> tuple[Any, Any]:
        """With what a STEP writes."""
        return word2 | wide(self.priority) << 34, word3 | wide(self.R) << 28 | wide(self.pinned) << 45

    def raw(self, lo: int, hi: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """(uint32[hi-lo, 8], uint64[hi-lo]): the entries and vas as BAR2 shows them."""
        rows = slice(lo, hi)
        words = np.stack(self.words(rows)[:4], axis=1) * self.valid[rows, None]
        return words.astype("<u8").view("<u4").astype(np.uint32), self.va[rows].copy()

    def set_raw(self, entries: NDArray[np.uint32], vas: NDArray[np.uint64]) -> None:
        """Replace everything by what `raw` (or BAR2) gave for entries 0..n-1; the others become invalid."""
        self.clear()
        rows = slice(0, len(vas))
        words = np.ascontiguousarray(entries, "<u4").reshape(-1, 8).view("<u8").astype(np.uint64)
        word0, word1, word2, word3 = words.T
        self.key[rows], self.va[rows] = word0, vas
        self.token_end[rows] = word1 & 0xFFFFFFFF
        self.tier[rows] = word1 >> 32 & 3
        self.priority[rows] = word2 >> 34 & 0xFFFF
        self.access_step[rows] = word2 >> 50 | (word3 & 0x3FFFF) << 14
        self.ref_count[rows] = word3 >> 18 & 0xFF
        self.R[rows] = word3 >> 28 & 0xFF
        self.F[rows] = word3 >> 36 & 0xFF
        self.hint[rows] = word3 >> 48
        for flags, bit in ((self.prefix, 26), (self.dirty, 27), (self.valid, 44), (self.pinned, 45), (self.armed, 47)):
            flags[rows] = word3 >> bit & 1
        used = np.flatnonzero(self.valid)
        self.count = used.size
        self.limit = int(used[-1]) + 1 if used.size else 0
        self.touched(used)

    # ---- digest (R24) ----------------------------------------------------------------------------------------------
    def digest(self, lo: int, hi: int) -> int:
        self._refresh_hashes()
        if lo == 0 and hi >= self.limit:
            return self._hash_sum
        return int(self._hash[lo:hi].sum())

    def _refresh_hashes(self) -> None:
        stale = np.flatnonzero(self._stale[: self.limit])
        if stale.size <= FEW:
            for index in stale.tolist():
                self._replace_hash(index)
            return
        parts: list[Rows]
        if 2 * stale.size > self.limit:  # a slice is read several times faster than the same rows by index
            parts = [slice(i, min(i + HASH_CHUNK, self.limit)) for i in range(0, self.limit, HASH_CHUNK)]
        else:
            parts = [stale[i : i + HASH_CHUNK] for i in range(0, stale.size, HASH_CHUNK)]
        for rows in parts:
            self._begin_hashes(rows)
            later = self._later_words(_wide(rows), *self._steady[:, rows])
            fresh = ended_hashes(self._begun[rows], (*later, self.va[rows])) * self.valid[rows]
            self._hash_sum = (self._hash_sum + int(fresh.sum()) - int(self._hash[rows].sum())) % (1 << 64)
            self._hash[rows] = fresh
            self._stale[rows] = False

    def _begin_hashes(self, rows: Rows) -> None:
        """Of those among `rows` of which more was written than a STEP writes."""
        written = self._indices(rows)[self._unsteady[rows]].astype(np.intp)
        if not written.size:
            return
        physical, wide = self.physical(written), _wide(written)
        self._begun[written] = begun_hashes(self._indices(written), self._first_words(wide, physical))
        self._steady[:, written] = self._steady_words(wide, physical)
        self._unsteady[written] = False

    def _replace_hash(self, index: int) -> None:
        fresh = entry_hash(index, self._words_of(index)) if self.valid[index] else 0
        self._hash_sum = (self._hash_sum + fresh - int(self._hash[index])) & MASK
        self._hash[index] = fresh
        self._stale[index] = False

    @staticmethod
    def _indices(rows: Rows) -> NDArray[np.uint64]:
        if isinstance(rows, slice):
            return np.arange(rows.start, rows.stop, dtype=np.uint64)
        return rows.astype(np.uint64)


def _wide(rows: Rows) -> Callable[[NDArray[Any]], NDArray[np.uint64]]:
    """What takes these rows out of a column, as uint64."""
    return lambda column: column[rows].astype(np.uint64)
