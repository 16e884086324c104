"""Register reads by cocotb with cocotbext-axi's AxiLiteMaster, on the same RTL and Verilator: a worker of the bench.

    python -m scripts.bench.cocotb_reads '{"entries": 256, "lanes": 4, "data_bits": 128}' SOCKET

The module runs twice: as a program it builds the model and starts the simulation, and inside that it is cocotb's test. Nothing
but a clock and the master is attached, so that all time goes into the accesses (an idle AxiRam beside it makes no difference).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from kvfpga.contract.parameters import Parameters
from kvfpga.device.regmap import REGISTERS, TELEMETRY
from kvfpga.transport.sim import build
from scripts.bench.worker.line import connect

OFFSET = REGISTERS["SCRATCH"].offset
ROW, ROW_WORDS = REGISTERS["T_CURRENT_STEP"].offset, 2 * len(TELEMETRY)
"""The longest row of registers side by side."""


@cocotb.test()
async def reads(dut):
    line = connect(os.environ["KVFPGA_BENCH"])
    for name in ("cocotb", "cocotb.kvcpu.s_axil"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("lookup_valid", "lookup_key", *(f"m_axi_{s}" for s in "awready wready bvalid arready rvalid".split())):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    await ClockCycles(dut.clk, 8)
    dut.rst.value = 0
    await master.read_dword(OFFSET)
    for what, arguments in line:
        start = time.process_time()
        if what == "single":
            words = arguments["count"]
            for _ in range(words):
                await master.read_dword(OFFSET)
        else:  # a row at a time
            words = arguments["rows"] * ROW_WORDS
            for _ in range(arguments["rows"]):
                await master.read(ROW, 4 * ROW_WORDS)
        line.send({"seconds": time.process_time() - start, "words": words})


def main() -> None:
    from tests.rtl.cocotb import dut_build

    dut_build.PARAMETERS = Parameters(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        log, results = Path(folder) / "cocotb.log", Path(folder) / "results.xml"
        try:
            dut_build.PortsOnly().test(
                test_module="scripts.bench.cocotb_reads", hdl_toplevel=build.TOP, hdl_toplevel_lang="verilog",
                build_dir=dut_build.model(), test_dir=folder, results_xml=str(results), log_file=log,
                extra_env={"KVFPGA_BENCH": sys.argv[2], "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        except BaseException:
            sys.stderr.write(log.read_text()[-3000:] if log.exists() else "")
            raise


if __name__ == "__main__":
    main()
