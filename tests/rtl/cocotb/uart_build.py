"""Builds the UART bridge, or the whole UART board, for cocotb, and runs benches on it: pytest side of bench_uart*.py.

For the tops under fpga/rtl/uart; dut_build.py builds and keeps them. `mutation` (an entry of MUTATIONS, or another edit) builds
from a copy of the RTL with that one place changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from kvfpga.transport.sim import build
from scripts.mutation.mutations import Edit
from tests.rtl.cocotb.dut_build import PortsOnly, built

BRIDGE, BOARD = "kvcpu_uart_bridge", "kvcpu_uart_top"


class Mutation(NamedTuple):
    """One place of fpga/rtl/uart: `old` occurs in `file` exactly once. `test`: the one that must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
    why: str

    def applied(self, text: str) -> str:
        """The text of its file with the mutation in it. ValueError where it does not apply exactly once."""
        times = text.count(self.old)
        if times != 1 or self.old == self.new:
            raise ValueError(f"mutation {self.name} applies {times} times to {self.file}")
        return text.replace(self.old, self.new)


MUTATIONS = (
    Mutation("crc-unchecked", "kvcpu_uart_deframer.sv", "crc_good <= (crc == RESIDUE);", "crc_good <= 1'b1;",
             "damaged_frames", "a damaged request is executed"),
    Mutation("repeat-executes", "kvcpu_uart_control.sv", "else if (is_next) begin", "else if (is_next || is_repeat) begin",
             "exactly_once", "a repeated request is executed a second time"),
    Mutation("reply-not-kept", "kvcpu_uart_executor.sv", "if (start) begin\n                    used <= '0;",
             "used <= '0;\n                if (start) begin", "exactly_once", "a repeated request gets a reply without its data"),
)  # fmt: skip


def sources() -> list[Path]:
    return [*build.rtl_sources(), *sorted((build.rtl_root() / "rtl" / "uart").glob("*.sv"))]


def texts(mutation: Edit | None = None) -> dict[str, str]:
    """Name and content of every source."""
    found = {path.name: path.read_text() for path in sources()}
    if mutation:
        found[mutation.file] = mutation.applied(found.get(mutation.file, ""))
    return found


def model(top: str, mutation: Edit | None = None) -> Path:
    """The folder with the built model."""
    return built(top, texts(mutation), {"CLOCK_GATES": "1'b1"} if top == BOARD else {})


def run(bench: str, top: str, folder: Path, mutation: Edit | None = None, tests: list[str] | None = None) -> dict[str, bool]:
    """Run a bench's tests (all, or those named) in one simulation: which passed."""
    results = folder / f"{bench}.xml"
    try:
        PortsOnly().test(
            test_module=f"{__package__}.{bench}", hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=model(top, mutation),
            test_dir=folder, seed=1, plusargs=["+verilator+rand+reset+2", "+verilator+seed+1"], results_xml=str(results),
            test_filter="|".join(rf"\b{test}$" for test in tests) if tests else None,
            extra_env={"COCOTB_LOG_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"},  # cocotbext uses what cocotb 2 deprecates
        )  # fmt: skip
    except (SystemExit, RuntimeError):  # a test failed: the results say which
        if not results.exists():
            raise
    cases = list(ElementTree.parse(results).iter("testcase"))
    return {case.get("name"): not {child.tag for child in case} - {"properties"} for case in cases}
