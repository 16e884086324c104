"""What `kvfpga top` shows: a device looked at again and again, and what changed in between (view.py draws it).

`Watch.look` opens the session, reads, and lets go of it, so that other commands run in between, on a simulation and on a board
alike; it only looks. Where another command has the session, there is nothing new to see: the state counts when that command has
stored it.

Telemetry and settings are read at each look. The directory has up to 65,536 entries of 40 bytes, which over a serial port take
seconds: `Scan` reads on from where the last look stopped, for a given time, and starts over where its round ended. What a
look shows of the directory may thus be as old as one round; `Blocks` says how much was read. Behind the last valid entry
nothing is read (LOAD takes the lowest free index), and nothing at all where nothing has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..blackbox.generation import CURRENT
from ..contract.errors import SessionBusy
from ..contract.settings import RANKED
from ..device.entries import decode_entries, dump_entries
from ..device.regmap import TELEMETRY
from ..lockstep.lockstep import Lockstep
from ..session.open import open_session
from ..session.purpose import Purpose
from ..targets.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..lockstep.reference import Reference

PIECE = 256
"""Entries read at once: 10 KiB."""
BLOCKS_SHOWN = 5
"""Hottest blocks, and coldest ones."""
HITS = ("hits_t0", "hits_t1", "hits_t2", "hits_t3", "misses")
HINTS = ("hot_count", "evict_count", "prefetch_count", "share_count")
ERRORS = ("dma_errors", "results_lost", "completions_lost")
"""Counters that stay at zero on a sound device."""
STATES = (
    "current_step", "last_va", "last_len", "last_target_step", "t1_used", "valid_entries", "last_command_cycles",
    "step_to_trigger_cycles", "theta", "pool", "outside",
)  # fmt: skip
"""What telemetry shows besides counters: how things are, or were last."""
COUNTERS = tuple(name for name in TELEMETRY if name not in STATES)
"""The part of the telemetry that only grows, until it is cleared."""


class Blocks(NamedTuple):
    """The directory as far as it is known. `tiers`: valid blocks in each. `hottest`, `coldest`: entries as `dump` has them, by
    priority. `read`: entries read in this look. `complete`: has a whole round been read at all?"""

    tiers: tuple[int, ...]
    hottest: tuple[dict[str, Any], ...]
    coldest: tuple[dict[str, Any], ...]
    read: int
    complete: bool


@dataclass(frozen=True)
class Snapshot:
    """One look. `time`: seconds of a monotonic clock. `clock_cycles`: of the device's clock; None on boards. `rows`: what is
    known of the valid entries, each field as an array in index order. `table`: uint8[classes, 64], the codes in force with the
    ranked policy; they are the reference's, for the device only shows its idle bank (R45)."""

    time: float
    target: str
    entries: int
    block_bytes: int
    telemetry: dict[str, int]
    settings: dict[str, int]
    clock_cycles: int | None
    blocks: Blocks
    rows: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    table: NDArray[np.uint8] | None = None

    @property
    def tiers(self) -> tuple[int, int, int, int]:
        """Blocks in each tier: T1 as it is, the others as the directory was last read."""
        counted = self.blocks.tiers
        return counted[0], self.telemetry["t1_used"], counted[2], counted[3]

    @property
    def in_flight(self) -> int:
        """Blocks that were set in motion and have not arrived."""
        t = self.telemetry
        return sum(t[f"{channel}_triggers"] - t[f"{channel}_completions"] for channel in ("evict", "prefetch"))


@dataclass(frozen=True)
class Change:
    """What happened between two looks. `counters`: by how much each of COUNTERS grew; `cycles`: the device's clock, or None."""

    seconds: float
    counters: dict[str, int]
    cycles: int | None

    def per_second(self, name: str) -> float:
        return self.counters[name] / self.seconds if self.seconds > 0 else 0.0


def change(before: Snapshot | None, now: Snapshot) -> Change | None:
    """None where there is nothing before. Where a counter or the step fell, the device was reset or its counters were cleared,
    and what they count since then is what grew."""
    if before is None:
        return None
    grown = {name: now.telemetry[name] - before.telemetry[name] for name in COUNTERS}
    if min(grown.values()) < 0 or now.telemetry["current_step"] < before.telemetry["current_step"]:
        grown = {name: now.telemetry[name] for name in COUNTERS}
    cycles = None
    if now.clock_cycles is not None and before.clock_cycles is not None:
        cycles = now.clock_cycles - before.clock_cycles
    return Change(now.time - before.time, grown, None if cycles is not None and cycles < 0 else cycles)


def hit_rates(counters: dict[str, int]) -> dict[str, float] | None:
    """The share of all lookups that each of HITS has; None where there were no lookups."""
    total = sum(counters[name] for name in HITS)
    return {name: counters[name] / total for name in HITS} if total else None


def busy_share(busy_cycles: int, cycles: int | None) -> float | None:
    """Of the clock cycles, those in which a command ran or a block moved; None where nobody can tell."""
    return min(1.0, busy_cycles / cycles) if cycles else None


