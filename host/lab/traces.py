"""Request traces of LLM servers, in the formats that trace_formats.py tells apart.

    trace = load_trace("conversation.jsonl")
    print(trace)                              # Mooncake: 100 requests, timestamps in milliseconds
    for request in trace.requests: ...

Times become milliseconds. Where a trace's fields do not say their unit, it is asked for (`unit`), not guessed (decision D28);
times since 1970 say theirs by their size, and the first request is then at 0. They do not go back from one line to the next.
Fields that a format does not need are left alone; blank lines too.

Anything else is a `UsageError` that names file, line and remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..contract import inputs
from ..contract.errors import UsageError
from ..contract.wording import counted
from . import trace_formats
from .trace_formats import MOONCAKE, QWEN, TESTER, Bad, Foreign, Format, Names, Row, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = Path(__file__).parent / "sample" / "mixed.jsonl"
"""A small trace of the project's own; make.py beside it makes it."""

MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EPOCH = 1.2e9, 2.6e9
"""Seconds from 1970 to 2008 and to 2052: between them a first timestamp is taken for an absolute one."""

SLOW = 50
"""Whole numbers with chat ids, as far apart as this on average, are milliseconds: as seconds they would be hardly any traffic."""

PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "a zip archive", b"PAR1": "Parquet", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True)
class Request:
    """One request of a trace. `runs` are its blocks in order, consecutive ids merged."""

    timestamp_ms: float
    input_length: int
    output_length: int
    runs: tuple[Run, ...]

    @property
    def size(self) -> int:
        """How many blocks it has."""
        return sum(count for _, count in self.runs)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """The block ids in the order of the trace, int64."""
        parts = [np.arange(first, first + count, dtype=np.int64) for first, count in self.runs]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Trace:
    """The requests of a trace, and what was taken for its format. `unit`: of its own timestamps (s, ms, us, ns), `absolute`: they
    count from 1970. `block_tokens`: None where nothing says."""

    name: str
    format: str
    unit: str
    absolute: bool
    block_tokens: int | None
    title: str
    requests: list[Request] = field(repr=False)  # there may be a hundred thousand

    def __str__(self) -> str:
        since = " since 1970" if self.absolute else ""
        tokens = f", {self.block_tokens} tokens a block" if self.block_tokens else ""
        number = counted(len(self.requests), "request")
        return f"{self.title} trace: {number}, timestamps in {UNIT_NAMES[self.unit]}{since}{tokens}"


def load_trace(path: str | Path, limit: int | None = None, unit: str | None = None) -> Trace:
    """The trace in a file, at most `limit` requests of it. `unit` of its timestamps: "s", "ms", None for what the format says."""
    try:
        path = Path(path)
    except TypeError:
        raise UsageError(f"a trace is named by its path, not by {path!r}", "`parse_trace` reads any source of lines") from None
    with _refused_by_name(path):
        _check_file(path)
        return _load(inputs.text_lines(path), path.name, limit, unit)


def check_readable(path: Path) -> None:
    """UsageError where there is no file that can be read: known at once, while reading a trace can take long."""
    with _refused_by_name(path):
        _check_file(path)
        path.open().close()


def _check_file(path: Path) -> None:
    if not path.is_file() and path.stat():  # the latter says why, where there is nothing
        raise UsageError(f"cannot read the trace {path.name}: it is a folder, a pipe or a device", "give the path of a file")


@contextmanager
def _refused_by_name(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot read the trace {path.name}: {error.strerror}",
            "give the path of a trace (`kvfpga lab` takes `sample` and `generated:NAME` as well); `kvfpga replay --help` says "
            "what is in one",
        ) from None
    except UnicodeDecodeError:
        what = f"{path.name} is not text{_packed(path)}"
        raise UsageError(what, "a trace is JSON in UTF-8; unpack it, or convert it, first") from None
    except ValueError as error:  # of the path
        raise UsageError(f"{path.name!r} is no path: {error}", "give the path of a trace") from None


def read_trace(path: str | Path, limit: int | None = None, unit: str | None = None) -> Iterator[Request]:
    """The requests of a trace file alone."""
    return iter(load_trace(path, limit, unit).requests)


def parse_trace(lines: Iterable[str], name: str, limit: int | None = None, unit: str | None = None) -> Iterator[Request]:
    """The same from any source of lines; `name` stands in for the file name in errors."""
    return iter(_load(lines, name, limit, unit).requests)


def _packed(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    return next((f", but {kind}" for magic, kind in PACKED.items() if head.startswith(magic)), "")


def _load(lines: Iterable[str], name: str, limit: int | None, unit: str | None) -> Trace:
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} requests leaves nothing to do", "give a limit of 1 or more, or none")
    if unit not in (None, "s", "ms"):
        raise UsageError(f"a time unit of {unit}", "give s or ms")
    reader = _Reader(lines, name)
    rows = list(islice(reader.rows(), limit))
    if not rows:
        raise UsageError(f"{name} holds no requests", "`kvfpga replay --help` says what is in a trace")
    own, absolute = _unit(reader.format, [row.time for row in rows], unit, name)
    origin = rows[0].time if absolute else 0
    requests = [Request((row.time - origin) * MILLISECONDS[own], *row[1:]) for row in rows]
    return Trace(name, reader.format.key, own, absolute, reader.block_tokens, reader.format.title, requests)


