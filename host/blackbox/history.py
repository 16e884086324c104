"""Everything that was done to a simulated device since its last reset, so that it can be done again on another model.

A checkpoint only fits the very model that made it, and a model that can record waveforms is another one. So a waveform is made
by doing everything again on such a model, which records the part that matters (retrace.py).

The history of a session is a file that only grows, history-N.jsonl, with the bytes of memory writes in history-N.bin;
the generation (generation.py) says how much of both counts, so a crash while they grow does no harm. A reset starts new
ones. The bytes that memory held before the reset are not in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..contract.commands import KINDS, Command

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


Item = Command | MemoryWrite | RegisterWrite


class History:
    """`home`: the folder of the files. `state`: what `commit` gave for the generation that counts, None for none."""

    def __init__(self, home: Path, state: dict[str, int] | None = None):
        self.home = home
        found = state or {"number": 0, "lines": 0, "bytes": 0}
        self._number, self._lines, self._bytes = found["number"], found["lines"], found["bytes"]
        self.new: list[Item] = []
        """What happened since the last commit."""

    def clear(self) -> None:
        """The device was reset."""
        self._number, self._lines, self._bytes = self._number + 1, 0, 0
        self.new.clear()

    def old(self) -> Iterator[Item]:
        """What was committed before."""
        if not self._lines:
            return
        with open(self._path("jsonl"), "rb") as lines, open(self._path("bin"), "rb") as contents:
            for line in lines.read(self._lines).splitlines():
                yield _decode(json.loads(line), contents)

    def commit(self) -> dict[str, int]:
        """Append what is new to the files and have it on the disk; what a generation must remember to find it again."""
        with _grow(self._path("jsonl"), self._lines) as lines, _grow(self._path("bin"), self._bytes) as contents:
            for item in self.new:
                lines.write(json.dumps(_encode(item, contents)).encode() + b"\n")
            for file, before in ((lines, self._lines), (contents, self._bytes)):
                file.flush()
                if file.tell() != before:
                    os.fsync(file.fileno())
            self._lines, self._bytes = lines.tell(), contents.tell()
        self.new.clear()
        return {"number": self._number, "lines": self._lines, "bytes": self._bytes}

    def sweep(self) -> None:
        """Remove the files of earlier lives."""
        for path in self.home.glob("history-*"):
            if path.stem != f"history-{self._number}":
                path.unlink()

    def _path(self, suffix: str) -> Path:
        return self.home / f"history-{self._number}.{suffix}"


def _grow(path: Path, length: int) -> BinaryIO:
    """The file, open behind its first `length` bytes; what a crash left behind them is gone."""
    file = open(path, "r+b" if path.exists() else "w+b")
    file.truncate(length)
    file.seek(length)
    return file


def _encode(item: Item, contents: BinaryIO) -> list[Any]:
    match item:
        case MemoryWrite(addr, data):
            where = contents.tell()
            contents.write(data)
            return ["MemoryWrite", addr, where, len(data)]
        case RegisterWrite():
            return ["RegisterWrite", *item]
    return [type(item).__name__, *astuple(item)]


def _decode(found: list[Any], contents: BinaryIO) -> Item:
    kind, *values = found
    if kind == "MemoryWrite":
        addr, where, size = values
        contents.seek(where)
        return MemoryWrite(addr, contents.read(size))
    return RegisterWrite(*values) if kind == "RegisterWrite" else KIND_OF[kind](*values)
