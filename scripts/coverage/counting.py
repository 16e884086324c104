"""Simulations that count which lines and branches of the RTL they reach, by Verilator's --coverage-line.

Importing this module makes every simulation of the process a counting one.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from pathlib import Path

from kvfpga.transport.sim import build, verilated
from scripts.coverage.points import Point, read


class Counting(build.Design):
    """The core, with counters."""

    def harness_files(self) -> list[Path]:
        return [Path(__file__).with_name("points.cpp"), *super().harness_files()]

    def verilate_flags(self) -> list[str]:
        return [*(flag for flag in super().verilate_flags() if flag != "--savable"), "--coverage-line"]


COUNTING = Counting(build.CORE.top, "a simulation model that counts", build.CORE.more_rtl, build.CORE.harness)


class CountingSim(verilated.VerilatorSim):
    """Adds what it reached to `reached` when it is closed."""

    reached: Counter[Point] = Counter()
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