class _Reader:
    """From lines to rows; `format` and `block_tokens` are known once the first row is."""

    def __init__(self, lines: Iterable[str], name: str):
        self.lines = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
        self.name = name
        self.names = Names()
        self.format = MOONCAKE
        self._foreign: Foreign | None = None
        self.block_tokens: int | None = None

    def rows(self) -> Iterator[Row]:
        """In order of time."""
        number, line = next(self.lines, (0, ""))
        if not line:
            return
        try:
            trace_formats.refuse_by_look(line)
            first = self._first_object(line)
            self._foreign = trace_formats.foreign(first)
            self.format = self._foreign.format if self._foreign else trace_formats.tell(first)
            self.block_tokens = self.format.block_tokens
        except Bad as bad:
            raise self._at(number, bad) from None
        objects = self._objects(number, first)
        yield from self._conversations(objects) if self.format is TESTER else self._requests(objects)

    def _first_object(self, line: str) -> dict[str, object]:
        """Of the first line, or, where it is written over many, of all of them."""
        try:
            return trace_formats.parsed(line)
        except Bad as bad:
            if not line.lstrip().startswith("{"):
                raise
            try:
                whole = trace_formats.parsed(line + "".join(line for _, line in self.lines))
            except Bad:
                raise bad from None
            if not isinstance(whole.get("requests"), list):
                raise bad from None
            return whole

    def _objects(self, number: int, first: dict[str, object]) -> Iterator[tuple[int, dict[str, object]]]:
        yield number, first
        for number, line in self.lines:
            try:
                yield number, trace_formats.parsed(line)
            except Bad as bad:
                raise self._at(number, bad) from None

    def _requests(self, objects: Iterator[tuple[int, dict[str, object]]]) -> Iterator[Row]:
        previous: int | float = 0
        for number, found in objects:
            try:
                row = trace_formats.request_row(self._rewritten(found), self.names)
                if row.time < previous:
                    raise Bad(
                        f"timestamp {row.time:g} is before the previous request's {previous:g}", "sort the trace by timestamp"
                    )
            except Bad as bad:
                raise self._at(number, bad) from None
            previous = row.time
            yield row

    def _rewritten(self, found: dict[str, object]) -> dict[str, object]:
        if self._foreign is None:
            return found
        row = self._foreign.rewrite(found)
        if row is None:
            raise Bad(f"not as {self.format.title} has it", "each line must hold an object of the same format")
        return row

    def _conversations(self, objects: Iterator[tuple[int, dict[str, object]]]) -> Iterator[Row]:
        """They have no clock in common, so all begin together."""
        found: list[Row] = []
        sizes = set()
        for scope, (number, conversation) in enumerate(objects):
            try:
                if not isinstance(conversation.get("requests"), list):
                    raise Bad("a conversation without a list of requests", "each line holds one whole kv-cache-tester object")
                found += trace_formats.conversation_rows(conversation, self.names, scope)
            except Bad as bad:
                raise self._at(number, bad) from None
            size = conversation.get("block_size")
            sizes.add(size if type(size) is int and size > 0 else None)
        self.block_tokens = sizes.pop() if len(sizes) == 1 else None
        yield from sorted(found, key=lambda row: row.time)

    def _at(self, number: int, bad: Bad) -> UsageError:
        return UsageError(f"{self.name}:{number}: {bad.what}", bad.remedy)


def _unit(form: Format, times: list[int | float], asked: str | None, name: str) -> tuple[str, bool]:
    """The unit of timestamps, and whether they count from 1970. UsageError where nothing says the unit."""
    low, high = EPOCH
    for unit in (asked,) if asked else MILLISECONDS:
        seconds = times[0] * MILLISECONDS[unit] / 1e3
        if form is not TESTER and low <= seconds <= high:
            return unit, True
    if asked:
        return asked, False
    if form is TESTER:
        return "s", False
    whole = all(isinstance(time, int) for time in times)
    if form is QWEN and not whole:
        return "s", False
    if whole and (form is not QWEN or times[-1] - times[0] >= SLOW * len(times)):
        return "ms", False
    why = "as Mooncake's they would be whole milliseconds" if form is not QWEN else "as Qwen-Bailian's they would have decimals"
    raise UsageError(
        f"{name}: timestamps from {times[0]:g} to {times[-1]:g} may be seconds or milliseconds: {why}",
        "say which: --time-unit s (GuideLLM) or --time-unit ms (Dynamo)",
    )