class Scan:
    """The directory, read piece by piece over several looks; what was read before stays as it was then. `complete`: a whole round
    was read. `current`: and nothing has changed since that round began."""

    def __init__(self, entries: int):
        self._raw, self._vas = np.zeros((entries, 8), np.uint32), np.zeros(entries, np.uint64)
        self._next = self._found = 0
        self._spoilt = self.complete = self.current = False

    def changed(self) -> None:
        """The device is no longer as it was at the last look."""
        self._spoilt, self.current = self._next > 0, False

    def read(self, device: Lockstep | Reference, seconds: float, clock: Callable[[], float] = time.monotonic) -> int:
        """Read on until the round ends or `seconds` are over, one piece at least. The number of entries read."""
        valid, end, read = device.telemetry()["valid_entries"], clock() + seconds, 0
        while self._found < valid and self._next < len(self._vas) and (not read or clock() < end):
            piece = slice(self._next, min(self._next + PIECE, len(self._vas)))
            self._raw[piece], self._vas[piece] = device.read_entries(piece.start, piece.stop)
            self._found += int(decode_entries(self._raw[piece])["valid"].sum())
            self._next = piece.stop
            read += piece.stop - piece.start
        if self._found >= valid or self._next >= len(self._vas):
            self._raw[self._next :] = 0
            self.complete, self.current = True, not self._spoilt
            self._next = self._found = 0
            self._spoilt = False
        return read

    def rows(self) -> dict[str, NDArray[np.uint64]]:
        """What is known of the valid entries: "index", "va" and each field of BAR2, an array each, in index order."""
        fields = decode_entries(self._raw)
        valid = np.flatnonzero(fields["valid"])
        found = {name: column[valid] for name, column in fields.items()}
        return found | {"index": valid.astype(np.uint64), "va": self._vas[valid]}

    def blocks(self, read: int, rows: Mapping[str, NDArray[np.uint64]] | None = None) -> Blocks:
        """`rows`: what `rows()` returned, where the caller has it already."""
        fields = self.rows() if rows is None else rows
        coldest = fields["index"][np.argsort(fields["priority"], kind="stable")]
        hottest = fields["index"][np.argsort(-fields["priority"].astype(np.int64), kind="stable")]
        tiers = tuple(np.bincount(fields["tier"].astype(np.intp), minlength=4).tolist())
        return Blocks(
            tiers, self._entries(hottest[:BLOCKS_SHOWN]), self._entries(coldest[:BLOCKS_SHOWN]), read, self.complete
        )

    def _entries(self, rows: NDArray[np.uint64]) -> tuple[dict[str, Any], ...]:
        return tuple(dump_entries(self._raw[i : i + 1], self._vas[i : i + 1], i)[0] for i in rows.tolist())


class Watch:
    """Looks at the session of `target` in `folder`. `say` gets the notes of the session, one line each."""

    def __init__(self, target: Target, folder: Path | None, check: bool = True, say: Callable[[str], None] = lambda text: None):
        self._target, self._folder, self._check, self._say = target, folder, check, say
        self._last: Snapshot | None = None
        self._scan: Scan | None = None
        self._state: tuple[int, int] | None = None

    def look(self, seconds: float, wait: float | None = None) -> Snapshot | None:
        """The device as it is now, reading its directory for `seconds` (math.inf: all of it). None where another command has
        used the session for `wait` seconds; `wait` None is the usual patience, and SessionBusy after it."""
        session = open_session(self._target, self._folder, self._say)
        if wait is not None:
            session.lock_timeout, session.say = wait, lambda text: None
        try:
            session.__enter__()
        except SessionBusy:
            if wait is None:
                raise
            return None
        try:
            session.say = self._say
            # a simulation's state only changes when a command stores it, so the same generation is the same state
            state = None if self._target.is_board else _generation(session.home)
            same = state is not None and state == self._state
            if same and self._last and self._scan and self._scan.current:
                self._last = replace(self._last, time=time.monotonic(), blocks=self._last.blocks._replace(read=0))
                return self._last
            device = session.open(self._check, Purpose.LOOK)
            if session.is_new and not self._target.is_board:
                session.save()  # as every command that meets a new session
                state = _generation(session.home)
            self._last, self._state = self._snapshot(device, seconds, same), state
            return self._last
        finally:
            session.__exit__()

    def _snapshot(self, device: Lockstep | Reference, seconds: float, same: bool) -> Snapshot:
        telemetry, now, last, scan = device.telemetry(), time.monotonic(), self._last, self._scan
        cycles = device.device.mmio.clock_cycles if isinstance(device, Lockstep) else None  # reading on lets the clock run
        if scan is None or last is None or last.entries != device.entries:
            scan = self._scan = Scan(device.entries)
            last = None
        if not same and not (self._target.is_board and last and telemetry == last.telemetry):  # busy_cycles counts any work
            scan.changed()
        if last and scan.current:
            blocks, rows = last.blocks._replace(read=0), last.rows
        else:
            read = scan.read(device, seconds)
            rows = scan.rows()
            blocks = scan.blocks(read, rows)
        settings = device.settings()
        table = device.model.table.copy() if settings["POLICY"] == RANKED else None
        return Snapshot(
            now, self._target.text, device.entries, device.block_bytes, telemetry, settings, cycles, blocks, rows, table
        )


def _generation(home: Path) -> tuple[int, int] | None:
    """What changes with each state that a session stores; None where it has none."""
    try:
        found = (home / CURRENT).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
