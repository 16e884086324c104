"""Request traces of LLM servers, one JSON object a line, read as a stream.

Two formats, as in the traces that the project works with (Mooncake, and the agentic sessions with ranges):

    {"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2, 13]}
    {"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ranges": [[0, 3], [13, 1]]}

`timestamp` is the arrival in milliseconds, and does not go back from one line to the next. The lengths are in tokens.
`hash_ids` names the KV blocks of the prompt in order: equal ids are equal prefixes, and can share one block.
`hash_ranges` says the same as pairs [first, count]. Other fields (session, turn…) are left alone; blank lines too.

Anything else is a `UsageError` that names file, line and remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.errors import UsageError
from ..contract.inputs import strict_json

if TYPE_CHECKING:
    from typing import TypeGuard

    from numpy.typing import NDArray

MAX_BLOCK_ID = (1 << 48) - 1
"""Ids up to here have a directory key and a virtual address of their own (`key_of`, `va_of` in plan.py)."""

MAX_REQUEST_BLOCKS = 1 << 20
"""More blocks than any request can mean: a mistyped range is refused instead of filling the memory."""

MAX_TIMESTAMP_MS = 1 << 53
"""The last millisecond that a double holds exactly."""

Run = tuple[int, int]
"""(first, count): consecutive block ids."""


@dataclass(frozen=True)
class Request:
    """One line of a trace. `runs` are its blocks in order, consecutive ids merged."""

    timestamp_ms: float
    input_length: int
    output_length: int
    runs: tuple[Run, ...]

    @property
    def blocks(self) -> NDArray[np.int64]:
        """The block ids in the order of the trace, int64."""
        parts = [np.arange(first, first + count, dtype=np.int64) for first, count in self.runs]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def read_trace(path: str | Path, limit: int | None = None) -> Iterator[Request]:
    """The requests of a trace file, at most `limit` of them, one at a time. Nothing behind the limit is looked at."""
    try:
        path = Path(path)
    except TypeError:
        raise UsageError(f"a trace is named by its path, not by {path!r}", "`parse_trace` reads any source of lines") from None
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from parse_trace(lines, path.name, limit)
    except OSError as error:
        raise UsageError(
            f"cannot read the trace {path.name}: {error.strerror}",
            "give the path of a .jsonl file; `kvfpga replay --help` says what is in one",
        ) from None
    except ValueError:  # of the characters, or of the path
        raise UsageError(
            f"{path.name} is not text", "a trace is JSON lines in UTF-8; unpack it first if it is compressed"
        ) from None


def parse_trace(lines: Iterable[str], name: str, limit: int | None = None) -> Iterator[Request]:
    """The same from any source of lines; `name` stands in for the file name in errors."""
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} requests leaves nothing to do", "give a limit of 1 or more, or none")
    found = 0
    previous_ms = 0.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            request = _parse(line)
            if request.timestamp_ms < previous_ms:
                raise _Bad(
                    f"timestamp {request.timestamp_ms:g} is before the previous request's {previous_ms:g}",
                    "sort the trace by timestamp",
                )
        except _Bad as bad:
            raise UsageError(f"{name}:{number}: {bad.what}", bad.remedy) from None
        previous_ms = request.timestamp_ms
        yield request
        found += 1
        if found == limit:
            return
    if not found:
        raise UsageError(f"{name} holds no requests", "a request trace has one JSON object a line; see `kvfpga replay --help`")


class _Bad(Exception):
    """What is wrong with one line, before its place is known."""

    def __init__(self, what: str, remedy: str):
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def _parse(line: str) -> Request:
    try:
        row = strict_json(line)
    except ValueError as error:
        raise _Bad(f"not JSON ({error})", "each line must hold one complete JSON object") from None
    if not isinstance(row, dict):
        raise _Bad("not a JSON object", "each line must hold one object with timestamp, lengths and blocks")
    return Request(_timestamp(row), _length(row, "input_length"), _length(row, "output_length"), _runs(row))


def _timestamp(row: dict[str, Any]) -> float:
    value = row.get("timestamp")
    if not _is_number(value) or not 0 <= value <= MAX_TIMESTAMP_MS:  # false for NaN
        raise _Bad(f"timestamp is {_shown(value)}", "it must be the arrival in milliseconds, 0 or more")
    return float(value)


def _length(row: dict[str, Any], key: str) -> int:
    value = row.get(key)
    if not _is_integer(value) or value < 0:
        raise _Bad(f"{key} is {_shown(value)}", "it must be a whole number of tokens, 0 or more")
    return value


def _runs(row: dict[str, Any]) -> tuple[Run, ...]:
    if ("hash_ids" in row) == ("hash_ranges" in row):
        found = "both hash_ids and hash_ranges" if "hash_ids" in row else "neither hash_ids nor hash_ranges"
        raise _Bad(found, "a request names its blocks in exactly one of the two")
    if "hash_ids" in row:
        ids = row["hash_ids"]
        if not isinstance(ids, list) or not all(map(_is_integer, ids)):
            raise _Bad("hash_ids is not a list of whole numbers", "write it as [0, 1, 2]")
        pairs: list[Run] = [(block, 1) for block in ids]
    else:
        pairs = row["hash_ranges"]
        if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
            raise _Bad("hash_ranges is not a list of [first, count]", "write it as [[0, 3], [13, 1]], counts 1 or more")
    if sum(count for _, count in pairs) > MAX_REQUEST_BLOCKS:
        raise _Bad(f"more than {MAX_REQUEST_BLOCKS:,} blocks in one request", "check the counts of its ranges")
    for first, count in pairs:
        if first < 0 or first + count - 1 > MAX_BLOCK_ID:
            raise _Bad(f"block id {first} is out of range", "ids go from 0 to 2^48-1; number the blocks from 0")
    return _merged(pairs)


def _merged(pairs: Iterable[Run]) -> tuple[Run, ...]:
    merged: list[Run] = []
    for first, count in pairs:
        if merged and sum(merged[-1]) == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + count)
        else:
            merged.append((first, count))
    return tuple(merged)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_integer, value)) and value[1] >= 1


def _shown(value: object) -> str:
    return "missing" if value is None else json.dumps(value)[:40]
