"""The state of the reference model: settings, counters, the directory and the bytes of the tiers, and how it is shown, stored
and taken over. What commands do to it, hepc_ref.py says; it has no rules of its own.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import QUERY_SLOTS
from ..contract.entry import DUMP_FIELDS
from ..contract.errors import SessionError, UsageError
from ..contract.parameters import BUCKETS, LIMITS, Parameters
from ..contract.settings import TIER_BASES, reset_values
from .block_memory import BlockMemory
from .directory import Directory

if TYPE_CHECKING:
    import os
    from typing import Any, BinaryIO

    from numpy.typing import NDArray

COUNTERS = (
    "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va", "last_len",
    "last_target_step", "evict_triggers", "prefetch_triggers", "evict_completions", "prefetch_completions",
    "evict_bytes", "prefetch_bytes", "guards", "denials", "saturations", "release_refusals",
    "hits_t0", "hits_t1", "hits_t2", "hits_t3", "misses", "theta", "pool", "outside", "ranked_steps",
    "query_bytes", "result_bytes", "key_bytes", "blocks_scored",
)  # fmt: skip
"""What CLEAR_COUNTERS clears (D4)."""

FILE_FORMAT = 4
PAGE = 4096
"""Of a file: what a session stores or leaves alone (blackbox/pages.py)."""


class State:
    """`entries`: a power of two, 256..65536; a block has 2 * block_tokens * head_dim FP16 values. `classes`: what PTABLE has room
    for, a power of two, 16..256 (R45). `nmce`: was the compute engine built (R36)? None: where these sizes have room for it.

    `in_force`: every setting by its name in `commands.Set`. `counters`: those of COUNTERS by name. `step`: t of the contract.
    `t1_used`: blocks in tier 1. `directory`, `memory`: the entries, and the bytes of all tiers. `tables`: uint8[2, classes, 64],
    the banks of PTABLE by their numbers. `queries`: uint16[64, head_dim], the bits of the query buffer, without NMCE of no slot.
    """

    def __init__(
        self, entries: int = 65536, block_tokens: int = 32, head_dim: int = 128, classes: int = 256, nmce: bool | None = None
    ):
        narrow = LIMITS["data_bits"][0]  # a model has no bus to the memory, so none is too wide
        size = Parameters(entries, 1, narrow, block_tokens, head_dim, classes, nmce)
        self.nmce = bool(size.nmce)
        self.entries, self.block_tokens, self.block_bytes = entries, block_tokens, size.block_bytes
        self.head_dim = head_dim
        self.classes = classes
        self._parameters = (FILE_FORMAT, entries, block_tokens, head_dim, classes, self.nmce)
        self.memory = BlockMemory(self.block_bytes)
        self.tier_base = np.zeros(4, np.uint64)
        self.directory = Directory(entries, self.block_bytes, self.tier_base)
        self.queries = np.zeros((QUERY_SLOTS if self.nmce else 0, head_dim), np.dtype("<u2"))
        self.reset()

    def reset(self) -> None:
        """Settings to their reset values (R6), directory and counters empty, step 0, PTABLE zero (R45). The memory and the query
        buffer keep their bytes (D20, R30)."""
        self.in_force = reset_values(self.entries, self.block_bytes)
        self.place_tiers()
        self.directory.clear()
        self.tables = np.zeros((2, self.classes, BUCKETS), np.uint8)
        self.step = 0
        self.t1_used = 0
        self.clear_counters()

    def clear_counters(self) -> None:
        """All of COUNTERS to 0 (D4)."""
        self.counters = dict.fromkeys(COUNTERS, 0)

    def place_tiers(self) -> None:
        """Let the directory know where the tiers lie, after a change of TIER_BASE."""
        self.tier_base[:] = [self.in_force[name] for name in TIER_BASES]

    # ---- showing ---------------------------------------------------------------------------------------------------
    def telemetry(self) -> dict[str, int]:
        """The counters that do not depend on time (R23, D4)."""
        return {
            "current_step": self.step, **self.counters,
            "t1_used": self.t1_used, "valid_entries": self.directory.count,
        }  # fmt: skip

    def settings(self) -> dict[str, int]:
        """Every setting in force by its name in `commands.Set`."""
        return dict(self.in_force)

    @property
    def table(self) -> NDArray[np.uint8]:
        """uint8[classes, 64]: the bank of PTABLE in force (R45)."""
        found: NDArray[np.uint8] = self.tables[self.in_force["PTABLE_COMMIT"]]
        return found

    @property
    def idle_table(self) -> NDArray[np.uint8]:
        """The other bank, which the window shows and PTABLE_COMMIT puts in force."""
        found: NDArray[np.uint8] = self.tables[1 - self.in_force["PTABLE_COMMIT"]]
        return found

    def read_table(self) -> NDArray[np.uint8]:
        """uint8[classes, 64]: what the window of PTABLE shows, which is the idle bank (R45)."""
        return self.idle_table.copy()

    def write_table(self, codes: NDArray[np.uint8]) -> None:
        """Write uint8[classes, 64] there."""
        self.idle_table[:] = codes

    def read_table_word(self, place: int) -> int:
        """The word of the window with that number, four codes, low byte first."""
        return int(self.idle_table.view("<u4").ravel()[place])

    def write_table_word(self, place: int, value: int) -> None:
        self.idle_table.view("<u4").ravel()[place] = value

    def write_query(self, slot: int, bits: NDArray[np.uint16]) -> None:
        """Write the bits of FP16 values, uint16[head_dim], into a slot of the query buffer (R30), and count them (R33)."""
        self.queries[slot] = bits
        self.counters["query_bytes"] += bits.nbytes

    def read_query_word(self, place: int) -> int:
        """The word of the window QUERY with that number: two values, the lower one first."""
        return int(self.queries.view("<u4").ravel()[place])

    def write_query_word(self, place: int, value: int) -> None:
        self.queries.view("<u4").ravel()[place] = value
        self.counters["query_bytes"] += 4

    def scores_read(self, size: int) -> None:
        """Count that the host has read `size` bytes of the window SCORES (R33). Which of them it reads is its own affair: the
        model hands over results whole."""
        self.counters["result_bytes"] += size

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        """The hash over the valid entries in [lo, hi) (R24)."""
        hi = self.entries if hi is None else hi
        if not 0 <= lo <= hi <= self.entries:
            raise UsageError(f"digest of [{lo}, {hi}): not a range of entries 0..{self.entries}")
        return self.directory.digest(lo, hi)

    def entry(self, index: int) -> dict[str, int]:
        """All fields of one entry (contract section 3) and va, as integers; all 0 when it is not valid."""
        fields = self.directory.fields(slice(index, index + 1))
        return {name: int(column[0]) for name, column in fields.items()}

    def entries_array(self) -> dict[str, NDArray[Any]]:
        """The same for all entries: one array[entries] per field."""
        return self.directory.fields(slice(0, self.entries))

    def read_entries(self, lo: int, hi: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """(uint32[hi-lo, 8], uint64[hi-lo]): entries and vas as BAR2 shows them."""
        return self.directory.raw(lo, hi)

    def dump(self) -> list[dict[str, Any]]:
        """The valid entries in index order, as contract section 8 prints them."""
        rows = np.flatnonzero(self.directory.valid[: self.directory.limit])
        fields = self.directory.fields(rows)
        columns = [rows.tolist()] + [fields[name].tolist() for name in DUMP_FIELDS]
        return [dict(zip(("index", *DUMP_FIELDS), values)) for values in zip(*columns)]

    def memory_read(self, addr: int, size: int) -> bytes:
        return self.memory.read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        self.memory.write(addr, data)

    def overlapping(self, addr: int, length: int) -> NDArray[np.uint64]:
        """va of each block that the range [addr, addr+length) matches, in index order."""
        return self.directory.va[self.directory.in_range(addr, length)]

    def free_indices(self, count: int) -> list[int]:
        """The lowest `count` entries that are not valid (fewer where there are no more): where LOADs will land (R11)."""
        return self.directory.free(count)

    def block_content(self, tier: int, index: int) -> bytes:
        """The BLOCK_BYTES of the slot of entry `index` in `tier`, whether or not a block lives there."""
        return self.memory.read(self.slot_address(tier, index), self.block_bytes)

    def slot_address(self, tier: int, index: int) -> int:
        """Where that slot is (contract section 2)."""
        return (self.in_force[TIER_BASES[tier]] + index * self.block_bytes) % (1 << 64)

    # ---- state outside the process ---------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to `path`: a page of JSON, then arrays. Each array begins at a page of its own, and entries stay where
        they are when more are loaded, so that two files differ only where the models do. The time follows the highest used index.
        """
        entries, vas = self.directory.raw(0, self.directory.limit)
        arrays: dict[str, NDArray[Any]] = {
            "tables": self.tables, "queries": self.queries, "entries": entries, "vas": vas, **self.memory.state()
        }  # fmt: skip
        room = {"entries": 32 * self.entries, "vas": 8 * self.entries}
        places: dict[str, tuple[str, list[int], int]] = {}
        at = PAGE
        for name, array in arrays.items():
            places[name] = array.dtype.str, list(array.shape), at
            at += -(-max(room.get(name, 0), array.nbytes) // PAGE) * PAGE
        header = {"parameters": self._parameters, "settings": self.in_force, "telemetry": self.telemetry(), "arrays": places}
        with open(path, "wb") as file:
            file.write(json.dumps(header).encode().ljust(PAGE))
            for name, array in arrays.items():
                if array.size:
                    file.seek(places[name][2])
                    file.write(array.data)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace this model's state by a saved one, made by a model with the same parameters."""
        try:
            with open(path, "rb") as file:
                header = json.loads(_exactly(file.read(PAGE), PAGE))
                parameters = tuple(header["parameters"])
                if parameters != self._parameters:
                    raise SessionError(
                        f"{path} was made with (format, entries, block_tokens, head_dim, classes, nmce) = {parameters}, "
                        f"not {self._parameters}",
                        "give the options the session was started with, or remove the session's folder",
                    )
                arrays = {name: _read_array(file, *place) for name, place in header["arrays"].items()}
            self.adopt(
                arrays["entries"], arrays["vas"], header["settings"], header["telemetry"], arrays["tables"], arrays["queries"]
            )  # fmt: skip
            self.memory.set_state(arrays)
        except (OSError, EOFError, KeyError, ValueError, TypeError) as error:
            raise SessionError(f"{path} is not a saved model: {error}", "remove the session's folder") from error

    def adopt(
        self, entries: NDArray[np.uint32], vas: NDArray[np.uint64], settings: dict[str, int], telemetry: dict[str, int],
        tables: NDArray[np.uint8], queries: NDArray[np.uint16] | None = None,
    ) -> None:  # fmt: skip
        """Take a state from outside as the truth (`sync`): `entries` and `vas` as `read_entries` gives them, for
        indices 0..n-1 (the others become invalid), read while idle. Memory bytes stay as they are, and so do queries
        where they are None. Keys that the model does not know are left alone; valid_entries is counted, not believed."""
        self.in_force = {name: int(settings[name]) for name in self.in_force}
        self.place_tiers()
        self.directory.set_raw(entries, vas)
        self.tables[:] = tables
        if queries is not None:
            self.queries[:] = queries
        self.counters = {name: int(telemetry[name]) for name in COUNTERS}
        self.step = int(telemetry["current_step"])
        self.t1_used = int(telemetry["t1_used"])


def _read_array(file: BinaryIO, kind: str, shape: list[int], at: int) -> NDArray[Any]:
    dtype = np.dtype(kind)
    size = dtype.itemsize * math.prod(shape)
    file.seek(at)
    return np.frombuffer(_exactly(file.read(size), size), dtype).reshape(shape)


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise EOFError(f"it ends after {len(data)} of {size} bytes")
    return data
