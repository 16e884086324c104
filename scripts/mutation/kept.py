"""What was found out about each mutation, kept in a work folder: a run that was interrupted goes on where it was.

A result is kept for the edit, the RTL around it and the number of random scripts, and taken again as long as all three stay. One
that nothing noticed is not kept: whoever works on a survivor wants it tried again, by what has come since.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kvfpga.transport.sim import build as verilator_build
from scripts.mutation.mutations import Edit


def path(work: Path, edit: Edit, seeds: int, count: int) -> Path:
    digest = hashlib.sha256(f"{edit} {seeds} {count}".encode())
    for source in sorted((verilator_build.rtl_root() / "rtl").rglob("*.sv"), key=lambda source: source.name):
        digest.update(source.read_bytes())
    return work / "results" / f"{edit.name}-{digest.hexdigest()[:16]}.json"


def read(kept: Path) -> dict | None:
    return json.loads(kept.read_text()) if kept.exists() else None


def keep(kept: Path, result: dict) -> None:
    if result["caught"] or result.get("equivalent") or result.get("stillborn"):
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".new")
        beside.write_text(json.dumps(result))
        beside.replace(kept)
