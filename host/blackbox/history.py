"""Everything that was done to a simulated device since its last reset, so that it can be done again on another model.

A checkpoint only fits the very model that made it, and a model that can record waveforms is another one. So a waveform is made
by doing everything again on such a model, which records the part that matters (retrace.py).

The history of a session is a file that only grows, history-N.jsonl, with the bytes of memory, tables and queries in
history-N.bin; the generation (generation.py) says how much of both counts, so a crash while they grow does no harm, and
their CRCs, which grow with them. A reset starts new ones. The bytes that memory held before the reset are not in it.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from ..contract.commands import KINDS, Command
from ..contract.parameters import BUCKETS
from .pages import cut, highest, opened, remove

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND_OF = {kind.__name__: kind for kind in KINDS}
"""Kinds of commands by the name that a history gives them."""


class MemoryWrite(NamedTuple):
    addr: int
    data: bytes


class RegisterWrite(NamedTuple):
    """A 32-bit word, or both words of a 64-bit register, written without a command."""

    offset: int
    value: int
    width: int


class TableWrite(NamedTuple):
    """All codes of the idle bank of PTABLE (R45)."""

    codes: bytes

    @property
    def table(self) -> NDArray[np.uint8]:
        """uint8[classes, 64]: the same as `write_table` takes them."""
        return np.frombuffer(self.codes, np.uint8).reshape(-1, BUCKETS)


class QueryWrite(NamedTuple):
    """`amount` queries in slots from `slot` on (R30), as bits. `kept`: they were there when the device was reset, which left them
    as they are, so they are written before a reset."""

    slot: int
    amount: int
    bits: bytes
    kept: bool = False

    @classmethod
    def of(cls, slot: int, bits: NDArray[np.uint16], kept: bool = False) -> QueryWrite:
        """From uint16[amount, HEAD_DIM]."""
        return cls(slot, len(bits), bits.tobytes(), kept)

    @property
    def queries(self) -> NDArray[np.uint16]:
        """uint16[amount, HEAD_DIM]: the same as `write_queries` takes them."""
        return np.frombuffer(self.bits, np.uint16).reshape(self.amount, -1)


Written = MemoryWrite | RegisterWrite | TableWrite | QueryWrite
"""What is done besides commands."""
Item = Command | Written


class Extent(NamedTuple):
    """How much of a file counts, and its CRC."""

    size: int = 0
    crc: int = 0

    def check(self, path: Path) -> None:
        """OSError or ValueError where the file is not what was written."""
        if not self.size:
            return
        found, left = 0, self.size
        with opened(path) as handle:
            while data := os.read(handle, min(left, 1 << 20)):
                found, left = zlib.crc32(data, found), left - len(data)
        if left or found != self.crc:
            raise ValueError(f"{path.name} is not what was stored there")


NOTHING = {"lines": Extent(), "bytes": Extent()}


class History:
    """`home`: the folder of the files. `state`: what `commit` gave for the generation that counts, None for none. `whole`: does
    it go back to a reset? Else nothing can be done again from it."""

    def __init__(self, home: Path, state: dict[str, Any] | None = None):
        self.home = home
        found = state or nothing(home)
        self._number: int = found["number"]
        self._extents = {name: Extent(*found[name]) for name in NOTHING}
        self.whole: bool = found["whole"]
        self.new: list[Item] = []
        """What happened since the last commit."""
        self._before: tuple[dict[str, Extent], list[Item]] | None = None

    def clear(self, whole: bool = True) -> None:
        """The device was reset, or (not `whole`) its state taken over from somewhere."""
        self._number, self._extents, self.whole = self._number + 1, NOTHING, whole
        self.new, self._before = [], None

    def old(self) -> Iterator[Item]:
        """What was committed before."""
        if not self._extents["lines"].size:
            return
        contents = open(self._path("bin"), "rb") if self._extents["bytes"].size else io.BytesIO()
        with open(self._path("jsonl"), "rb") as lines, contents:
            for line in lines.read(self._extents["lines"].size).splitlines():
                yield _decode(json.loads(line), contents)

    def check(self) -> None:
        """OSError or ValueError where the files are not what was committed."""
        self._extents["lines"].check(self._path("jsonl"))
        self._extents["bytes"].check(self._path("bin"))

    def commit(self) -> dict[str, Any]:
        """Append what is new to the files and have it on the disk; what a generation must remember to find it again."""
        self._before = (self._extents, self.new)
        contents = _Growing(self._path("bin"), self._extents["bytes"])
        lines = _Growing(self._path("jsonl"), self._extents["lines"])
        with contents, lines:
            for item in self.new:
                lines.write(json.dumps(_encode(item, contents)).encode() + b"\n")
        self._extents, self.new = {"lines": lines.extent, "bytes": contents.extent}, []
        return {"number": self._number, **self._extents, "whole": self.whole}

    def take_back(self) -> None:
        """Undo `commit`, also one that failed: what it wrote would only take up room."""
        if self._before is None:
            return
        self._extents, self.new = self._before
        if self._extents["lines"].size:
            self._cut()
        else:
            remove(self._path("jsonl"))
            remove(self._path("bin"))

    def sweep(self) -> None:
        """Remove the files of earlier lives, and what lies behind this one."""
        for path in self.home.glob("history-*"):
            if path.stem != f"history-{self._number}":
                remove(path)
        self._cut()

    def _cut(self) -> None:
        for name, suffix in (("lines", "jsonl"), ("bytes", "bin")):
            with suppress(FileNotFoundError):
                cut(self._path(suffix), self._extents[name].size)

    def _path(self, suffix: str) -> Path:
        return self.home / f"history-{self._number}.{suffix}"


def nothing(home: Path, whole: bool = True) -> dict[str, Any]:
    """The state of a history with nothing in it, in files that are not there yet."""
    return {"number": highest(home, "history", -1) + 1, **NOTHING, "whole": whole}


class _Growing:
    """A file that is written to behind what counts of it; what a crash left there is gone. On leaving, it is on the disk.
    `extent`: what counts of it now."""

    def __init__(self, path: Path, extent: Extent):
        self.extent, self._before = extent, extent
        self._file = open(path, "r+b" if extent.size else "w+b")
        self._file.truncate(extent.size)
        self._file.seek(extent.size)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.extent = Extent(self.extent.size + len(data), zlib.crc32(data, self.extent.crc))

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            self._file.flush()
            if not kind and self.extent != self._before:
                os.fsync(self._file.fileno())


def _encode(item: Item, contents: _Growing) -> list[Any]:
    match item:
        case MemoryWrite(addr, data):
            where = contents.extent.size
            contents.write(data)
            return ["MemoryWrite", addr, where, len(data)]
        case TableWrite(codes):
            where = contents.extent.size
            contents.write(codes)
            return ["TableWrite", where, len(codes)]
        case QueryWrite(slot, amount, bits, kept):
            where = contents.extent.size
            contents.write(bits)
            return ["QueryWrite", slot, amount, kept, where, len(bits)]
        case RegisterWrite():
            return ["RegisterWrite", *item]
    return [type(item).__name__, *astuple(item)]


def _decode(found: list[Any], contents: BinaryIO) -> Item:
    kind, *values = found
    if kind == "RegisterWrite":
        return RegisterWrite(*values)
    if kind in KIND_OF:
        return KIND_OF[kind](*values)
    *facts, where, size = values
    contents.seek(where)
    data = contents.read(size)
    match kind:
        case "MemoryWrite":
            return MemoryWrite(facts[0], data)
        case "TableWrite":
            return TableWrite(data)
    slot, amount, kept = facts
    return QueryWrite(slot, amount, data, kept)
