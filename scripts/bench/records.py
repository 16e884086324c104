"""The history: docs/bench-history.csv, one line for each ratio of each recorded run. Ratios are what is compared; absolute values
are beside them for whoever looks back, on whatever machine that was."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import NamedTuple

from kvfpga.contract.errors import UsageError

from .figures import Figure
from .workers import ROOT

FILE = ROOT / "docs" / "bench-history.csv"
COUNTS_AS_LOSS = 0.05


class Row(NamedTuple):
    date: str
    commit: str
    """with a + where host/, fpga/ or scripts/ had changes that were not committed"""
    processor: str
    section: str
    figure: str
    beside: str
    unit: str
    ratio: float
    value: float
    other: float


def read(file: Path = FILE) -> list[Row]:
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != list(Row._fields):
            raise UsageError(f"{file} has the columns {table.fieldnames}", f"its columns are {', '.join(Row._fields)}")
        try:
            return [Row(**row | {name: float(row[name]) for name in ("ratio", "value", "other")}) for row in table]
        except (TypeError, ValueError) as error:
            raise UsageError(f"{file}, line {table.line_num}, is none of the history: {error}", "correct or delete it") from None


def append(figures: Iterable[Figure], commit: str, processor: str, day: str, file: Path = FILE) -> int:
    """Add a line for each ratio; how many."""
    rows = [
        Row(day, commit, processor, f.section, f.name, f.beside, f.unit, *map(_rounded, (f.ratio, f.value, f.other)))
        for f in figures
        if f.ratio is not None and f.other is not None
    ]
    new = not file.exists()
    with open(file, "a", newline="", encoding="utf-8") as out:
        lines = csv.writer(out, lineterminator="\n")
        lines.writerows([Row._fields, *rows] if new else rows)
    return len(rows)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def last(figure: Figure, rows: Iterable[Row]) -> Row | None:
    """The newest recorded ratio of the same thing beside the same thing."""
    key = (figure.section, figure.name, figure.beside, figure.unit)
    found = [row for row in rows if (row.section, row.figure, row.beside, row.unit) == key]
    return found[-1] if found and figure.ratio is not None else None


def is_loss(figure: Figure, before: Row | None) -> bool:
    """Is the ratio worse than the recorded one by more than a machine's mood?"""
    if before is None or figure.ratio is None:
        return False
    if figure.at_most:
        return figure.ratio > before.ratio * (1 + COUNTS_AS_LOSS)
    return figure.ratio < before.ratio * (1 - COUNTS_AS_LOSS)


# ---- where and what -------------------------------------------------------------------------------------------------
def commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "host", "fpga", "scripts")
    return (git("rev-parse", "--short=7", "HEAD") or "unknown") + ("+" if changed else "")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def today() -> str:
    return date.today().isoformat()
