"""What a place that was found has to pass beside the lockstep: proofs about its module, benches at the pins of the UART board."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from subprocess import CalledProcessError

from kvfpga.contract.errors import BuildError
from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build as verilator_build
from scripts.mutation import quick_build
from scripts.mutation.places import Place

ON_BOARD = "kvcpu_uart_top.sv", "kvcpu_tier_ram.sv"
"""Those modules of fpga/rtl/uart that are around the bridge."""


def without_difference(place: Place, parameters: Parameters) -> dict:
    """Of a place that passed the lockstep: that it is equivalent, or that a proof catches it, or nothing."""
    with tempfile.TemporaryDirectory(prefix="kvfpga-mutation-") as name:
        sources = [Path(shutil.copy(path, name)) for path in verilator_build.rtl_sources()]
        before = quick_build.generated(parameters, sources)
        edited = Path(name) / place.file
        edited.write_text(place.applied(edited.read_text()))
        if quick_build.generated(parameters, sources) == before:
            return {"equivalent": True}
    return proofs(place)


def proofs(place: Place) -> dict:
    """The first property about the place's module that does not hold any more, as evidence, or nothing."""
    from tests.formal.prove import check
    from tests.formal.table import ROWS

    for row in ROWS:
        if place.file in row.sources:
            try:
                verdict = check(row, place)
            except BuildError as error:  # such as a loop of logic
                return evidence(f"proof {row.name}", "no verdict", error.message.splitlines()[0])
            if not verdict.holds:
                return evidence(f"proof {row.name}", "fails at", verdict.failed)
    return {}


def benches(place: Place) -> dict:
    """The first test of the benches at the pins that fails, as evidence, or nothing."""
    from tests.rtl.cocotb import uart_build

    on_board = place.file in ON_BOARD
    top = uart_build.BOARD if on_board else uart_build.BRIDGE
    parts = ("board",) if on_board else ("frames", "programs", "line")
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        for part in parts:
            for test, passed in uart_build.run(f"bench_uart_{part}", top, Path(folder), place).items():
                if not passed:
                    return evidence(f"bench_uart_{part}", "fails", test)
    return {}


def try_uart(place: Place, work: Path) -> dict:
    """As `mutate.try_one`, of a place in the UART board. What was built is kept below `work`."""
    os.environ["KVFPGA_CACHE"] = str(work)
    started = time.monotonic()
    found = {"name": place.name, "caught": False, "commands": 0, "scenarios": {}, "build_seconds": 0}
    try:
        found |= proofs(place) or benches(place)
    except (CalledProcessError, SystemExit) as error:
        found["stillborn"] = str(error)
    return found | {"run_seconds": round(time.monotonic() - started, 1)}


def evidence(scenario: str, what: str, which: str) -> dict:
    return {
        "caught": True, "scenario": scenario, "line": "", "where": scenario, "field": what, "device": which, "expected": "",
    }  # fmt: skip
