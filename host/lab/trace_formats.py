"""What request traces look like: told apart by their fields, read into rows, or refused by name.

    Mooncake        a line: timestamp, input_length, output_length, and hash_ids, or hash_ranges = [[first, count], …]
                    (Dynamo and AIPerf write the same, also input_tokens, output_tokens and created_time)
    Qwen-Bailian    the same with chat_id, parent_chat_id, turn; seconds
    kv-cache-tester one object a conversation, on one line or many: requests = [{t, in, out, hash_ids}, …], in seconds from its
                    start; an entry of type "subagent" has requests of its own

A row's time is in the trace's own unit, which traces.py settles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..contract import plugins
from ..contract.inputs import strict_json

if TYPE_CHECKING:
    from typing import TypeGuard

Run = tuple[int, int]
"""(first, count): consecutive block ids."""

MAX_BLOCK_ID = (1 << 48) - 1
"""Ids up to here have a directory key and a virtual address of their own (`key_of`, `va_of` in plan.py)."""

FIRST_NAMED = 1 << 47
"""Ids below are taken as they are. What is larger or hexadecimal names a block by a hash, and is numbered from here on."""

MAX_REQUEST_BLOCKS = 1 << 20
"""More blocks than any request can mean: a mistyped range is refused instead of filling the memory."""

MAX_TIMESTAMP = 1 << 63
"""Nanoseconds since 1970 are below it."""

HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,64}")


class Format(NamedTuple):
    """`key` for programs, `title` for people. `block_tokens`: None where the format does not say."""

    key: str
    title: str
    block_tokens: int | None = None


class Foreign(NamedTuple):
    """A format that another package brings (contract/plugins.py). `rewrite` takes an object of a line and returns it with the
    fields of Mooncake (timestamp, input_length, output_length, hash_ids), or None where it is not of this format."""

    format: Format
    rewrite: Callable[[dict[str, Any]], dict[str, Any] | None]


MOONCAKE = Format("mooncake", "Mooncake")
QWEN = Format("qwen-bailian", "Qwen-Bailian", 16)
TESTER = Format("kv-cache-tester", "kv-cache-tester")


class Row(NamedTuple):
    """One request. `runs` are its blocks in order, consecutive ids merged."""

    time: int | float
    input_length: int
    output_length: int
    runs: tuple[Run, ...]


class Bad(Exception):
    """What is wrong, before its place is known."""

    def __init__(self, what: str, remedy: str):
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def parsed(text: str) -> dict[str, Any]:
    """The object that a line, or a whole file, holds."""
    try:
        found = strict_json(text)
    except ValueError as error:
        raise Bad(f"not JSON ({error})", "each line must hold one complete JSON object") from None
    if not isinstance(found, dict):
        raise Bad("not a JSON object", "each line must hold one object with timestamp, lengths and blocks")
    return found


# ---- which format ------------------------------------------------------------------------------------------------------

FOREIGN = {
    "spans": ("OpenTelemetry spans", "they name no KV blocks; export a trace with hash_ids"),
    "resourceSpans": ("OpenTelemetry spans", "they name no KV blocks; export a trace with hash_ids"),
    "conversations": ("ShareGPT conversations", "they have texts, but no times and no KV blocks"),
    "messages": ("chat messages", "they name no KV blocks; a tokenizer's hash_ids are needed"),
    "text_input": ("an AIPerf trace of texts", "it names no KV blocks; a tokenizer's hash_ids are needed"),
    "schema": ("a header, as of Dynamo's agentic traces", "their times follow from dependencies; export rows with timestamps"),
}
"""Fields of formats that are not read, by which they are known."""


def foreign(row: dict[str, Any]) -> Foreign | None:
    """The plugin that knows the trace that begins with this object, where kvfpga itself does not."""
    if {"requests", "hash_ids", "hash_ranges"} & set(row):
        return None
    return next((plugin for plugin in plugins.load_all(plugins.TRACE_FORMATS, Foreign) if plugin.rewrite(row) is not None), None)


def tell(row: dict[str, Any]) -> Format:
    """The format of the trace that begins with this object."""
    if isinstance(row.get("requests"), list):
        return TESTER
    if "hash_ids" in row or "hash_ranges" in row:
        return QWEN if "chat_id" in row else MOONCAKE
    for field, (what, remedy) in FOREIGN.items():
        if field in row:
            raise Bad(f"this is {what} (it has {field})", remedy)
    if "input_length" in row or "input_tokens" in row:
        remedy = "times and lengths alone, as GuideLLM and AIPerf take too, name no blocks; one with hash_ids is needed"
        raise Bad("neither hash_ids nor hash_ranges", remedy)
    fields = ", ".join(list(row)[:8]) or "none"
    raise Bad(f"a trace of an unknown format (fields: {fields})", "`kvfpga replay --help` says which there are")


def refuse_by_look(line: str) -> None:
    """The first line of something that is no trace at all."""
    line = line.strip()
    if line.startswith("version https://git-lfs"):
        raise Bad("a Git LFS pointer, not the trace itself", "fetch it with `git lfs pull`")
    if line.startswith("["):
        raise Bad("a JSON array", "write its objects one a line: `jq -c '.[]' FILE > FILE.jsonl`")
    if line.startswith("<"):
        raise Bad("a web page or XML, not a trace", "download the raw file")
    if not line.startswith("{") and "," in line:
        raise Bad(
            f"CSV (columns {line[:60]})",
            "such traces, as Azure's and BurstGPT's, say when and how long, but name no blocks; one with hash_ids is needed",
        )


# ---- blocks ------------------------------------------------------------------------------------------------------------


class Names:
    """Gives every block of a trace a number of its own. `scope`: ids of different scopes are different blocks."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}

    def number(self, block: int, scope: int) -> int:
        if scope == 0 and block < FIRST_NAMED:
            return block
        return self._numbers.setdefault((scope, block), FIRST_NAMED + len(self._numbers))

    def runs(self, row: dict[str, Any], scope: int = 0) -> tuple[Run, ...]:
        if ("hash_ids" in row) == ("hash_ranges" in row):
            found = "both hash_ids and hash_ranges" if "hash_ids" in row else "neither hash_ids nor hash_ranges"
            raise Bad(found, "a request names its blocks in exactly one of the two")
        if "hash_ids" in row:
            ids = _ids(row["hash_ids"])
            _require_few(len(ids))
            return merged((self.number(block, scope), 1) for block in ids)
        ranges = row["hash_ranges"]
        if not isinstance(ranges, list) or not all(map(_is_pair, ranges)):
            raise Bad("hash_ranges is not a list of [first, count]", "write it as [[0, 3], [13, 1]], counts 1 or more")
        _require_few(sum(count for _, count in ranges))
        for first, count in ranges:
            if first < 0 or first + count > FIRST_NAMED:
                raise Bad(f"block id {first} is out of range", "ids in ranges go from 0 to 2^47-1; number the blocks from 0")
        return merged((first, count) for first, count in ranges)


