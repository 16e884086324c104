"""Register reads by cocotb with cocotbext-axi's AxiLiteMaster: the half of simulator.py that runs
inside their simulation.

Nothing but a clock and the master is attached, so that all time goes into the accesses (an idle AxiRam beside it makes no
difference). KVFPGA_BENCH holds a JSON object: `offset` to read one word from, `first` and `words` of a row of registers to
read in one call, `count` words of each, `repeat`, and `out`, the file for the answer: words per second of processor time,
{"single": […], "batched": […]}.
"""

import json
import logging
import os
import time
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster


@cocotb.test()
async def reads(dut):
    task = json.loads(os.environ["KVFPGA_BENCH"])
    for name in ("cocotb", "cocotb.kvcpu.s_axil"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("lookup_valid", "lookup_key", *(f"m_axi_{s}" for s in "awready wready bvalid arready rvalid".split())):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    await ClockCycles(dut.clk, 8)
    dut.rst.value = 0
    await master.read_dword(task["offset"])
    found = {"single": [], "batched": []}
    for _ in range(task["repeat"]):
        start = time.process_time()
        for _ in range(task["count"]):
            await master.read_dword(task["offset"])
        found["single"].append(task["count"] / (time.process_time() - start))
        calls = -(-task["count"] // task["words"])
        start = time.process_time()
        for _ in range(calls):
            await master.read(task["first"], 4 * task["words"])
        found["batched"].append(calls * task["words"] / (time.process_time() - start))
    Path(task["out"]).write_text(json.dumps(found))
