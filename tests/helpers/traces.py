"""Traces for the tests: the small ones of tests/data, and how to make smaller ones."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.places import DATA

CHATS, AGENTS = DATA / "chats.jsonl", DATA / "agents.ranges.jsonl"
"""With hash_ids and with hash_ranges; tests/data/make_traces.py makes both."""


def rows(path: Path) -> list[dict]:
    """The lines of a trace as they are."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(row: dict) -> list[int]:
    """The block ids of one line, one by one."""
    if "hash_ids" in row:
        return row["hash_ids"]
    return [first + n for first, count in row["hash_ranges"] for n in range(count)]


def write_trace(path: Path, requests: list[tuple[int, int, list[int]]]) -> Path:
    """A trace file of (timestamp ms, output tokens, block ids)."""
    rows = [
        {"timestamp": ms, "input_length": 512 * len(ids), "output_length": out, "hash_ids": ids}
        for ms, out, ids in requests
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