def _ids(found: object) -> list[int]:
    if isinstance(found, list) and all(map(_is_integer, found)):
        if wrong := [block for block in found if not 0 <= block < 1 << 64]:
            raise Bad(f"block id {wrong[0]} is out of range", "ids go from 0 to 2^64-1")
        return found
    if isinstance(found, list) and all(isinstance(block, str) and HEX.fullmatch(block) for block in found):
        return [int(block, 16) for block in found]
    raise Bad("hash_ids is not a list of whole numbers, nor of hexadecimal ones", 'write it as [0, 1, 2] or ["9f3c…", "07aa…"]')


def _require_few(count: int) -> None:
    if count > MAX_REQUEST_BLOCKS:
        raise Bad(f"more than {MAX_REQUEST_BLOCKS:,} blocks in one request", "check the counts of its ranges")


def merged(pairs: Iterable[Run]) -> tuple[Run, ...]:
    """Runs in the same order, those joined that follow each other."""
    found: list[Run] = []
    for first, count in pairs:
        if found and sum(found[-1]) == first:
            found[-1] = (found[-1][0], found[-1][1] + count)
        else:
            found.append((first, count))
    return tuple(found)


# ---- rows --------------------------------------------------------------------------------------------------------------


def request_row(row: dict[str, Any], names: Names) -> Row:
    """A line of a Mooncake or Qwen-Bailian trace."""
    if "timestamp" not in row and "created_time" not in row and ("delay" in row or "delay_ms" in row):
        raise Bad(
            "a turn of a session with a delay in place of a timestamp (AIPerf, Dynamo)",
            "when it comes depends on the server's answers; give every row a timestamp",
        )
    time = _number(row, _first(row, "timestamp", "created_time"))
    prompt, answer = (_length(row, _first(row, f"{way}_length", f"{way}_tokens")) for way in ("input", "output"))
    return Row(time, prompt, answer, names.runs(row))


def conversation_rows(conversation: dict[str, Any], names: Names, scope: int) -> list[Row]:
    """All requests of a kv-cache-tester conversation and of the agents that it starts, in order of time."""
    if conversation.get("hash_id_scope") == "global":
        scope = 0
    return sorted(_entries(conversation["requests"], names, scope, 0.0, "request"), key=lambda row: row.time)


def _entries(entries: list[Any], names: Names, scope: int, start: int | float, place: str) -> Iterator[Row]:
    for number, entry in enumerate(entries, start=1):
        here = f"{place} {number}"
        try:
            if not isinstance(entry, dict):
                raise Bad("not a JSON object", "each request is an object with t, in, out and hash_ids")
            time = start + _number(entry, "t")
            if entry.get("type") != "subagent":
                yield Row(time, _length(entry, "in"), _length(entry, "out"), names.runs(entry, scope))
                continue
            inner = entry.get("requests")
            if not isinstance(inner, list):
                raise Bad("a subagent without a list of requests", "its entry has them nested, as the conversation has")
        except Bad as bad:
            raise Bad(f"{here}: {bad.what}", bad.remedy) from None
        first = inner[0].get("t") if inner and isinstance(inner[0], dict) else None
        since_its_start = not _is_number(first) or first < time  # else it counts from the conversation's, as some exports do
        yield from _entries(inner, names, scope, time if since_its_start else start, f"{here}, request")


def _first(row: dict[str, Any], name: str, other: str) -> str:
    """The name that a field has here."""
    return other if name not in row and other in row else name


def _number(row: dict[str, Any], key: str) -> int | float:
    value = row.get(key)
    if not _is_number(value) or not 0 <= value < MAX_TIMESTAMP:  # false for NaN
        raise Bad(f"{key} is {_shown(value)}", "it must be the time of arrival, a number, 0 or more")
    return value


def _length(row: dict[str, Any], key: str) -> int:
    value = row.get(key)
    if not _is_integer(value) or value < 0:
        raise Bad(f"{key} is {_shown(value)}", "it must be a whole number of tokens, 0 or more")
    return value


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_integer, value)) and value[1] >= 1


def _shown(value: object) -> str:
    return "missing" if value is None else json.dumps(value)[:40]
