"""Where the tests find real traces, and how they make small ones.

Real traces are never part of the repository. They are looked for in the folder that KVFPGA_TRACES names, else in
shared/traces beside the checkout; tests that need one are skipped where it is not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.places import ROOT

FOLDER = Path(os.environ.get("KVFPGA_TRACES") or ROOT.parent / "shared" / "traces")


class Trace(NamedTuple):
    name: str
    stats_name: str

    @property
    def path(self) -> Path:
        return FOLDER / self.name

    def stats(self) -> dict:
        return json.loads((FOLDER / self.stats_name).read_text())


MOONCAKE = Trace("mooncake_conversation.jsonl", "stats_mooncake_conversation.json")
AGENTIC = Trace("cc_agentic_A.ranges.jsonl", "stats_cc_agentic_A.json")


def needs(trace: Trace):
    """Skip where the trace or its figures are absent."""
    there = trace.path.is_file() and (FOLDER / trace.stats_name).is_file()
    return pytest.mark.skipif(not there, reason=f"{trace.name} is not there; set KVFPGA_TRACES to its folder")


def write_trace(path: Path, requests: list[tuple[int, int, list[int]]]) -> Path:
    """A trace file of (timestamp ms, output tokens, block ids)."""
    rows = [
        {"timestamp": ms, "input_length": 512 * len(ids), "output_length": out, "hash_ids": ids}
        for ms, out, ids in requests
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
